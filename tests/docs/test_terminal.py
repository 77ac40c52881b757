"""Every `anycap` command that README and docs print, run in a real terminal of 80 columns: it works, and its lines fit."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycap import Account, Client, InDoubtError, Polling, Turnstile
from anycap.cli import COMMANDS
from anycap.cli.exits import FAULT
from anycap.emulator import DEFAULT_KEY, Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from tests.docs.test_commands import PRINTED

COLUMNS = 80
PAGES = """{"type": "Turnstile", "website_url": "https://example.com/1", "website_key": "0x4AAAAAAADnP"}
{"type": "RecaptchaV2", "website_url": "https://example.com/2", "website_key": "6Lc_aCMTAAAA"}
{"type": "MTCaptcha", "website_url": "https://example.com/3", "website_key": "MTPublic-"}
"""
PAGE = Turnstile("https://example.com", "0x4AAAAAAADnP")
ENDLESS = {"emulator"}
SHARED = "redis://127.0.0.1:6379"
"""The shared server of the docs."""
HELP = [f"anycap {name} --help".replace("  ", " ") for name in ("", *COMMANDS)]


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    """The port of served vendors."""
    with serve_in_thread(Emulator(seed=7, solve_time=0.01)) as urls:
        yield urls["capmonster"].split(":")[2].split("/")[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the commands find: a file of challenges, and a journal that holds a ticket in doubt."""
    (tmp_path / "pages.jsonl").write_text(PAGES)
    emulator = Emulator(seed=7)
    emulator.faults.add(Fault(action="drop_after_create"))

    async def leave_in_doubt(base_url: str) -> None:
        account = Account("capmonster", DEFAULT_KEY, base_url=base_url, polling=Polling(fixed=(0.1, 0.1)))
        async with Client(account, journal=tmp_path / "tasks.db") as client:
            with pytest.raises(InDoubtError):
                await client.solve(PAGE)

    with serve_in_thread(emulator) as urls:
        asyncio.run(leave_in_doubt(urls["capmonster"]))
    return tmp_path


def in_terminal(command: str, folder: Path, *, endless: bool = False) -> tuple[int, list[str]]:
    """The command's exit code and what a terminal of 80 columns shows, line by line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    environment |= {"ANYCAP_CAPMONSTER_KEY": DEFAULT_KEY, "ANYCAP_OFFLINE": "1", "TERM": "xterm"}
    words = [sys.executable, "-m", "anycap", *shlex.split(command)[1:]]
    process = subprocess.Popen(words, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.5)[0]:
            if endless and shown:
                process.send_signal(signal.SIGINT)
            continue
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not shown:
            break
    code = process.wait(timeout=10)
    os.close(ours)
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.decode())
    # A carriage return alone begins the line anew: what is longest of it was seen.
    return code, [part for line in text.split("\r\n") for part in line.split("\r")]


@pytest.mark.parametrize("command", [*PRINTED, *HELP])
def test_a_printed_command_works_and_fits_80_columns(
    command: str, vendor: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    name = shlex.split(command)[1]
    run = command.replace("http://127.0.0.1:8100", f"http://127.0.0.1:{vendor}").replace("--port 8100", "--port 0")
    if SHARED in command:
        run = run.replace(SHARED, request.getfixturevalue("valkey").url)
    code, lines = in_terminal(
        run,
        folder,
        endless=name in ENDLESS and "--help" not in command,
    )
    shown = "\n".join(lines)
    assert "Traceback" not in shown
    assert code != FAULT, shown
    # Whoever copies an address, a token or a completion script wants it whole.
    wide = [line for line in lines if len(line) > COLUMNS and max(map(len, line.split())) < 40]
    assert wide == [] or name == "completion", wide
