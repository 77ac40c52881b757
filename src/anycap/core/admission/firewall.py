"""A bare 401 or 403 page on createTask: a firewall's word, not the vendor's, until it has been said for an hour.

A web firewall in front of a vendor answers with such pages when it dislikes a burst or an address, for seconds or minutes.
The vendor itself says in JSON who has no right to what. So a page waits as a 429 does, and nobody's account is blamed for it.
"""

from attrs import evolve

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.taxonomy import Charged, Code, ErrorAnswer, row_of_ours

MEANT_AFTER_S = 3600.0
"""A page that comes back for so long is no firewall's passing mood. Ours; a day's quota or a revoked key shows by then."""
STATUSES = (401, 403)


class FirewallPages:
    """Since when createTask of one account has been answered with such pages only."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: float | None = None

    def judge(self, now: float, parsed: ParsedAnswer) -> ParsedAnswer:
        """The answer to createTask as it is to be taken: after an hour of pages, one is the vendor's refusal."""
        if is_firewall_page(parsed.problem):
            if self._since is None:
                self._since = now
            elif now - self._since >= MEANT_AFTER_S:
                return evolve(parsed, problem=_denied(parsed.problem))
        elif parsed.kind is not AnswerKind.LOST:
            self._since = None
        return parsed


def is_firewall_page(problem: ErrorAnswer | None) -> bool:
    """Whether the error is a 401 or 403 without the vendor's JSON."""
    return problem is not None and problem.http_status in STATUSES and is_bare_page(problem)


def is_bare_page(problem: ErrorAnswer) -> bool:
    """Whether the error is an HTTP status alone: nothing in it is of the vendor's protocol."""
    return problem.vendor_code is None and problem.vendor_id is None and problem.http_status is not None


def _denied(problem: ErrorAnswer | None) -> ErrorAnswer:
    assert problem is not None  # noqa: S101 - only pages come here
    row = row_of_ours(
        problem.provider,
        Code.ACCESS_DENIED,
        meaning=f"createTask has been answered with HTTP {problem.http_status} and a page for an hour",
        action="Look at the vendor's site from this machine: its firewall, or the vendor, does not let this address in.",
        source="this client's own observation",
        charged=Charged.NO,
    )
    return evolve(problem, row=row)
