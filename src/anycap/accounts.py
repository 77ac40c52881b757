"""Vendor accounts: what a user says about one (`Account`), and where its key comes from (`KeySource`).

The key itself is wrapped at once (`credentials.py`); what an account may send, and when, is decided in `core/scheduler.py`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable

from attrs import field, frozen

from anycap.credentials import Secret
from anycap.errors import ConfigurationError
from anycap.settings import Polling

Key = str | Secret | Callable[[], str | Secret | Awaitable[str | Secret]]
"""A key, or a function (possibly async) that gives the current one."""


def _wrapped(value: object) -> object:
    """The key wrapped at once, or the error that it is none: returned, as a frame that raises would show the key."""
    if value is None or isinstance(value, Secret) or callable(value):
        return value
    if not isinstance(value, str):
        return ConfigurationError(
            f"an account's key is a str, a Secret or a function that gives one, not {type(value).__name__}"
        )
    stripped = value.strip()
    if not stripped:
        return ConfigurationError("an account's key is empty; leave `key` out to read it from the environment")
    return Secret(stripped)


@frozen(kw_only=True, init=False)
class Account:
    """One account at one vendor.

    `provider` is a name such as `"anti-captcha"`; `key` a str, `Secret` or a (possibly async) function that gives the
    current one, read from `ANYCAP_<PROVIDER>_KEY` or `ANYCAP_<PROVIDER>_KEY_FILE` when left out. `name` defaults to the
    provider, is unique in a client, and is what journals and tickets store, so a rotated key finds its tickets.
    `base_url` replaces the vendor's (mirrors, the emulator). `max_in_flight` bounds the unfinished tasks.
    `polling=Polling(fixed=(first_s, gap_s))` overrides the catalog's waits.

    Raises ConfigurationError for a key of another type, an empty key, or a bad limit.

    >>> Account("capmonster", key="0123456789abcdef")
    Account(provider='capmonster', name='capmonster', base_url=None, max_in_flight=None)
    """

    provider: str = field(kw_only=False)
    key: object = field(default=None, repr=False, kw_only=False)
    name: str = field(default="")
    base_url: str | None = None
    max_in_flight: int | None = None
    polling: Polling | None = field(default=None, repr=False)

    def __init__(
        self,
        provider: str,
        key: object = None,
        *,
        name: str = "",
        base_url: str | None = None,
        max_in_flight: int | None = None,
        polling: Polling | None = None,
    ) -> None:
        key = _wrapped(key)  # from here on no frame holds the key itself, whatever is raised below
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue] # attrs makes it
            provider,
            None if isinstance(key, ConfigurationError) else key,
            name=name,
            base_url=base_url,
            max_in_flight=max_in_flight,
            polling=polling,
        )
        if isinstance(key, ConfigurationError):
            raise key

    def __attrs_post_init__(self) -> None:
        if not _is_text(self.provider):
            raise ConfigurationError("an account's provider is a name such as 'anti-captcha'")
        if not self.name:
            object.__setattr__(self, "name", self.provider)
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ConfigurationError("max_in_flight must be at least 1, or None for the default")
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _base_url(self.base_url))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _base_url(url: str) -> str:
    if not _is_text(url) or not url.lower().startswith(("https://", "http://")):
        said = "something with an @ in it" if "@" in str(url) else repr(str(url)[:60])  # it may be user:password@host
        raise ConfigurationError(f"base_url must start with https:// (or http:// on loopback), not {said}")
    if "@" in url.split("/")[2]:
        raise ConfigurationError("base_url must not hold credentials; the key goes into `key`")
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
        return Secret(found)
    path = _variable(file, environ)
    if path:
        try:
            with open(path, encoding="utf-8") as handle:
                text = handle.read(4096).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{file} names a file that cannot be read ({type(error).__name__})"
        else:
            if text:
                return Secret(text)
            reason = f"the file that {file} names is empty"
    else:
        reason = f"neither {plain} nor {file} is set"
    raise ConfigurationError(
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

    async def refresh(self, offload: Callable[..., Awaitable[Secret]]) -> bool:
        """Read the key again; True when it is another than before. Raises ConfigurationError when there is none."""
        source = self._account.key
        if isinstance(source, Secret):
            fresh: object = source
        elif callable(source):
            fresh = source()
            if isawaitable(fresh):
                fresh = await fresh
        else:
            fresh = await offload(key_from_environment, self._account.provider)
        wrapped = fresh = _wrapped(fresh)
        if isinstance(wrapped, ConfigurationError):
            raise wrapped
        if not isinstance(wrapped, Secret):
            raise ConfigurationError(f"the key function of account {self._account.name!r} gave no key")
        changed = self.key is not None and wrapped != self.key
        self.key = wrapped
        return changed
