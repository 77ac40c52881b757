"""`Proxy`: the proxy through which a vendor solves a task. How it is written to each vendor is catalog data."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import Attribute, field, frozen

from anycap.credentials import ArgumentsHidden, Secret, attempt, contains_any, is_uncommon
from anycap.errors import InvalidChallenge

SCHEMES = ("http", "https", "socks4", "socks5")
_CONTROL = "".join(map(chr, [*range(32), 127]))


# Arguments are easily mixed up here, and any of them may then be a password: no message repeats one but a number.


def _as_secret(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else value


def _a_scheme(proxy: Any, attribute: Attribute[Any], value: Any) -> None:
    if value not in SCHEMES:
        hint = "; for a whole URL there is Proxy.from_url" if isinstance(value, str) and "://" in value else ""
        raise InvalidChallenge(f"Proxy: scheme must be one of {', '.join(SCHEMES)}{hint}")


def _a_host(proxy: Any, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidChallenge("Proxy: host must be an IP address or a host name")
    if any(character in value for character in "/@?#[]\\ " + _CONTROL):
        raise InvalidChallenge("Proxy: host must be a bare IP address or host name, without scheme, port or login")


def _a_port(proxy: Any, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        said = value if type(value) is int and abs(value) < 1e6 else f"a {type(value).__name__}"
        raise InvalidChallenge(f"Proxy: port must be a whole number from 1 to 65535, not {said}")


def _a_credential(proxy: Any, attribute: Attribute[Any], value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, Secret):
        raise InvalidChallenge(f"Proxy: {attribute.name} must be text, not {type(value).__name__}")
    if contains_any(value, _CONTROL):
        raise InvalidChallenge(f"Proxy: {attribute.name} holds a line break or another control character")


@frozen
class Proxy(metaclass=ArgumentsHidden):
    """A proxy for the vendor's worker. Login and password are secrets: never shown, never journalled.

    `scheme` is `http https socks4` or `socks5`; `host` an IP address (or a name, where the vendor takes names: most
    do not, and names are never looked up here); `port` 1 to 65535; `login` and `password` text or `Secret`.

    Raises InvalidChallenge for anything else.

    >>> Proxy("http", "192.0.2.7", 8080, "user", "pa55")
    Proxy(scheme='http', host='192.0.2.7', port=8080, login=<secret>, password=<secret>)
    """

    scheme: str = field(validator=_a_scheme)
    host: str = field(validator=_a_host)
    port: int = field(validator=_a_port)
    login: Secret | None = field(default=None, converter=_as_secret, validator=_a_credential)
    password: Secret | None = field(default=None, converter=_as_secret, validator=_a_credential)

    def __attrs_post_init__(self) -> None:
        if self.password is not None and self.login is None:
            raise InvalidChallenge("Proxy: a password without a login")

    @classmethod
    def from_url(cls, url: str) -> Proxy:
        """The proxy that a URL names; login and password are percent-decoded. Raises InvalidChallenge.

        >>> Proxy.from_url("socks5://user:p%40ss@192.0.2.7:1080")
        Proxy(scheme='socks5', host='192.0.2.7', port=1080, login=<secret>, password=<secret>)
        """
        proxy, error = attempt(_from_url, cls, url)
        del url  # it may hold the password, and error reporters show the locals of every frame
        if proxy is None:
            assert error is not None  # noqa: S101 - `attempt` gives one of the two
            raise error
        return proxy

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not show in anybody's words: the password, and a login that is no common word."""
        login = self.login if self.login is not None and is_uncommon(self.login) else None
        return tuple(each for each in (self.password, login) if each is not None)

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address; None when it is a name. Never a DNS look-up."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def _from_url(cls: type[Proxy], url: object) -> Proxy:
    if not isinstance(url, str):
        raise InvalidChallenge(f"Proxy.from_url: the URL must be text, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, port, login, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError:
        raise InvalidChallenge("Proxy.from_url: this is not a URL with a port from 1 to 65535") from None
    if not parts.netloc or host is None or port is None:
        raise InvalidChallenge("Proxy.from_url: expected scheme://login:password@host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidChallenge("Proxy.from_url: a proxy URL ends after the port")
    return cls(
        scheme={"socks5h": "socks5", "socks4a": "socks4"}.get(parts.scheme, parts.scheme),
        host=host,
        port=port,
        login=unquote(login) if login else None,
        password=unquote(password) if password is not None else None,
    )
