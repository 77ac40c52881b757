"""Vendor accounts: what a user says about one (`Account`), and where its key comes from (`KeySource`).

The key itself is wrapped at once (`credentials.py`); what an account may send, and when, is decided in `core/scheduler.py`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from inspect import isawaitable, iscoroutinefunction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from anycap.credentials import ArgumentsHidden, Secret, key_fault, stripped
from anycap.errors import ConfigurationError
from anycap.journal.budgets import read_amount, read_budget
from anycap.settings import Polling

Key = str | Secret | Callable[[], str | Secret | Awaitable[str | Secret]]
"""A key, or a function (possibly async) that gives the current one."""

_NAME = re.compile(r"[A-Za-z0-9]{1,24}(?:[._ -][A-Za-z0-9]{1,24}){0,5}")
_DIGITS_MAX = 4
"""No provider has more (2captcha has one); a key has many, and must never be repeated in a message."""


def looks_like_a_name(text: str) -> bool:
    """Whether a text may be repeated in a message as a provider's name; a key that was put in its place may not.

    >>> looks_like_a_name("anti-captcha"), looks_like_a_name("8f14e45fceea167a5a36dedd4bea2543")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None and sum(char.isdigit() for char in text) <= _DIGITS_MAX


def checked_key(value: str | Secret, where: str) -> Secret | ConfigurationError:
    """The key, wrapped and stripped, or the error that it is none. Returned: the frame that raises holds only a Secret."""
    key = stripped(Secret(value))
    fault = key_fault(key)
    return key if fault is None else ConfigurationError(f"{where} is no key: {fault}. Nothing was sent.")


def _wrapped(value: Key | None) -> Secret | Callable[[], object] | None:
    if value is None or callable(value):
        return value
    if not isinstance(value, (str, Secret)):
        raise ConfigurationError(
            f"an account's key is a str, a Secret or a function that gives one, not {type(value).__name__}"
        )
    if not value:
        raise ConfigurationError("an account's key is empty; leave `key` out to read it from the environment")
    key = checked_key(value, "an account's key")
    if isinstance(key, ConfigurationError):
        raise key
    return key


@frozen(kw_only=True)
class Account(metaclass=ArgumentsHidden):
    """One account at one vendor.

    `provider` is a name such as `"anti-captcha"`, or the `Path` of a catalog of yours, which is read when the client opens and
    says the provider's name; `key` a str, `Secret` or a (possibly async) function that gives the
    current one, read from `ANYCAP_<PROVIDER>_KEY` or `ANYCAP_<PROVIDER>_KEY_FILE` when left out. `name` defaults to the
    provider, is unique in a client, and is what journals and tickets store, so a rotated key finds its tickets.
    `base_url` replaces the vendor's (mirrors, the emulator). `max_in_flight` bounds the unfinished tasks.
    `polling=Polling(fixed=(first_s, gap_s))` overrides the catalog's waits. `weight` is its share where the client routes by
    weight. `budget` is the most that its tasks may cost on one UTC day, such as `{"USD": Decimal("5")}`; beyond it the other
    accounts are asked. `prices` says what a task costs, by challenge type, as in `{"RecaptchaV2": Decimal("0.0008")}`: until a
    vendor says so itself, and where it never does (only anti-captcha and 2Captcha do).

    Raises ConfigurationError for what cannot be a key (empty, another type, several lines, quotes, blanks, NAME=value), a
    provider that is no name, or a bad limit. No message and no traceback shows the key.

    >>> Account("capmonster", key="0123456789abcdef")
    Account(provider='capmonster', name='capmonster', base_url=None, max_in_flight=None)
    """

    provider: str | Path = field(kw_only=False)
    key: Secret | Callable[[], object] | None = field(default=None, converter=_wrapped, repr=False, kw_only=False)
    name: str = field(default="")
    base_url: str | None = None
    max_in_flight: int | None = None
    weight: float = field(default=1.0, repr=False)
    budget: Mapping[str, Decimal] | None = field(default=None, repr=False)
    prices: Mapping[str, Decimal] | None = field(default=None, repr=False)
    polling: Polling | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.provider, Path):
            self._check_rest()
            return
        if not _is_text(self.provider):
            raise ConfigurationError("an account's provider is a name such as 'anti-captcha', or the Path of a catalog")
        if not looks_like_a_name(self.provider):
            raise ConfigurationError(
                f"an account's provider is a name such as 'anti-captcha'; this text of {len(self.provider)} characters is "
                "none. A key is the second argument: Account('anti-captcha', key)"
            )
        if not self.name:
            object.__setattr__(self, "name", self.provider)
        self._check_rest()

    def _check_rest(self) -> None:
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ConfigurationError("max_in_flight must be at least 1, or None for the default")
        if type(self.weight) not in (int, float) or not 0 < self.weight < math.inf:
            raise ConfigurationError("an account's weight is a positive number")
        if self.budget is not None:
            object.__setattr__(self, "budget", read_budget(self.budget, "an account's budget="))
        if self.prices is not None:
            object.__setattr__(self, "prices", _prices(self.prices))
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _base_url(self.base_url))

    def of_provider(self, name: str) -> Account:
        """This account with the provider's name in place of the path of its catalog."""
        return evolve(self, provider=name, name=self.name or name)


