"""Emulated vendors for the command line's tests: served by a thread of this process on a loopback port."""

import json
from collections.abc import Callable, Iterator

import pytest

from anycap.cli import main
from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.thread import serve_in_thread
from tests.journal.conftest import path, tape

__all__ = ["Served", "path", "served", "tape", "vendors"]


class Served:
    """A served emulator and its base URLs."""

    def __init__(self, emulator: Emulator, urls: dict[str, str]) -> None:
        self.emulator = emulator
        self.urls = urls


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    emulator = Emulator(seed=5, solve_time=0.01)
    with serve_in_thread(emulator) as urls:
        yield Served(emulator, urls)


@pytest.fixture
def vendors(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The vendors as at first, with the key of each in the environment."""
    served.emulator.reset()
    for name in served.urls:
        monkeypatch.setenv(f"ANYCAP_{name.upper().replace('-', '_')}_KEY", DEFAULT_KEY)
    return served


@pytest.fixture
def anycap(vendors: Served, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `anycap COMMAND ...` in this process at a vendor; gives exit code, stdout and stderr."""

    def run(command: str, provider: str, *words: str) -> tuple[int, str, str]:
        code = main([command, "--provider", provider, "--base-url", vendors.urls[provider], *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def json_of(text: str) -> dict[str, object]:
    value = json.loads(text)
    assert isinstance(value, dict)
    return value
