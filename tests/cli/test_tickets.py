"""`anycap tickets`: lists, resumes and settles, without a secret in what it prints but the solutions asked for."""

from __future__ import annotations

import io
import json
import stat
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from anycap.cli import main
from anycap.emulator import DEFAULT_KEY, Emulator, serve
from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal

K = RecordKind
NOW = 1_790_000_000.0
IMAGE = {"account": "anti-captcha", "provider": "anti-captcha", "type": "ImageToText", "vendor_type": "ImageToTextTask"}
PICTURE = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7" + "A" * 200


def write(path: Path, *records: Record) -> None:
    async def work() -> None:
        journal = SqliteJournal(path)
        await journal.open()
        await journal.write(records)
        await journal.aclose()

    anyio.run(work)


def kinds(path: Path) -> dict[str, str]:
    async def work() -> dict[str, str]:
        journal = SqliteJournal(path, observe=True)
        await journal.open()
        found = {entry.ticket_id: entry.kind for entry in await journal.entries(closed=True)}
        await journal.aclose()
        return found

    return anyio.run(work)


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def left(path: Path) -> Path:
    """What a killed process left: one paid task, one solution, one unanswered createTask, one in doubt, one closed."""
    write(
        path,
        Record("paid0001", K.INTENT, NOW, {**IMAGE, "summary": {"image": {"sha256": "9f86d0", "bytes": 2048}}}),
        Record("paid0001", K.ACCEPTED, NOW + 1, {"task_id": 7654321}),
        Record("done0001", K.INTENT, NOW, IMAGE),
        Record("done0001", K.ACCEPTED, NOW + 1, {"task_id": 7654322}),
        Record("done0001", K.RESULT, NOW + 9, {"body": {"solution": {"text": "token-canary"}}, "expires_at": 4e9}),
        Record("sent0001", K.INTENT, NOW, IMAGE),
        Record("lost0001", K.INTENT, NOW, IMAGE),
        Record("lost0001", K.IN_DOUBT, NOW + 2, {}),
        Record("gone0001", K.INTENT, NOW, IMAGE),
        Record("gone0001", K.FAILED, NOW + 2, {"error": {"code": "unsolvable"}}),
    )
    return path


def test_the_list_says_what_to_make_of_each_ticket(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "--journal", str(left), "--json"]) == 0
    rows = said(capsys)
    assert {row["id"]: row["standing"] for row in rows} == {
        "paid0001": "orphaned",
        "done0001": "orphaned",
        "sent0001": "in_doubt",
        "lost0001": "in_doubt",
    }
    assert rows[0] == {
        "id": "paid0001",
        "standing": "orphaned",
        "kind": "accepted",
        "provider": "anti-captcha",
        "account": "anti-captcha",
        "type": "ImageToText",
        "task_id": 7654321,
        "created_at": "2026-09-21T14:13:20+00:00",
        "accepted_at": "2026-09-21T14:13:21+00:00",
        "expires_at": None,
        "challenge": {"image": {"sha256": "9f86d0", "bytes": 2048}},
        "tag": None,
        "to_do": "resume",
    }


def test_the_text_list_explains_and_shows_no_solution(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "--journal", str(left)]) == 0
    text = capsys.readouterr().out
    assert "token-canary" not in text
    lines = text.splitlines()
    assert lines[0].split() == ["ticket", "standing", "what", "for", "tag", "to", "do", "since", "(UTC)"]
    found = [line.split() for line in lines]
    assert ["paid0001", "orphaned", "ImageToText", "sha256:9f86d0", "-", "resume", "09-21T14:13"] in found
    assert ["lost0001", "in_doubt", "ImageToText", "-", "settle", "09-21T14:13"] in found
    assert any(line.startswith("orphaned: paid, and nobody waits") for line in lines)
    assert any(line.startswith("in_doubt: createTask's answer was lost") for line in lines)


