"""Where a request goes: a checked URL taken apart once. The rule "https unless loopback" lives here.

Pure: no I/O, no HTTP library. The transports beside this file keep one `Target` for each URL they are given.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from urllib.parse import urlsplit

from attrs import frozen

from anycap.errors import ConfigurationError

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"[!-~]*")


@frozen
class Target:
    """A vendor URL in parts. `origin` names what a connection can be shared for; `authority` is the Host header."""

    scheme: str
    host: str
    port: int
    path: str

    @cached_property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def is_https(self) -> bool:
        return self.scheme == "https"

    @cached_property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_https else 80) else f"{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine: `localhost`, 127.0.0.0/8, ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_target(url: str, *, allow_http: bool = False) -> Target:
    """Take a URL apart. Raises `ConfigurationError` for anything but https (or http to loopback, or `allow_http`)."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        parts, port, host = None, None, ""
    if parts is None or parts.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ConfigurationError("The vendor's address is not an http(s) URL with a host. Check base_url.")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(f"The address of {host} holds a user name or password. Take it out of base_url.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise ConfigurationError(f"The path of the address at {host} holds characters that must be percent-encoded.")
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"http://{host} would send your key in clear text, so nothing was sent. Use https in base_url; "
            "plain http is for loopback addresses (settings.allow_http lifts this)."
        )
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


class Targets(dict[str, Target]):
    """The targets of the URLs asked for so far, so that each is checked once. `targets[url]` is all there is to it."""

    _KEPT_MAX = 256

    def __init__(self, *, allow_http: bool) -> None:
        super().__init__()
        self._allow_http = allow_http

    def __missing__(self, url: str) -> Target:
        target = parse_target(url, allow_http=self._allow_http)
        if len(self) >= self._KEPT_MAX:
            self.clear()
        self[url] = target
        return target
