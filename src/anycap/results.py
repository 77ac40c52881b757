"""What comes back: solutions, balances, receipts. Frozen values, no I/O.

Challenges (what to solve) are in `challenges/`; `providers/solutions.py` makes these from a vendor's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TypeAlias

from attrs import field, frozen

from anycap.credentials import fingerprint
from anycap.taxonomy import Charged
from anycap.tickets import Attempt, Ticket

Json: TypeAlias = Mapping[str, object]
"""A JSON object of a vendor's, as it came: numbers with a fraction are `Decimal`."""


def _show(token: object) -> str:
    return "<none>" if token is None else f"<{fingerprint(str(token))}>"


def _redacted(value: object) -> str:
    return "<redacted>" if value else repr(value)


@frozen(kw_only=True)
class Solution:
    """What every solution has; the vendor's own mapping is kept whole in `raw`.

    `cost` is in `currency` (`USD`, `points`) and None where the vendor does not say. `created_at` and `ended_at` are the
    vendor's times where given; `received_at` is this machine's. After `expires_at` (None: no vendor states it) the solution
    is useless. If `user_agent` is set, submit the token with it. `repr` shows secrets as a short fingerprint.

    A captcha's token is good for one use. `shared`: others who asked with the same idempotency key, or waited for the same
    ticket, have it too; `redelivered`: it was delivered before.
    """

    ticket: Ticket | None = None
    attempts: tuple[Attempt, ...] = ()
    """Every createTask of this solve in order; the last one solved it."""
    shared: bool = False
    redelivered: bool = False
    raw: Json = field(factory=dict, repr=_redacted)
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
    """What was read from an image, heard in a recording, or answered to a question. `url`: the vendor's copy of the image."""

    text: str
    url: str | None = None


@frozen(kw_only=True)
class CoordinatesSolution(Solution):
    """Points `(x, y)` or rectangles `(x1, y1, x2, y2)` in pixels from the image's upper left corner."""

    coordinates: tuple[tuple[float, ...], ...]


@frozen(kw_only=True)
class AngleSolution(Solution):
    """By how many degrees to turn the picture, clockwise as the vendor's own page has it."""

    angle: float


@frozen(kw_only=True)
class CellsSolution(Solution):
    """The grid cells to click, counted from 0 by rows; `has_object` answers a single-image question.

    Vendors that count from 1 are translated, as their catalog says (`cells_from`). 2Captcha's own pages contradict each
    other (one counts from 0, another from 1), and nobody could try it: compare `answer` with the picture before you
    rely on it there.
    """

    cells: tuple[int, ...] = ()
    has_object: bool | None = None
    answer: object = None
    """The vendor's answer as it came, for answer types other than a grid."""


@frozen(kw_only=True)
class GeeTestSolution(Solution):
    """GeeTest's values: v3 has `challenge validate seccode`, v4 `captcha_id lot_number pass_token gen_time captcha_output`."""

    values: Mapping[str, str] = field(repr=_redacted)


@frozen(kw_only=True)
class TencentSolution(TokenSolution):
    """The two values that Tencent's widget hands to the page: `token`, which Tencent calls the ticket, and `randstr`."""

    randstr: str = field(repr=_show)


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
    raw: Json = field(factory=dict)


@frozen
class QueueStats:
    """The state of one vendor queue: idle workers, load in percent, bid, seconds a solve, workers in all."""

    waiting: int
    load_percent: float
    bid: Decimal
    speed_s: float
    total: int
    raw: Json = field(factory=dict)


@frozen
class Receipt:
    """One line of the ledger: what a task cost. `amount` is None where the vendor does not say."""

    ticket: Ticket
    charged: Charged
    amount: Decimal | None
    currency: str | None
    accepted_at: datetime | None
    ended_at: datetime | None

    @property
    def tag(self) -> str | None:
        """The ticket's tag: what the task was for."""
        return self.ticket.tag


@frozen
class SpendingLine:
    """What the tasks of one UTC day have cost, by account, challenge type and tag, in one currency. Exact.

    A task counts for the day on which it was sent. `spent` is what ended tasks have cost (where the vendor does not say: what
    was reserved for them), `tasks` how many that were; `reserved` is held back for tasks that are unfinished or in doubt.
    """

    day: date
    account: str
    type: str
    tag: str | None
    currency: str
    spent: Decimal
    reserved: Decimal
    tasks: int


@frozen
class RouteStep:
    """One account as a solve of some type would find it now: `client.route(...)` gives them in the order they are asked.

    `state` is `ready`; or why it would be passed over: `busy`, the shared code of a stop (`no_funds`, `ip_blocked` ...), or
    `cannot_encode` and `over_budget`, which leave it out. `wait_s`: seconds until that may end, None where nobody knows.
    `price` is what a task of this type costs there, in `currency`; None: nobody knows yet.
    """

    account: str
    provider: str
    state: str
    wait_s: float | None
    price: Decimal | None
    currency: str
    weight: float
