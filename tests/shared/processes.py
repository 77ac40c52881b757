"""Processes of a fleet, started and watched by a test; the vendor is an emulator in the test's own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.thread import serve_in_thread
from tests.valkey_server import Valkey

PATIENCE_S = 60.0
"""For a machine that is busy with other things; nothing waits as long when all is well."""


class Worker:
    """One process, and the lines that it has said."""

    def __init__(self, orders: dict[str, Any], backend: str = "asyncio") -> None:
        self.lines: list[list[Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.shared.worker", json.dumps(orders), backend],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def said(self, word: str) -> list[list[Any]]:
        return [line for line in list(self.lines) if line[0] == word]

    def wait_for(self, word: str, count: int = 1) -> None:
        wait_until(lambda: len(self.said(word)) >= count or not self.is_running, f"{word} of {self.lines[-3:]}")
        assert len(self.said(word)) >= count, self.lines

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self.is_running:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def end(self) -> None:
        """Wait until it has ended by itself, as it should."""
        self.wait_for("closed")
        assert self._process.wait(PATIENCE_S) == 0
        self.kill()


def wait_until(condition: Callable[[], Any], what: str = "") -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.005)


class Fleet:
    """An emulated vendor and the processes that use one account of it through one server."""

    def __init__(self, server: Valkey, namespace: str, emulator: Emulator, url: str) -> None:
        self.server = server
        self.namespace = namespace
        self.emulator = emulator
        self.vendor = emulator["anti-captcha"]
        self.url = url
        self.workers: list[Worker] = []

    def start(self, pages: Sequence[str], **more: Any) -> Worker:
        orders = {
            "shared": self.server.url, "namespace": self.namespace, "vendor": self.url, "key": DEFAULT_KEY, "pages": pages,
            **more,
        }  # fmt: skip
        worker = Worker(orders)
        self.workers.append(worker)
        return worker

    @property
    def pages_paid(self) -> list[str]:
        """The pages of all tasks that the vendor has made, in order: its own books."""
        return [str(task.fields["websiteURL"]) for task in list(self.vendor.ledger.tasks)]

    def logs(self) -> bytes:
        """All records in the server."""
        return self.server.ask("HVALS", f"anycap:{{{self.namespace}}}:logs")

    @property
    def unfinished(self) -> int:
        return sum(1 for task in list(self.vendor.ledger.tasks) if str(task.state) == "pending")


@contextmanager
def fleet(server: Valkey, namespace: str, **options: Any) -> Iterator[Fleet]:
    emulator = Emulator(seed=1, providers=options.pop("providers", ("anti-captcha",)), **{"solve_time": 0.2, **options})
    with serve_in_thread(emulator) as urls:
        it = Fleet(server, namespace, emulator, next(iter(urls.values())))
        try:
            yield it
        finally:
            for worker in it.workers:
                if worker.is_running:
                    worker.signal(signal.SIGCONT)
                worker.kill()