def _prices(given: object) -> Mapping[str, Decimal]:
    from anycap.challenges import KINDS

    if not isinstance(given, Mapping):
        raise ConfigurationError(
            'prices= is a mapping of challenge type to price, such as {"RecaptchaV2": Decimal("0.0008")}'
        )
    for kind in given:
        if kind not in KINDS and "/" not in str(kind):
            named = repr(kind) if isinstance(kind, str) and looks_like_a_name(kind) else "one of its keys"
            raise ConfigurationError(f"prices=: {named} is no challenge type")
    return {str(kind): read_amount(price, "prices=: a price") for kind, price in given.items()}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _base_url(url: str) -> str:
    # What stands here may be user:password@host, or the key by mistake: it is not repeated.
    if not _is_text(url) or not url.lower().startswith(("https://", "http://")):
        raise ConfigurationError("base_url must start with https:// (or http:// on loopback)")
    if "@" in url.split("/")[2]:
        raise ConfigurationError("base_url must not hold credentials; the key goes into `key`")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError("base_url is no URL") from None
    # urlsplit drops tabs and line breaks, so the text itself is asked.
    if not url.isprintable() or " " in url or parts.query or parts.fragment or "?" in url or "#" in url or port == 0:
        raise ConfigurationError("base_url must hold no blank, control character, query, fragment or port 0")
    return url.rstrip("/")


def env_names(provider: str) -> tuple[str, str]:
    """The environment variables a provider's key is read from: the key itself, and the path of a file that holds it.

    >>> env_names("anti-captcha")
    ('ANYCAP_ANTI_CAPTCHA_KEY', 'ANYCAP_ANTI_CAPTCHA_KEY_FILE')
    """
    name = "ANYCAP_" + "".join(char if char.isalnum() else "_" for char in provider.upper()) + "_KEY"
    return name, f"{name}_FILE"


def key_from_environment(provider: str, environ: Mapping[str, str] | None = None) -> Secret:
    """The key of `provider` from the environment. Reads a file for the `_FILE` form, so call it off the loop.

    Raises ConfigurationError that names both variables when neither is set, or when the file cannot be read.
    """
    plain, file = env_names(provider)
    found = _variable(plain, environ)
    if found:
        key = checked_key(found, plain)
    else:
        key = _key_from_file(provider, plain, file, _variable(file, environ))
    del found
    if isinstance(key, ConfigurationError):
        raise key
    return key


def _key_from_file(provider: str, plain: str, file: str, path: str) -> Secret | ConfigurationError:
    reason = f"neither {plain} nor {file} is set"
    if path:
        try:
            with open(path, encoding="utf-8") as handle:
                text = handle.read(4096).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{file} names a file that cannot be read ({type(error).__name__})"
        else:
            if text:
                return checked_key(text, f"the content of the file that {file} names")
            reason = f"the file that {file} names is empty"
    return ConfigurationError(
        f"no key for {provider}: {reason}. Set one of them, or pass Account({provider!r}, key=...)."
    )


def _variable(name: str, environ: Mapping[str, str] | None) -> str:
    """One variable. The environment itself stays out of the frames that raise: it holds other accounts' keys."""
    return (os.environ if environ is None else environ).get(name, "").strip()


class KeySource:
    """The current key of an account, kept wrapped; `refresh` asks again where the user gave a function."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.key: Secret | None = account.key if isinstance(account.key, Secret) else None

    @property
    def changeable(self) -> bool:
        """Whether asking again can give another key: a function, or the environment."""
        return not isinstance(self._account.key, Secret)

    async def refresh(self, offload: Callable[..., Awaitable[Any]]) -> bool:
        """Read the key again; True when it is another than before. Raises ConfigurationError when there is none.

        A synchronous function runs off the loop, as it may read a file or ask a vault; an async one runs on it.
        """
        source = self._account.key
        if isinstance(source, Secret):
            fresh: Any = source
        elif source is None:
            fresh = await offload(key_from_environment, str(self._account.provider))
        else:
            # An object with an async `__call__` is no coroutine function itself.
            on_loop = iscoroutinefunction(source) or iscoroutinefunction(type(source).__call__)
            # In a tuple: trio's threads refuse to hand back what a lambda round an async function gives.
            (fresh,) = (source(),) if on_loop else await offload(lambda: (source(),))
            if isawaitable(fresh):
                fresh = await fresh
        where = f"what the key function of account {self._account.name!r} gave"
        if isinstance(fresh, (str, Secret)):
            fresh = checked_key(fresh, where)
        elif fresh is not None:
            fresh = ConfigurationError(f"{where} is no key but {type(fresh).__name__}")
        if isinstance(fresh, ConfigurationError):
            raise fresh
        if fresh is None:
            raise ConfigurationError(f"the key function of account {self._account.name!r} gave no key")
        changed = self.key is not None and fresh != self.key
        self.key = fresh
        return changed
