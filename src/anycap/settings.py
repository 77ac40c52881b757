"""Every number a user may set: one frozen class per concern, with the unit in the name. Vendor numbers are catalog data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import field, frozen

from anycap.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl  # at run time it would cost every import of the settings
    from os import PathLike


@frozen
class Polling:
    """When to ask for results. `fixed=(first_s, gap_s)` overrides catalog and learning.

    What is learned never goes below what the vendor asks for; `fixed` may, for tests: an event of kind `warning` says so once per
    task type, and a real vendor may block the account or the address.

    `value_of_a_second` is what a second of waiting is worth against one poll: larger polls more often. `page_patience_s` is
    how long an account's polls may be answered by nothing but redirects and 4xx pages before a waiting caller is told; the
    ticket stays good.
    """

    fixed: tuple[float, float] | None = None
    value_of_a_second: float = 1.0
    adaptive: bool = True
    page_patience_s: float = 60.0

    def __attrs_post_init__(self) -> None:
        if not 0 < self.value_of_a_second < math.inf:
            raise ConfigurationError("settings.polling: value_of_a_second must be a positive number of polls")
        if self.page_patience_s < 0 or math.isnan(self.page_patience_s):
            raise ConfigurationError("settings.polling: page_patience_s must not be negative")
        if self.fixed is not None and not (0 <= self.fixed[0] < math.inf and 0 < self.fixed[1] < math.inf):
            raise ConfigurationError("settings.polling: fixed is (first_s, gap_s), first_s >= 0 and gap_s > 0")


@frozen
class RetrySettings:
    """New tasks after a failure whose row says `new_task`, and the budget for all repeats of one account.

    `new_tasks_max`: fresh tasks per solve after the first (None: 1 where the vendor charges nothing for failures, else 0).
    `budget_ratio`: repeats may be at most this part of first submits, plus `budget_floor` of them.
    `resubmit_in_doubt`: `solve` pays for one more task when createTask's answer was lost. It may pay twice: the written
    opt-in to exactly that risk.
    """

    new_tasks_max: int | None = None
    budget_ratio: float = 0.2
    budget_floor: int = 10
    resubmit_in_doubt: bool = False


REQUESTS_MAX = 256
"""HTTP requests in progress per account, where the user sets nothing: 10,000 tasks polled every 8 s need 125 at 100 ms."""
REQUESTS_MAX_HTTPX = 16
"""The same through httpx, whose pool looks at every connection for each request: 15 to 34 times the CPU of a bare loop at 64."""


@frozen
class GuardSettings:
    """How boldly an account is used. `max_in_flight`: unfinished tasks at most (the client finds a lower vendor limit).

    `submit_window_max`: createTask requests without an answer; `requests_max`: HTTP requests in progress per account
    at the most (None: 256; 16 for an httpx client, whose pool costs more with every connection). So many are in progress as
    the polls that fall due need, and never more than bring more answers.
    `busy_backoff_s` / `busy_backoff_max_s`: growing pause after a busy answer that states no wait.
    """

    max_in_flight: int = 10_000
    submit_window_max: int = 64
    requests_max: int | None = None
    busy_backoff_s: float = 3.0
    busy_backoff_max_s: float = 60.0
    blocked_default_s: float = 600.0
    address_dir: str | PathLike[str] | bool = True
    """Where the processes of this machine tell each other of bans, stops and keys: a folder.

    True: the user's cache folder, and nothing with a loopback address or an HTTP client of yours. False: every process for
    itself. Containers share a mounted folder.
    """


@frozen
class HttpSettings:
    """Bounds on HTTP: seconds for a whole request, connections kept, bytes of an answer's body."""

    request_timeout_s: float = 30.0
    poll_timeout_s: float = 20.0
    connect_timeout_s: float = 10.0
    keep_alive_s: float = 20.0
    body_bytes_max: int = 1 << 20
    trust_env: bool = False
    """Use HTTP_PROXY and the like from the environment. Off: a key must not travel through a proxy nobody chose."""
    ssl_context: ssl.SSLContext | None = None
    """An `ssl.SSLContext` of your own, the only way to change TLS verification."""


@frozen
class JournalSettings:
    """How long closed entries are kept, and how long `aclose()` may take to write the last ones.

    `keep_s` also bounds a solution whose validity nobody states. In memory at most `closed_max` closed entries are
    kept. A file locked by another program is tried for `busy_timeout_s`, and may grow to `file_bytes_max` (None: to
    the end of the disk).
    """

    keep_s: float = 86_400.0
    close_grace_s: float = 10.0
    closed_max: int = 4_096
    busy_timeout_s: float = 5.0
    file_bytes_max: int | None = None


@frozen
class RoutingSettings:
    """How solves are divided among several accounts. `patience_s`: seconds a busy account is waited for before another one
    is asked; near a solve's deadline less.
    """

    patience_s: float = 10.0

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.patience_s < math.inf:
            raise ConfigurationError("settings.routing: patience_s must be a number of seconds, at least 0")


@frozen
class Settings:
    """All settings of a client, one class per concern.

    `max_cost` bounds what new tasks after a failure may cost. `soft_id` is your developer id, sent with createTask: one for
    all vendors, or one for each, as in `{"anti-captcha": 123, "capmonster": 55}`. Off unless set. `allow_http` lets a key
    travel over plain http to other machines. `docs_url` is where you host this documentation: errors then end with a link
    to their code in the error explorer (`error.docs_link`).
    """

    retry: RetrySettings = field(factory=RetrySettings)
    guard: GuardSettings = field(factory=GuardSettings)
    polling: Polling = field(factory=Polling)
    http: HttpSettings = field(factory=HttpSettings)
    journal: JournalSettings = field(factory=JournalSettings)
    routing: RoutingSettings = field(factory=RoutingSettings)
    max_cost: Decimal | None = None
    soft_id: int | str | Mapping[str, int | str] | None = None
    allow_http: bool = field(default=False)
    docs_url: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.guard.max_in_flight < 1 or (self.guard.requests_max is not None and self.guard.requests_max < 1):
            raise ConfigurationError("settings.guard: max_in_flight and requests_max must be at least 1")

    def soft_id_of(self, provider: str) -> int | str | None:
        """The developer id that is sent to this vendor; None: none."""
        return self.soft_id.get(provider) if isinstance(self.soft_id, Mapping) else self.soft_id
