"""`anycap solve --from`: a line of JSON in, a line of JSON out, progress and cost on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anycap.cli import main
from tests.cli.conftest import Served

PAGE = {"type": "Turnstile", "website_url": "https://example.com", "website_key": "0x4AAAAAAADnPIDROrmt1Wwj"}


@pytest.fixture
def solve_file(
    vendors: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[dict[str, Any]], str]]:
    def run(*lines: str, more: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]], str]:
        path = tmp_path / "pages.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        url = vendors.urls["anti-captcha"]
        code = main(["solve", "--provider", "anti-captcha", "--base-url", url, "--from", str(path), *more])
        shown = capsys.readouterr()
        return code, [json.loads(line) for line in shown.out.splitlines()], shown.err

    return run


def test_every_line_comes_back_solved_with_its_number_and_the_cost_is_added_up(solve_file: Any) -> None:
    code, lines, err = solve_file(json.dumps(PAGE), "", json.dumps(PAGE), json.dumps(PAGE))
    assert code == 0
    assert {line["line"] for line in lines} == {1, 3, 4}
    assert all(line["solved"] and line["token"] for line in lines)
    assert "3 of 3: 3 solved, 0 failed" in err
    assert "USD" in err


def test_a_failure_is_a_line_too_and_the_exit_code_says_that_some_failed(solve_file: Any) -> None:
    code, lines, err = solve_file(json.dumps(PAGE), json.dumps(PAGE | {"type": "MTCaptcha"}))
    assert code == 19  # anti-captcha lacks MTCaptcha; the other is solved
    assert [line["solved"] for line in sorted(lines, key=lambda line: line["line"])] == [True, False]
    assert next(line for line in lines if not line["solved"])["error"] == "InvalidChallenge"
    assert "1 solved, 1 failed" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", 'line 2: an object with a "type"'),
        ('{"type": "Moon"}', 'line 2: an object with a "type"'),
        ('{"type": "Turnstile", "colour": 1}', "line 2: "),
    ],
)
def test_a_wrong_line_is_named_before_anything_is_sent(solve_file: Any, vendors: Served, line: str, said: str) -> None:
    code, lines, err = solve_file(json.dumps(PAGE), line)
    assert (code, lines) == (2, [])
    assert said in err
    assert vendors.emulator["anti-captcha"].ledger.tasks == []


def test_one_challenge_or_a_file_but_not_both_and_not_neither(
    vendors: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solve", "--provider", "capmonster"]) == 2
    assert main(["solve", "--provider", "capmonster", "--from", "x", "Turnstile"]) == 2
    assert "one challenge, or a file" in capsys.readouterr().err
    assert main(["solve", "--provider", "capmonster", "--from", "no-such-file"]) == 2
    assert "no-such-file cannot be read" in capsys.readouterr().err
