"""The demonstration keeps what it shows: every fault is met and survived, and a seed gives the same result every time."""

import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from anycap.cli import demo, main
from anycap.cli.demo import Door, Progress, play
from anycap.cli.demo_report import Report, picture, tables, verdict
from anycap.cli.demo_script import ACTS, VENDORS
from anycap.cli.output import Output
from anycap.emulator import Emulator, InProcess, run_virtual


@asynccontextmanager
async def in_process(emulator: Emulator) -> AsyncIterator[Door]:
    """The same vendors without sockets, so that the show takes no time."""
    yield Door("in process", {name: emulator.base_url(name) for name in VENDORS}, InProcess(emulator))


def show(seed: int, *, quiet: bool = False) -> tuple[Report, str]:
    err = io.StringIO()
    progress = Progress(Output(as_json=False, out=io.StringIO(), err=err), 46, quiet=quiet)
    return run_virtual(play, seed, progress, in_process), err.getvalue()


@pytest.fixture(scope="module")
def first() -> tuple[Report, str]:
    return show(1)


def test_everything_is_solved_but_what_cannot_be(first: tuple[Report, str]) -> None:
    lines = first[0].lines
    assert {name: (line.tasks, line.solved) for name, line in lines.items()} == {
        "anti-captcha": (10, 8), "capmonster": (10, 10), "yescaptcha": (10, 10), "ezcaptcha": (10, 10),
        "ezcaptcha, wrong key": (6, 0),
    }  # fmt: skip
    assert lines["anti-captcha"].errors == {"InDoubtError": 1, "unsolvable": 1}
    assert lines["ezcaptcha, wrong key"].errors == {"invalid_key": 6}


def test_a_wrong_key_sends_one_request(first: tuple[Report, str]) -> None:
    assert first[0].lines["ezcaptcha, wrong key"].requests == 1


def test_the_picture_in_the_docs_shows_what_the_demo_ends_with(first: tuple[Report, str]) -> None:
    """How often each task was polled may differ between machines; what became of the tasks may not."""
    shown = Path(__file__).parents[2].joinpath("docs", "assets", "demo.txt").read_text(encoding="utf-8")
    assert shown.rstrip().endswith(picture(first[0]).rstrip())
    for name, line in first[0].lines.items():
        if name in VENDORS:
            assert re.search(rf"^{name} +{line.tasks} +{line.solved} ", shown, re.MULTILINE), name


def test_the_vendors_ledgers_agree(first: tuple[Report, str]) -> None:
    report = first[0]
    assert report.sound
    assert (report.troubles, report.bans) == ([], 0)
    assert len(report.hits) == len(ACTS)
    assert all(report.hits)


def test_progress_tells_of_every_kind_of_trouble(first: tuple[Report, str]) -> None:
    told = first[1]
    assert told.startswith("4 emulated vendors in process, 46 challenges, 9 faults\n")
    for words in (
        "poll lost, the task lives on",
        "nothing was created",
        "in doubt, not sent again",
        "failed (unsolvable)",
    ):
        assert words in told


def test_the_same_seed_gives_the_same_show(first: tuple[Report, str]) -> None:
    again = show(1)
    assert again[0].to_json() == first[0].to_json()
    assert again[1] == first[1]


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_other_seeds_are_survived_too(seed: int) -> None:
    report, told = show(seed, quiet=True)
    assert report.sound
    assert told == ""


def test_the_final_tables(first: tuple[Report, str]) -> None:
    text = f"{tables(first[0])}\n{verdict(first[0])}"
    assert "38 of 46 solved" in text
    assert "none lost, none paid twice, 0 bans" in text
    assert "1 request was sent,\nthe rest stopped here" in text


def test_a_show_that_broke_a_promise_says_so() -> None:
    report = Report(seed=1, hits=[1] * (len(ACTS) - 1) + [0], troubles=["capmonster: 1 solved tasks too many"], bans=1)
    assert not report.sound
    text = verdict(report)
    assert "capmonster: 1 solved tasks too many" in text
    assert f"this fault never happened: {ACTS[-1].happens}" in text
    assert "none lost" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def without_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "loopback", in_process)
    monkeypatch.setattr("anycap.cli.demo.asyncio.run", lambda main: run_virtual(lambda: main))


@pytest.mark.usefixtures("without_sockets")
def test_the_command_prints_its_result_on_stdout_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seed", "3", "--quiet", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["sound"] is True


@pytest.mark.usefixtures("without_sockets")
def test_the_command_tells_of_its_progress_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    shown = capsys.readouterr()
    assert "46 challenges, 9 faults" in shown.err
    assert "38 of 46 solved" in shown.out


def test_ctrl_c_during_the_show_names_what_is_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(main: Any) -> None:
        main.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("anycap.cli.demo.asyncio.run", interrupted)
    assert main(["demo"]) == 130
    assert "interrupted; no task is open" in capsys.readouterr().err


def test_on_a_terminal_the_counts_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    err = Terminal()
    progress = Progress(Output(as_json=False, out=io.StringIO(), err=err), 46, quiet=False)
    run_virtual(play, 1, progress, in_process)
    progress.close()
    told = err.getvalue()
    assert "46 challenges, 40 accepted, 38 solved" in told
    assert told.endswith("\r")
    assert "\x1b" not in told


def test_json_has_all_of_it(first: tuple[Report, str]) -> None:
    said: dict[str, Any] = first[0].to_json()
    assert said["accounts"]["anti-captcha"]["in_doubt"] == 1
    assert {fault["provider"] for fault in said["faults"]} == set(VENDORS)
    assert said["sound"] is True
