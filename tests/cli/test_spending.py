"""`anycap spending`: sums from a journal's file, as a table of 80 columns or as JSON. Figures worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anycap.cli import main
from anycap.journal import Record, RecordKind
from tests.cli.test_tickets import write

K = RecordKind
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2  # of 2024-10-04
WHAT = {"provider": "anti-captcha", "vendor_type": "T", "currency": "USD", "price": "0.002"}


def task(number: int, cost: str | None, at: float = NOON, **fields: Any) -> list[Record]:
    ticket = f"task{number:04}"
    intent = Record(ticket, K.INTENT, at, {**WHAT, "account": "main", "type": "RecaptchaV2", **fields})
    if cost is None:
        return [intent]
    return [intent, Record(ticket, K.RESULT, at, {"body": {}, "expires_at": at + DAY, "cost": cost})]


@pytest.fixture
def spent(path: Path) -> Path:
    write(
        path,
        *task(1, "0.002", tag="crawl"), *task(2, "0.0035", tag="crawl"), *task(3, "0.0007", type="ImageToText"),
        *task(4, "15", account="yes", currency="points"), *task(5, None), *task(6, "0.002", NOON + DAY),
    )  # fmt: skip
    return path


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["spending", *words]) == 0
    return capsys.readouterr().out


def test_sums_by_day_and_account(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--journal", str(spent), "--since", "2024-10-04") == (
        "day         account  tasks   spent  reserved  currency\n"
        "----------  -------  -----  ------  --------  --------\n"
        "2024-10-04  main         3  0.0062     0.002  USD\n"
        "2024-10-04  yes          1      15         0  points\n"
        "2024-10-05  main         1   0.002         0  USD\n"
        "total                    4  0.0082     0.002  USD\n"
        "total                    1      15         0  points\n"
        "\n"
        "reserved: held back for tasks that are unfinished or in doubt\n"
    )


def test_sums_by_type_and_tag(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--journal", str(spent), "--since", "2024-10-04", "--by", "tag, type")
    assert "crawl  RecaptchaV2      2  0.0055         0  USD" in text
    assert "-      ImageToText      1  0.0007         0  USD" in text
    assert max(map(len, text.splitlines())) <= 80


def test_every_line_as_json(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = json.loads(shown(capsys, "--journal", str(spent), "--since", "2024-10-05", "--json"))
    assert lines == [
        {
            "day": "2024-10-05", "account": "main", "type": "RecaptchaV2", "tag": None, "currency": "USD", "spent": "0.002",
            "reserved": "0", "tasks": 1,
        }
    ]  # fmt: skip


def test_a_day_without_spending_says_so(spent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "--journal", str(spent)) == "nothing was spent since the beginning of this UTC day\n"
    assert json.loads(shown(capsys, "--journal", str(spent), "--json")) == []


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--by", "hour"), ("--by", "")])
def test_wrong_arguments_are_a_usage_error(
    spent: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spending", "--journal", str(spent), *words]) == 2


def test_a_journal_that_is_not_there_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spending", "--journal", str(path)]) == 24
    assert "no journal" in capsys.readouterr().err
