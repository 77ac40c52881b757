"""Who may ask the emulator over HTTP, and where its callbacks may go: the rules of `server.py` and `deliver.py`.

Any page that a browser on this machine shows can send requests to 127.0.0.1, and a name in DNS can point there too. So
a request whose Host or Origin is foreign is refused, and a callback leaves only for an address that the test named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from anycap.errors import ConfigurationError


class Access:
    """Host names under which the emulator may be asked beside loopback ones, and origins that callbacks may go to.

    >>> access = Access()
    >>> access.allow_callback("http://127.0.0.1:9000")
    >>> access.callback_target("http://127.0.0.1:9000/captchas/token").path
    '/captchas/token'
    >>> access.callback_target("http://127.0.0.1:22/") is None
    True
    """

    def __init__(self, hosts: Iterable[str] = (), callbacks: Iterable[str] = ()) -> None:
        self.hosts: set[str] = set()
        self.callback_origins: set[str] = set()
        self.refused_callbacks: dict[str, int] = {}
        """Callbacks that were not sent, by origin: what a test forgot to allow."""
        for host in hosts:
            self.allow_host(host)
        for url in callbacks:
            self.allow_callback(url)

    def allow_host(self, name: str) -> None:
        """Answer requests whose Host or Origin names this host too. Raises ConfigurationError unless it is a bare name."""
        if _host_of(f"//{name}") != name.lower() or not name:
            raise ConfigurationError(f"emulator: {name!r} is no host name; give it without scheme, port and path")
        self.hosts.add(name.lower())

    def allow_callback(self, url: str) -> None:
        """Send callbacks to the scheme, host and port of this URL, such as `http://127.0.0.1:9000`.

        Raises ConfigurationError for anything but plain http to this machine or to a host allowed before.
        """
        parts = _split(url)
        if parts is None or not self._is_near(parts.hostname):
            raise ConfigurationError(
                f"emulator: callbacks go to http:// addresses of this machine (or of an allowed host), not to {url!r}"
            )
        self.callback_origins.add(_origin(parts))

    def callback_target(self, url: str) -> SplitResult | None:
        """The parts of a callback's URL when it may be sent, else None; what is refused is counted."""
        parts = _split(url)
        origin = "an address that is not http" if parts is None else _origin(parts)
        if parts is None or origin not in self.callback_origins or not f"{parts.path}{parts.query}".isascii():
            self.refused_callbacks[origin] = self.refused_callbacks.get(origin, 0) + 1
            return None
        return parts

    def refusal(self, headers: Mapping[str, str], vendor_hosts: Collection[str] = ()) -> str | None:
        """Why a request with these headers (names in lower case) is refused; None when it may be answered.

        `vendor_hosts` are names of real vendors that may stand in Host, for tests that redirect a vendor's own name.
        """
        host = headers.get("host")
        # HTTP/1.0 has no Host; a browser never speaks it, so nothing is lost by answering.
        name = None if host is None else _host_of(f"//{host}")
        if host is not None and not self._is_near(name) and name not in vendor_hosts:
            return f"the Host {host[:100]!r} is not this machine; allow it with --allow-host"
        origin = headers.get("origin")
        if origin is not None and not self._is_near(_host_of(origin)):
            return f"the Origin {origin[:100]!r} is not this machine; allow its host with --allow-host"
        # A browser leaves Origin out of plain GETs for images and scripts, and says this instead.
        if origin is None and headers.get("sec-fetch-site", "").lower() == "cross-site":
            return "a page of another site sent this"
        return None

    def _is_near(self, host: str | None) -> bool:
        if host is None:
            return False
        try:
            return host == "localhost" or host in self.hosts or ip_address(host).is_loopback
        except ValueError:
            return False


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts if parts.scheme == "http" and host else None


def _origin(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{parts.port or 80}"
