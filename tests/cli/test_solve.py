"""`solve`, `wait` and `balance` against emulated vendors: what is printed, where, and with which exit code."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from anycap.cli import main
from anycap.cli.demo_script import png
from anycap.emulator import DEFAULT_KEY, Fault
from tests.cli.conftest import Served, json_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "captcha.png"
    path.write_bytes(png(random.Random(1), width=60, height=20))
    return str(path)


def test_a_picture_becomes_text_on_stdout(anycap: Run, picture: str) -> None:
    code, out, err = anycap("solve", "yescaptcha", "ImageToText", f"image={picture}")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert out.strip()
    assert err == ""


def test_the_solution_as_json_has_cost_and_ticket(anycap: Run, picture: str) -> None:
    code, out, _ = anycap("solve", "yescaptcha", "--json", "ImageToText", f"image={picture}")
    said = json_of(out)
    assert code == 0
    assert said["type"] == "TextSolution"
    assert said["text"]
    ticket = said["ticket"]
    assert isinstance(ticket, dict)
    assert (ticket["provider"], ticket["type"]) == ("yescaptcha", "ImageToText")


def test_the_balance(anycap: Run, vendors: Served) -> None:
    code, out, _ = anycap("balance", "capmonster")
    amount, currency = out.split()
    assert (code, currency) == (0, "USD")
    assert Decimal(amount) == next(iter(vendors.emulator["capmonster"].accounts.values())).balance
    code, out, _ = anycap("balance", "yescaptcha", "--json")
    assert code == 0
    assert json_of(out)["currency"] == "points"


def test_the_key_from_stdin(anycap: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYCAP_CAPMONSTER_KEY")
    code, out, err = anycap("balance", "capmonster")
    assert (code, out) == (2, "")
    assert "ANYCAP_CAPMONSTER_KEY" in err
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO(DEFAULT_KEY + "\n"))
    assert anycap("balance", "capmonster", "--key-stdin")[0] == 0


def test_a_wrong_key_is_exit_code_10_and_typed_json(
    anycap: Run, monkeypatch: pytest.MonkeyPatch, vendors: Served
) -> None:
    monkeypatch.setenv("ANYCAP_ANTI_CAPTCHA_KEY", "not-the-key-of-anyone")
    code, out, err = anycap("balance", "anti-captcha", "--json")
    said = json_of(out)
    assert code == 10
    assert (said["error"], said["code"], said["category"]) == ("AccountError", "invalid_key", "account")
    assert said["vendor_code"] == "ERROR_KEY_DOES_NOT_EXIST"
    assert "What to do" in err
    assert "not-the-key-of-anyone" not in out + err


def test_a_challenge_that_a_vendor_lacks_is_exit_code_2_and_nothing_is_sent(
    anycap: Run, picture: str, vendors: Served
) -> None:
    code, _, err = anycap("solve", "ezcaptcha", "ImageToText", f"image={picture}")
    assert code == 2
    assert "ImageToText" in err
    assert vendors.emulator.requests == 0


def test_a_wrong_field_is_exit_code_2(anycap: Run) -> None:
    code, out, err = anycap("solve", "capmonster", "Turnstile", "website_url=https://example.com")
    assert (code, out) == (2, "")
    assert "website_key" in err


def test_a_lost_answer_is_exit_code_22(anycap: Run, picture: str, vendors: Served) -> None:
    vendors.emulator.faults.add(Fault(action="drop_after_create", provider="yescaptcha"))
    code, out, _ = anycap("solve", "yescaptcha", "--json", "ImageToText", f"image={picture}")
    assert code == 22
    assert json_of(out)["error"] == "InDoubtError"
    assert len(vendors.emulator["yescaptcha"].ledger.tasks) == 1


def test_a_deadline_is_exit_code_21_and_wait_takes_the_ticket_up(anycap: Run, vendors: Served, picture: str) -> None:
    vendors.emulator["capmonster"].solve_time = 0.3
    code, out, _ = anycap("solve", "capmonster", "--json", "--timeout", "0.2", "ImageToText", f"image={picture}")
    said = json_of(out)
    assert (code, said["error"]) == (21, "DeadlineError")
    ticket = json.dumps(said["ticket"])
    code, out, _ = anycap("wait", "capmonster", "--json", ticket)
    assert code == 0
    assert json_of(out)["type"] == "TextSolution"
    assert len(vendors.emulator["capmonster"].ledger.tasks) == 1


@pytest.mark.parametrize("text", ["{}", "nope", "[1]", '{"id": 1}'])
def test_what_is_no_ticket_is_exit_code_2(anycap: Run, text: str) -> None:
    code, out, err = anycap("wait", "capmonster", text)
    assert (code, out) == (2, "")
    assert "not a ticket's JSON" in err


def test_key_and_ticket_cannot_share_stdin(anycap: Run) -> None:
    assert anycap("wait", "capmonster", "--key-stdin", "-")[0] == 2


def test_an_unknown_provider_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["balance", "--provider", "capmonstr"]) == 2
    assert "Did you mean 'capmonster'?" in capsys.readouterr().err


@pytest.mark.parametrize("with_journal", [False, True])
def test_ctrl_c_leaves_cleanly_and_names_the_open_ticket(vendors: Served, tmp_path: Path, with_journal: bool) -> None:
    vendors.emulator["capmonster"].solve_time = 600.0
    journal = ["--journal", str(tmp_path / "tasks.db")] if with_journal else []
    # A shell's background job ignores SIGINT, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "anycap", "solve", "--provider", "capmonster", "--base-url", vendors.urls["capmonster"],
            *journal, "Turnstile", "website_url=https://example.com", "website_key=0x4AAA",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy(),
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    tasks = vendors.emulator["capmonster"].ledger.tasks
    give_up = time.monotonic() + 20
    while not tasks and time.monotonic() < give_up:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    print(out, err)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "1 task(s) still open" in err
    assert str(tasks[0].id) in err
    assert ("anycap tickets resume" in err) is with_journal
