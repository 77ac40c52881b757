"""How an emulated vendor is set up: the one list of options, shared by `Vendor`, `Emulator` and the pytest marker.

Nothing acts here. `VendorKeywords` is the same list for type checkers, so that options can be given as keywords.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypedDict

from attrs import field, frozen

from anycap.credentials import Secret
from anycap.emulator.accounts import DEFAULT_KEY
from anycap.emulator.solve_times import SolveTime
from anycap.errors import ConfigurationError

PROCESSING = ("plain", "not_ready", "http_500", "http_503", "mixed")


class VendorKeywords(TypedDict, total=False):
    """The options of `VendorOptions` as keyword arguments."""

    key: str | Secret
    balance: Decimal | float | str | None
    solve_time: SolveTime | None
    slots: int | None
    workers: int | None
    failure_rate: float
    processing: str
    strict: bool
    strict_pacing: bool
    speed: float
    epoch_s: float


def _secret(key: str | Secret) -> Secret:
    return key if isinstance(key, Secret) else Secret(key)


@frozen(kw_only=True)
class VendorOptions:
    """The options of an emulated vendor.

    >>> VendorOptions(solve_time=0.1, slots=5).slots
    5
    """

    key: Secret = field(converter=_secret, default=Secret(DEFAULT_KEY))
    """The key of the account that every vendor starts with; `Vendor.add_account` opens more."""

    balance: Decimal | float | str | None = None
    """Money on that account, in the vendor's currency. None: plenty."""

    solve_time: SolveTime | None = None
    """Seconds a worker takes: a number, (median, sigma) of a lognormal, a function, or one of these per task type."""

    slots: int | None = None
    """Unfinished tasks that the account may have. None: no limit."""

    workers: int | None = None
    """Unfinished tasks that the vendor can work on, all accounts together. None: no limit."""

    failure_rate: float = 0.0
    """Share of the tasks (0 to 1) that end with the vendor's code for unsolvable ones."""

    processing: str = "plain"
    """How "not ready" is spelled: plain, not_ready, http_500, http_503 or mixed. Only CapMonster has more than plain."""

    strict: bool = True
    """Refuse task fields and values that the vendor does not document."""

    strict_pacing: bool = False
    """Refuse polls that come sooner than the vendor asks for. Otherwise they are answered, and counted all the same."""

    speed: float = 1.0
    """Divides every solve time. Limits, windows and bans keep the vendor's own times."""

    epoch_s: float = 0.0
    """Unix time of the clock's zero: added where the vendor shows Unix times."""

    def __attrs_post_init__(self) -> None:
        if self.processing not in PROCESSING:
            raise ConfigurationError(f"emulator: processing is one of {', '.join(PROCESSING)}, not {self.processing!r}")
        if not self.speed > 0:
            raise ConfigurationError(f"emulator: speed must be above 0, not {self.speed:g}")
        if not 0 <= self.failure_rate <= 1:
            raise ConfigurationError(f"emulator: failure_rate lies between 0 and 1, not {self.failure_rate:g}")
