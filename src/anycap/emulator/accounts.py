"""Customers' accounts at an emulated vendor. Keys are known by fingerprint only, so that no ledger gives one away."""

from __future__ import annotations

from decimal import Decimal

from attrs import define

from anycap.credentials import Secret, fingerprint

DEFAULT_KEY = "emulator-key"
"""The key that every emulated vendor knows unless told otherwise. No real vendor has it."""


@define(eq=False)
class VendorAccount:
    """One account: what it had at the start, what it has now, and what it may do.

    `balance` is free money; what pending tasks hold is already taken off. `slots` is the number of unfinished tasks
    that the vendor allows (None: no limit), `apps` the ids of the developer apps it owns. The key
    of a `closed` account is unknown from then on. `captcha_credits` is in anti-captcha's getBalance when it is set.
    """

    name: str
    opened_with: Decimal
    balance: Decimal
    slots: int | None = None
    allowed_addresses: frozenset[str] | None = None
    apps: frozenset[int] = frozenset()
    missing_templates: frozenset[str] = frozenset()
    suspended: bool = False
    closed: bool = False
    unfinished: int = 0
    topped_up: Decimal = Decimal(0)
    captcha_credits: int | None = None

    def top_up(self, amount: Decimal | int | str) -> None:
        """Put money on the account."""
        self.balance += Decimal(amount)
        self.topped_up += Decimal(amount)

    @property
    def has_full_slots(self) -> bool:
        """Whether the account has as many unfinished tasks as it may have."""
        return self.slots is not None and self.unfinished >= self.slots

    def lacks_template(self, name: object) -> bool:
        """Whether an AntiGate template of this name is one that the account does not have."""
        return isinstance(name, str) and name in self.missing_templates


def ledger_name(key: str | Secret, *, options: bool = False) -> str:
    """The fingerprint under which a ledger knows an account; `options` cuts `__option` parts off the key."""
    if isinstance(key, Secret):
        return key.fingerprint
    return fingerprint(key.partition("__")[0] if options else key)