def test_tickets_of_a_running_process_are_open(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        journal = SqliteJournal(path)
        await journal.open()
        await journal.write([Record("aaaa", K.INTENT, NOW, IMAGE), Record("bbbb", K.INTENT, NOW, IMAGE)])
        await journal.write([Record("bbbb", K.ACCEPTED, NOW, {"task_id": 1})])
        await anyio.to_thread.run_sync(main, ["tickets", "--journal", str(path), "--json"])
        assert [entry.ticket_id for entry in await journal.open_entries()] == ["aaaa", "bbbb"]
        await journal.aclose()

    anyio.run(work)
    assert {row["id"]: row["standing"] for row in said(capsys)} == {"aaaa": "submitting", "bbbb": "open"}


def test_an_empty_journal_and_a_missing_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "--journal", str(path)]) == 24
    assert "There is no journal at" in capsys.readouterr().err
    assert not path.exists()
    write(path)
    assert main(["tickets", "--journal", str(path)]) == 0
    assert capsys.readouterr().out == f"no open ticket in {path}\n"
    assert main(["tickets", "--journal", str(path), "--json"]) == 0
    assert said(capsys) == []
    assert main(["tickets", "resume", "--journal", str(path)]) == 0


def test_the_journal_may_be_named_in_the_environment(
    left: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYCAP_JOURNAL", str(left))
    assert main(["tickets", "--json"]) == 0
    assert len(said(capsys)) == 4


@pytest.mark.parametrize("how", ["lost", "charged"])
@pytest.mark.parametrize("name", ["lost0001", "sent0001", "lost", "sent"])
def test_settling_closes_a_ticket_in_doubt(left: Path, capsys: pytest.CaptureFixture[str], name: str, how: str) -> None:
    assert main(["tickets", "settle", name, f"--{how}", "--journal", str(left), "--json"]) == 0
    full = name[:4] + "0001"
    assert said(capsys) == {"id": full, "settled": how}
    assert kinds(left)[full] == "settled"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("paid0001", "is not in doubt but orphaned"),
        ("gone0001", "No open ticket"),
        ("nobody", "No open ticket"),
        ("los", "No open ticket"),
    ],
)
def test_settling_anything_else_changes_nothing(
    left: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    before = kinds(left)
    assert main(["tickets", "settle", name, "--lost", "--journal", str(left)]) == 23
    assert words in capsys.readouterr().err
    assert kinds(left) == before


def test_a_beginning_that_fits_two_tickets_is_refused(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(left, Record("lost0002", K.INTENT, NOW, IMAGE))
    assert main(["tickets", "settle", "lost", "--lost", "--journal", str(left)]) == 23
    assert "2 open tickets" in capsys.readouterr().err


PAGES = {
    f"page{number:04d}": {
        **IMAGE, "type": "RecaptchaV2", "tag": "crawl 1" if number < 3 else "crawl 2",
        "summary": {"website_url": f"https://shop.example.com/catalogue/of/every/thing/page/{number}"},
    }
    for number in range(5)
}  # fmt: skip


@pytest.fixture
def doubtful(path: Path) -> Path:
    """Five tickets in doubt, of two crawls."""
    write(path, *(Record(ticket_id, K.INTENT, NOW, fields) for ticket_id, fields in PAGES.items()))
    return path


def test_the_list_names_page_and_tag_in_80_columns(
    doubtful: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["tickets", "--journal", str(doubtful)]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    assert "".join(line[22:50].strip() for line in table if line.startswith(("page0004", " "))).count("/page/4") == 1
    assert sum("crawl 2" in line for line in table) == 2


def test_showing_a_ticket_says_everything_but_its_solution(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "show", "done", "--journal", str(left)]) == 0
    text = capsys.readouterr().out
    assert "token-canary" not in text
    assert text.splitlines()[-1] == "paid, and nobody waits: get it with `anycap tickets resume`"
    assert main(["tickets", "show", "gone0001", "--journal", str(left), "--json"]) == 0
    shown = said(capsys)
    assert (shown["standing"], shown["error"], shown["has_solution"]) == ("closed", {"code": "unsolvable"}, False)
    assert main(["tickets", "show", "nobody", "--journal", str(left)]) == 23
    assert "No ticket in" in capsys.readouterr().err


def test_the_raw_answer_of_a_solved_ticket_is_printed_where_it_is_asked_for(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no solution can be made of was paid for all the same."""
    odd = {"errorId": 0, "status": "ready", "solution": {"first": "token-canary-1", "second": "token-canary-2"}}
    write(
        path,
        Record("odd00001", K.INTENT, NOW, {**IMAGE, "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless"}),
        Record("odd00001", K.ACCEPTED, NOW + 1, {"task_id": 7654321}),
        Record("odd00001", K.RESULT, time.time(), {"body": odd, "expires_at": None, "cost": "0.002", "charged": "yes"}),
        Record("paid0001", K.INTENT, NOW, IMAGE),
        Record("paid0001", K.ACCEPTED, NOW + 1, {"task_id": 7654322}),
    )
    assert main(["tickets", "show", "odd0", "--journal", str(path)]) == 0
    assert "token-canary" not in capsys.readouterr().out
    assert main(["tickets", "show", "odd0", "--raw", "--journal", str(path)]) == 0
    assert said(capsys) == odd
    assert main(["tickets", "show", "paid0001", "--raw", "--journal", str(path)]) == 23
    assert "holds no answer with a solution" in capsys.readouterr().err


def test_resume_prints_the_raw_answer_that_nobody_can_read(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYCAP_ANTI_CAPTCHA_KEY", DEFAULT_KEY)
    odd = {"errorId": 0, "status": "ready", "solution": {"first": "token-canary-1", "second": "token-canary-2"}}
    now = time.time()
    write(
        path,
        Record("odd00001", K.INTENT, now, {**IMAGE, "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless"}),
        Record("odd00001", K.ACCEPTED, now, {"task_id": 7654321}),
        Record("odd00001", K.RESULT, now, {"body": odd, "expires_at": None, "cost": "0.002", "charged": "yes"}),
    )
    for _ in range(2):  # it stays in the journal
        assert main(["tickets", "resume", "--journal", str(path), "--json"]) != 0
        (line,) = said(capsys)
        assert (line["code"], line["raw"]) == ("unreadable_answer", odd)
    assert main(["tickets", "resume", "--journal", str(path)]) != 0
    assert json.loads(capsys.readouterr().out.split("  ", 1)[1]) == odd


def test_settling_several_at_once(doubtful: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "settle", "page0000", "page0001", "--lost", "--journal", str(doubtful), "--json"]) == 0
    assert said(capsys) == [{"id": "page0000", "settled": "lost"}, {"id": "page0001", "settled": "lost"}]
    assert sorted(i for i, kind in kinds(doubtful).items() if kind == "settled") == ["page0000", "page0001"]


def test_one_that_is_not_in_doubt_leaves_all_as_they_are(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = kinds(left)
    assert main(["tickets", "settle", "lost0001", "paid0001", "--lost", "--journal", str(left)]) == 23
    assert kinds(left) == before


@pytest.mark.parametrize(("which", "settled"), [(["--tag", "crawl 1"], 3), (["--all"], 5), (["--tag", "none"], 0)])
def test_settling_by_tag_or_all_wants_a_word_for_it(
    doubtful: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, which: list[str], settled: int
) -> None:
    command = ["tickets", "settle", *which, "--charged", "--journal", str(doubtful)]
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))  # no terminal: nobody was asked
    assert main(command) == (2 if settled else 0)
    assert list(kinds(doubtful).values()).count("settled") == 0
    assert main([*command, "--yes"]) == 0
    assert list(kinds(doubtful).values()).count("settled") == settled


@pytest.mark.parametrize(("answer", "settled"), [("yes\n", 5), ("no\n", 0), ("", 0)])
def test_a_person_is_asked(
    doubtful: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, settled: int
) -> None:
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", terminal)
    assert main(["tickets", "settle", "--all", "--lost", "--journal", str(doubtful)]) == (0 if settled else 2)
    assert "Settle these 5 tickets as lost?" in capsys.readouterr().err
    assert list(kinds(doubtful).values()).count("settled") == settled


@pytest.mark.parametrize("which", [[], ["page0000", "--all"], ["--all", "--tag", "crawl 1"]])
def test_settling_needs_to_know_which(doubtful: Path, which: list[str]) -> None:
    assert main(["tickets", "settle", *which, "--lost", "--journal", str(doubtful)]) == 2


def test_settling_needs_to_know_how(left: Path) -> None:
    assert main(["tickets", "settle", "lost0001", "--journal", str(left)]) == 2


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The base URL of an emulated anti-captcha that solves at once; its key is in the environment."""
    monkeypatch.setenv("ANYCAP_ANTI_CAPTCHA_KEY", DEFAULT_KEY)
    emulator = Emulator(seed=1, solve_time=0.0)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as urls:
        yield urls["anti-captcha"]


def buy(url: str) -> int:
    """Create a task as a process that was killed afterwards would have."""
    body = {"clientKey": DEFAULT_KEY, "task": {"type": "ImageToTextTask", "body": PICTURE}}
    request = urllib.request.Request(url + "/createTask", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.load(answer)["taskId"])


def test_resuming_prints_every_solution_once_and_names_what_is_in_doubt(
    path: Path, vendor: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now = time.time()
    write(
        path,
        Record("paid0001", K.INTENT, now, IMAGE),
        Record("paid0001", K.ACCEPTED, now, {"task_id": buy(vendor)}),
        Record("done0001", K.INTENT, now, IMAGE),
        Record("done0001", K.ACCEPTED, now, {"task_id": 7654322}),
        Record("done0001", K.RESULT, now, {"body": {"status": "ready", "solution": {"text": "kept"}}}),
        Record("lost0001", K.INTENT, now, IMAGE),
        Record("lost0001", K.IN_DOUBT, now, {}),
    )
    saved = tmp_path / "solutions.jsonl"
    command = [
        "tickets",
        "--journal",
        str(path),
        "--json",
        "resume",
        "--provider",
        "anti-captcha",
        "--base-url",
        vendor,
    ]
    assert main([*command, "--save", str(saved)]) == 22
    results = said(capsys)
    solved = {row["ticket"]["id"]: row["text"] for row in results if "text" in row}
    assert sorted(solved) == ["done0001", "paid0001"]
    assert solved["done0001"] == "kept"
    assert solved["paid0001"]
    assert [row["error"] for row in results if "error" in row] == ["InDoubtError"]
    assert kinds(path) == {"paid0001": "delivered", "done0001": "delivered", "lost0001": "in_doubt"}
    assert {json.loads(line)["text"] for line in saved.read_text().splitlines()} == set(solved.values())
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert main(["tickets", "settle", "lost0001", "--lost", "--journal", str(path)]) == 0
    assert main(command) == 0


def test_resuming_in_text_prints_a_line_a_ticket(path: Path, vendor: str, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    write(
        path,
        Record("done0001", K.INTENT, now, IMAGE),
        Record("done0001", K.RESULT, now, {"body": {"status": "ready", "solution": {"text": "kept"}}}),
    )
    assert main(["tickets", "resume", "--journal", str(path), "--provider", "anti-captcha", "--base-url", vendor]) == 0
    assert capsys.readouterr().out == "done0001  kept\n"


def test_resuming_without_a_key_hands_nothing_out(
    left: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANYCAP_ANTI_CAPTCHA_KEY", raising=False)
    before = kinds(left)
    assert main(["tickets", "resume", "--journal", str(left)]) == 2
    assert "ANYCAP_ANTI_CAPTCHA_KEY" in capsys.readouterr().err
    assert kinds(left) == before


def test_a_file_to_save_into_is_opened_before_anything_is_fetched(
    left: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kinds(left)
    command = ["tickets", "resume", "--journal", str(left), "--save", str(left.parent / "no" / "file")]
    assert main(command) == 2
    assert "Nothing was fetched" in capsys.readouterr().err
    assert kinds(left) == before


def test_another_address_needs_its_vendors_name(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tickets", "resume", "--journal", str(left), "--base-url", "http://127.0.0.1:1"]) == 2
    assert "--base-url needs --provider" in capsys.readouterr().err


def test_a_ticket_of_a_newer_release_is_listed_and_left_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, Record("new00001", "reserved", NOW, IMAGE))  # type: ignore[arg-type]  # a kind of a later release
    assert main(["tickets", "--journal", str(path), "--json"]) == 0
    assert [(row["kind"], row["standing"]) for row in said(capsys)] == [("reserved", "unknown")]
    assert main(["tickets", "settle", "new00001", "--lost", "--journal", str(path)]) == 23
    assert "written by a newer release" in capsys.readouterr().err


def test_ctrl_c_says_where_the_rest_stays(
    left: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("anycap.cli.tickets.look", interrupted)
    assert main(["tickets", "--journal", str(left)]) == 130
    assert str(left) in capsys.readouterr().err


def test_the_command_fits_into_another_programs_parser(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from anycap.cli import tickets

    parser = argparse.ArgumentParser()
    tickets.add_arguments(parser.add_subparsers())
    assert tickets.run(parser.parse_args(["tickets", "--journal", str(left), "--json"])) == 0
    assert len(said(capsys)) == 4
