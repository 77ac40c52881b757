"""The guard behind the fixture `anycap_offline`: while it is on, no socket of this process reaches another machine.

It stands before Python's own socket module, whatever library asks. Event loops that do not use it (uvloop) are not held;
our own connections are, by `ANYCAP_OFFLINE`, which the fixture sets as well.
"""

from __future__ import annotations

import socket
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest

_INTERNET = (socket.AF_INET, socket.AF_INET6)


class RefusedOffline(RuntimeError):
    """A connection or a look-up beyond this machine, refused by `anycap_offline`.

    No OSError: libraries take those for network weather, drop the text and try again.
    """


class OfflineGuard:
    """What was refused so far, by address; `install` puts the guard in place until the monkeypatch is undone."""

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refuse look-ups of foreign names and connections to foreign addresses from now on."""
        connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

        def guarded_connect(sock: socket.socket, address: object) -> None:
            self._check(sock, address)
            connect(sock, address)  # type: ignore[arg-type]  # whatever it is, the socket says what is wrong with it

        def guarded_connect_ex(sock: socket.socket, address: object) -> int:
            self._check(sock, address)
            return connect_ex(sock, address)  # type: ignore[arg-type]  # as above

        def guarded_getaddrinfo(host: Any, port: Any, *more: int, **named: int) -> Any:
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            if not _is_near(name):
                self._refuse(f"{name}:{port}")
            return getaddrinfo(host, port, *more, **named)

        monkeypatch.setattr(socket.socket, "connect", guarded_connect)
        monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)

    def _check(self, sock: socket.socket, address: object) -> None:
        if sock.family in _INTERNET and isinstance(address, tuple) and not _is_near(address[0]):
            self._refuse(f"{address[0]}:{address[1]}")

    def _refuse(self, address: str) -> None:
        self.refused[address] += 1
        raise RefusedOffline(
            f"anycap_offline refused {address}: tests of anycap reach this machine only. Mock that address, or use the fixture "
            "anycap_client."
        )


def _is_near(host: object) -> bool:
    # None and "" stand for "any address of this machine" in a look-up.
    if host is None or host in ("", "localhost"):
        return True
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False
