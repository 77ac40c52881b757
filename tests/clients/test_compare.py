"""What `nox -s peers` counts, that its page is up to date, and the translator for clients of the older protocol."""

import datetime as dt
import logging
import re

import httpx
import pytest

from anycap.emulator import DEFAULT_KEY, Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from tests.clients.compare import (
    CASES,
    PAGE,
    PEERS,
    Peer,
    Seen,
    after_fault,
    after_lost_create,
    after_status,
    limit,
    polling,
    tables,
)
from tests.clients.older_protocol import serve_older_protocol
from tests.clients.pins import PublicClient
from tests.clients.run import Result

TOKEN = "03Axyz"


def seen(
    value: object,
    error: str | None,
    *,
    tasks: int = 1,
    creates: int = 1,
    kind: str = "v2",
    polls: tuple[float, ...] = (),
) -> Seen:
    result = Result(PEERS[0], "anti-captcha", {kind: (value, error)}, "", {kind: 8.04})
    return Seen(result, kind, creates, tasks, polls)


def test_a_cell_says_what_became_of_the_task() -> None:
    assert after_fault(seen(TOKEN, None)) == "solved"
    assert after_fault(seen(None, "ReadError: reset")) == "lost: `ReadError`"
    assert after_fault(seen(None, "SaidNo: 0")) == "lost: an error as a value"
    assert after_fault(seen(None, "TooBusy: no slot", tasks=0)) == "refused: `TooBusy`"
    assert after_lost_create(seen(TOKEN, None, tasks=2)) == "**2 tasks paid**, solved"
    assert after_lost_create(seen(None, "InDoubtError: lost")) == "1 task paid, `InDoubtError`"


def test_two_statuses_share_a_cell_while_they_end_alike() -> None:
    alike = {name: seen(TOKEN, None) for name in CASES}
    assert after_status(Peer(PEERS[0], alike, True, True, True, True)) == "solved"
    told_apart = {**alike, "poll_429": seen(None, "Limited: 429")}
    assert after_status(Peer(PEERS[0], told_apart, True, True, True, True)) == "502: solved, 429: lost: `Limited`"


def test_polling_is_the_first_wait_and_the_gap() -> None:
    assert polling(seen(TOKEN, None, polls=(5.04, 8.06, 11.0))) == "5.0, then 3.0"
    assert polling(seen(TOKEN, None, polls=(5.0,))) == "-"


def test_a_limit_shows_when_the_caller_heard_and_what() -> None:
    assert limit(seen(None, "DeadlineError: late", kind="limit")) == "8.0 s, `DeadlineError`"
    without = Seen(Result(PEERS[0], "anti-captcha"), "limit", 0, 0, ())
    assert limit(without) == "-"


def test_the_tables_have_a_line_for_each_client_and_the_day() -> None:
    peer = Peer(PEERS[0], {name: seen(TOKEN, None) for name in CASES}, True, True, True, True)
    text = tables([peer], dt.date(2026, 11, 28))
    assert text.startswith("Run on 28 November 2026, Python 3.")
    assert "| anycap | solved | solved | solved | 1 task paid, solved | 1 |" in text
    assert f"| anycap | {PEERS[0].version} | yes | yes | yes | yes | - | 8.0 s, the solution |" in text


@pytest.mark.parametrize("client", PEERS, ids=lambda client: client.package)
def test_the_page_has_both_lines_of_each_client_at_its_version(client: PublicClient) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(re.findall(rf"^\| {re.escape(client.package)} \|", page, re.MULTILINE)) == 2
    assert f"| {client.package} | {client.version} |" in page


def test_the_older_protocol_gets_its_answers_from_the_emulator(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="httpx")  # it has the key in the address, which httpx logs at INFO
    emulator = Emulator(providers=["2captcha"], solve_time=0.0, balance=100)
    with serve_in_thread(emulator) as urls, serve_older_protocol(urls.own_port["2captcha"]) as front:
        form = {
            "key": DEFAULT_KEY,
            "method": "userrecaptcha",
            "googlekey": "6Lc_aCMTAAAAABx7u2N0",
            "pageurl": "https://a.example",
        }
        status, _, number = httpx.post(f"{front}/in.php", data=form).text.partition("|")
        assert status == "OK"
        ask = {"key": DEFAULT_KEY, "action": "get", "id": number}
        assert httpx.get(f"{front}/res.php", params=ask).text.startswith("OK|03A")
        assert httpx.get(f"{front}/res.php", params={"key": DEFAULT_KEY, "action": "getbalance"}).text.startswith("99.")
        wrong = {**form, "key": "0" * 32}
        assert httpx.post(f"{front}/in.php", data=wrong).text == "ERROR_KEY_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("action", "outcome"), [("http", "502"), ("reset", "reset")], ids=["another status", "a reset"]
)
def test_the_older_protocol_passes_a_fault_on(action: str, outcome: str) -> None:
    emulator = Emulator(providers=["2captcha"], faults=[Fault(action=action, method="createTask")])
    with serve_in_thread(emulator) as urls, serve_older_protocol(urls.own_port["2captcha"]) as front:
        try:
            answered = str(
                httpx.post(f"{front}/in.php", data={"key": DEFAULT_KEY, "method": "userrecaptcha"}).status_code
            )
        except httpx.TransportError:
            answered = "reset"
    assert answered == outcome
