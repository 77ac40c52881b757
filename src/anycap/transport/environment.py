"""The proxies that the environment names, for `settings.http.trust_env`: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

Read here rather than by the HTTP libraries, so that all transports agree and no exception of theirs gets out. Loopback
addresses never go through a proxy: a key for a local emulator has no business there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import field, frozen

from anycap.errors import ConfigurationError
from anycap.transport.connections.target import Target, is_loopback

_SCHEMES = ("http", "https", "socks5", "socks5h")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Proxies:
    """The proxy for each scheme, and which hosts are spoken to without one."""

    by_scheme: Mapping[str, str] = field(repr=False)  # addresses may hold a login
    _hosts: frozenset[tuple[str, int | None]] = field(alias="hosts", default=frozenset())
    _networks: tuple[_Network, ...] = field(alias="networks", default=())

    def __bool__(self) -> bool:
        return bool(self.by_scheme)

    @property
    def has_socks(self) -> bool:
        """Whether one of them is spoken to with SOCKS."""
        return any(address.startswith("socks") for address in self.by_scheme.values())

    def proxy_for(self, target: Target) -> str | None:
        """The proxy's address for a request there; None for none."""
        proxy = self.by_scheme.get(target.scheme) or self.by_scheme.get("all")
        if proxy is None or is_loopback(target.host) or self._is_exempt(target):
            return None
        return proxy

    def _is_exempt(self, target: Target) -> bool:
        host = target.host.lower()
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            labels = host.split(".")
            names = [".".join(labels[start:]) for start in range(len(labels))]
            return any((name, port) in self._hosts for name in names for port in (None, target.port))
        return any(address in network for network in self._networks) or (host, target.port) in self._hosts


def environment_proxies() -> Proxies:
    """What the environment says now.

    An entry of NO_PROXY that is none is passed over, as everywhere else. Raises `ConfigurationError`, without the
    address, for a proxy that is none or that nobody here can speak to.
    """
    found = _read()
    if isinstance(found, Proxies):
        return found
    raise ConfigurationError(found)  # from a frame that holds no address: one may have a login in it


def _read() -> Proxies | str:
    """The proxies, or what is wrong with one of them."""
    from urllib.request import getproxies_environment  # costs more than this module, and only `trust_env` needs it

    found = getproxies_environment()
    proxies: dict[str, str] = {}
    for scheme in ("http", "https", "all"):
        address = found.get(scheme)
        if address:
            proxies[scheme] = address if "://" in address else f"http://{address}"
            problem = _problem_with(proxies[scheme])
            if problem is not None:
                return f"{scheme.upper()}_PROXY in the environment {problem}"
    hosts: set[tuple[str, int | None]] = set()
    networks: list[_Network] = []
    for entry in found.get("no", "").replace(",", " ").split():
        if entry == "*":
            return Proxies({})
        _exempt(entry, hosts, networks)
    return Proxies(proxies, frozenset(hosts), tuple(networks))


def _problem_with(address: str) -> str | None:
    try:
        parts = urlsplit(address)
        is_address = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, is_address = None, False
    if parts is None or not is_address:
        return "is no address of a proxy. Write http://host:port."
    if parts.scheme not in _SCHEMES:
        return (
            f"names a proxy of a kind that is not spoken here. Use one of {', '.join(_SCHEMES)}, or leave "
            "settings.http.trust_env off."
        )
    return None


def _exempt(entry: str, hosts: set[tuple[str, int | None]], networks: list[_Network]) -> None:
    entry = entry.lower()
    try:
        networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
    except ValueError:
        pass
    else:
        return
    try:
        parts = urlsplit(entry if "://" in entry else f"//{entry}")
        host, port = (parts.hostname or "").removeprefix("*").removeprefix("."), parts.port
    except ValueError:
        return
    if host:
        hosts.add((host, port))
