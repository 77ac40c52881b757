"""What comes back: tickets, solutions, balances, outcomes. Frozen values, no I/O.

Challenges (what to solve) are in `challenges.py`; how a vendor's answer becomes one of these is in `providers/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import field, frozen

from anycap._quick import quick
from anycap.credentials import fingerprint
from anycap.taxonomy import Charged

if TYPE_CHECKING:
    from anycap.challenges import Challenge
    from anycap.errors import AnycapError

S_co = TypeVar("S_co", bound="Solution", covariant=True)

TaskId = int | str


class TicketState(StrEnum):
    """Where a task stands, as far as this process knows."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    PENDING = "pending"
    SOLVED = "solved"
    DELIVERED = "delivered"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"
    SETTLED = "settled"


@quick
@frozen
class Ticket:
    """A claim on one paid task; picklable, and valid in another process that has the same account.

    `id` is ours and made before anything is sent; `task_id` is the vendor's (None until accepted, or for ever when the
    answer was lost). `account` is the account's name, `type` the challenge's (`RecaptchaV2`; `VendorTask/<type>`).
    """

    id: str
    task_id: TaskId | None
    account: str
    provider: str
    type: str
    state: TicketState
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping that `from_dict` takes back."""
        return {
            "id": self.id,
            "task_id": self.task_id,
            "account": self.account,
            "provider": self.provider,
            "type": self.type,
            "state": str(self.state),
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Ticket:
        """The ticket that `to_dict` described. Raises ValueError or KeyError when `fields` is not one."""
        return cls(
            id=str(fields["id"]),
            task_id=fields["task_id"],
            account=str(fields["account"]),
            provider=str(fields["provider"]),
            type=str(fields["type"]),
            state=TicketState(fields["state"]),
            created_at=datetime.fromisoformat(fields["created_at"]),
        )


def _show(token: object) -> str:
    return "<none>" if token is None else f"<{fingerprint(str(token))}>"


def _redacted(value: object) -> str:
    return "<redacted>" if value else repr(value)


@frozen(kw_only=True)
class Solution:
    """What every solution has; the vendor's own mapping is kept whole in `raw`.

    `cost` is in `currency` (`USD`, `points`) and None where the vendor does not say. `created_at` and `ended_at` are the
    vendor's times where given; `received_at` is ours. After `expires_at` (None: nobody says) the solution is of no use.
    `user_agent`, when set, must be used by whoever submits the token. Secrets are shown as a short fingerprint.
    """

    ticket: Ticket | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=_redacted)
    cost: Decimal | None = None
    currency: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    received_at: datetime | None = None
    expires_at: datetime | None = None
    user_agent: str | None = None
    cookies: Mapping[str, str] = field(factory=dict, repr=_redacted)
    worker_tries: int | None = None
    ip: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class TokenSolution(Solution):
    """A token to hand to the page. `resp_key` is hCaptcha's second value, where given."""

    token: str = field(repr=_show)
    resp_key: str | None = field(default=None, repr=_show)


@frozen(kw_only=True)
class TextSolution(Solution):
    """The text read from an image. `url` is the vendor's copy of the image, where given."""

    text: str
    url: str | None = None


@frozen(kw_only=True)
class CoordinatesSolution(Solution):
    """Points `(x, y)` or rectangles `(x1, y1, x2, y2)` in pixels from the image's upper left corner."""

    coordinates: tuple[tuple[float, ...], ...]


@frozen(kw_only=True)
class CellsSolution(Solution):
    """The grid cells to click, counted from 0 by rows; `has_object` answers a single-image question."""

    cells: tuple[int, ...] = ()
    has_object: bool | None = None
    answer: Any = None
    """The vendor's answer as it came, for answer types other than a grid."""


@frozen(kw_only=True)
class GeeTestSolution(Solution):
    """GeeTest's values: v3 has `challenge validate seccode`, v4 `captcha_id lot_number pass_token gen_time captcha_output`."""

    values: Mapping[str, str] = field(repr=_redacted)


@frozen(kw_only=True)
class CookiesSolution(Solution):
    """Cookies (in `cookies`) and what goes with them; `token` where the vendor gives one beside the cookies."""

    token: str | None = field(default=None, repr=_show)


@frozen(kw_only=True)
class RawSolution(Solution):
    """A solution of a type this library does not model: read `raw`."""


@frozen
class Balance:
    """What is left on an account: `amount` in `currency` (`USD`, or `points`); `raw` has the vendor's other fields.

    `captcha_credits` (anti-captcha) and `soft_balance`, a developer's share (YesCaptcha), are None where the answer has none.
    """

    amount: Decimal
    currency: str
    captcha_credits: Decimal | None = None
    soft_balance: Decimal | None = None
    raw: Mapping[str, Any] = field(factory=dict)


@frozen
class QueueStats:
    """The state of one vendor queue: idle workers, load in percent, bid, seconds a solve, workers in all."""

    waiting: int
    load_percent: float
    bid: Decimal
    speed_s: float
    total: int
    raw: Mapping[str, Any] = field(factory=dict)


@frozen
class Receipt:
    """One line of the ledger: what a task cost. `amount` is None where the vendor does not say."""

    ticket: Ticket
    charged: Charged
    amount: Decimal | None
    currency: str | None
    accepted_at: datetime | None
    ended_at: datetime | None


@frozen
class Outcome(Generic[S_co]):
    """One finished item of `solve_many`: `index` in the input's order, and either a `solution` or an `error`."""

    index: int
    challenge: Challenge[S_co]
    ticket: Ticket | None
    solution: S_co | None
    error: AnycapError | None

    def unwrap(self) -> S_co:
        """The solution; raises the error when there is none."""
        if self.error is not None:
            raise self.error
        assert self.solution is not None  # noqa: S101 - an outcome has one of the two
        return self.solution
