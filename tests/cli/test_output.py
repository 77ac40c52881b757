"""Results on stdout, the rest on stderr; JSON that loses nothing; colours only for people."""

import io
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest

from anycap.cli.exits import TABLE, exit_code
from anycap.cli.output import Output, error_fields, jsonable, table
from anycap.cli.solution import solution_text
from anycap.errors import (
    AccountError,
    AnycapError,
    BlockedError,
    BudgetError,
    BusyError,
    ChallengeError,
    ClientClosed,
    ConfigurationError,
    DeadlineError,
    Fenced,
    InDoubtError,
    InvalidChallenge,
    JournalError,
    KeyMismatch,
    ProxyError,
    RefusedError,
    ReportRefused,
    RequestError,
    ServiceError,
    SolutionExpired,
    SolveError,
    StoreError,
    TicketError,
    TransportError,
    UnsolvedError,
    UnsupportedMethod,
)
from anycap.results import TextSolution
from anycap.taxonomy import Charged, Code, ErrorAnswer, row_of_ours
from anycap.tickets import Ticket, TicketState
from tests.vendor_answers import BIDI

TICKET = Ticket(
    "t-1", 4711, "main", "anti-captcha", "RecaptchaV2", TicketState.PENDING, datetime(2026, 1, 2, tzinfo=UTC)
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answer(code: Code, vendor_code: str | None = None, description: str | None = None) -> ErrorAnswer:
    row = row_of_ours("capmonster", code, meaning="It failed.", action="Wait.", source="here", charged=Charged.NO)
    return ErrorAnswer(row, "capmonster", vendor_code, None, description)


def test_json_keeps_money_times_and_enums() -> None:
    value = {"cost": Decimal("0.00070"), "at": datetime(2026, 1, 2, tzinfo=UTC), "code": Code.NO_FUNDS, "cells": (1, 2)}
    assert json.loads(json.dumps(jsonable(value))) == {
        "cost": "0.00070", "at": "2026-01-02T00:00:00+00:00", "code": "no_funds", "cells": [1, 2],
    }  # fmt: skip


def test_colours_only_on_a_terminal_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, terminal = io.StringIO(), Terminal()
    Output(as_json=False, out=plain).text("x", "red")
    Output(as_json=False, out=terminal).text("x", "red")
    assert (plain.getvalue(), terminal.getvalue()) == ("x\n", "\x1b[31mx\x1b[0m\n")
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = Terminal()
    Output(as_json=False, out=quiet).text("x", "red")
    assert quiet.getvalue() == "x\n"


def test_on_a_terminal_long_lines_are_broken_between_words_and_elsewhere_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("NO_COLOR", "1")
    text = "  PROBLEM  no connection to api.capmonster.cloud:443 (refused)"
    terminal, file = Terminal(), io.StringIO()
    Output(as_json=False, out=terminal).text(text)
    Output(as_json=False, out=file).text(text)
    assert terminal.getvalue().splitlines() == [
        "  PROBLEM  no connection to", "    api.capmonster.cloud:443", "    (refused)",
    ]  # fmt: skip
    assert file.getvalue() == f"{text}\n"
    token = "03A" + "x" * 60
    whole = Terminal()
    Output(as_json=False, out=whole).text(token)
    assert whole.getvalue() == f"{token}\n", "a token is copied by people, and stays whole"


NASTY = f"a\x1b]52;c;Zm9v\x07b\x9b31mc{BIDI}d\r\ne\x00\u0430"


def test_nothing_that_a_terminal_acts_on_is_printed_whoever_said_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    out, err = Terminal(), Terminal()
    output = Output(as_json=False, out=out, err=err)
    error = AccountError(answer(Code.NO_FUNDS, NASTY, NASTY), ticket=attrs.evolve(TICKET, task_id=NASTY))
    output.error(error)
    output.result(None, table(("task", "state"), [(NASTY, NASTY)], width=400))
    output.result(None, solution_text(TextSolution(text=NASTY)))
    output.result(None, f"first line: {NASTY.replace(chr(10), '')}\nsecond line")
    shown = (out.getvalue() + err.getvalue()).removeprefix("\x1b[31m").replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert shown.replace("\n", "").isprintable()
    assert not set(BIDI) & set(shown)
    assert "\u0430" in shown  # a letter is none of it
    assert len(out.getvalue().splitlines()) == 3 + 1 + 2


def test_json_is_ascii_and_keeps_every_character() -> None:
    out = io.StringIO()
    Output(as_json=True, out=out, err=io.StringIO()).error(AccountError(answer(Code.NO_FUNDS, NASTY, NASTY)))
    assert out.getvalue().isascii()
    assert out.getvalue().replace("\n", "").isprintable()
    assert json.loads(out.getvalue())["description"] == NASTY


def test_an_error_goes_to_stderr_and_as_json_to_stdout() -> None:
    out, err = io.StringIO(), io.StringIO()
    error = AccountError(answer(Code.NO_FUNDS, "ERROR_ZERO_BALANCE"), ticket=TICKET)
    Output(as_json=True, out=out, err=err).error(error)
    said = json.loads(out.getvalue())
    assert said["error"] == "AccountError"
    assert (said["code"], said["category"], said["retry"], said["charged"]) == ("no_funds", "account", "never", "no")
    assert said["vendor_code"] == "ERROR_ZERO_BALANCE"
    assert said["ticket"]["task_id"] == 4711
    assert "ERROR_ZERO_BALANCE" in err.getvalue()


def test_a_deadline_says_what_it_was_waiting_on() -> None:
    waiting_on = TransportError("no answer", delivery="maybe_sent", kind="read")
    fields = error_fields(DeadlineError("out of time", last_error=waiting_on))
    assert fields["last_error"]["error"] == "TransportError"
    assert fields["ticket"] is None


VENDOR_CLASSES = [
    (AccountError, Code.INVALID_KEY, 10), (BlockedError, Code.IP_BLOCKED, 11), (BusyError, Code.NO_WORKERS, 12),
    (RequestError, Code.INVALID_FIELDS, 13), (ChallengeError, Code.INVALID_DOMAIN, 14), (ProxyError, Code.PROXY_BANNED, 15),
    (UnsolvedError, Code.UNSOLVABLE, 16), (RefusedError, Code.DOMAIN_REFUSED, 17), (ServiceError, Code.UNAVAILABLE, 18),
]  # fmt: skip
OUR_CLASSES = [
    (InvalidChallenge, 2), (ConfigurationError, 2), (UnsupportedMethod, 2), (TransportError, 20), (DeadlineError, 21),
    (InDoubtError, 22), (TicketError, 23), (JournalError, 24), (ReportRefused, 25), (BudgetError, 26), (KeyMismatch, 27),
    (SolutionExpired, 28), (StoreError, 29), (Fenced, 24), (ClientClosed, 1), (AnycapError, 1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code", "expected"), VENDOR_CLASSES)
def test_exit_codes_follow_the_category(kind: type[SolveError], code: Code, expected: int) -> None:
    assert exit_code(kind(answer(code))) == expected


@pytest.mark.parametrize(("kind", "expected"), OUR_CLASSES)
def test_exit_codes_of_our_own_side(kind: type[AnycapError], expected: int) -> None:
    assert exit_code(kind("x")) == expected
    assert exit_code(pickle.loads(pickle.dumps(kind("x")))) == expected


def test_every_exit_code_is_in_the_table() -> None:
    used = {0, 1, 2, 19, 130} | {code for *_, code in VENDOR_CLASSES} | {code for _, code in OUR_CLASSES}
    assert {row.code for row in TABLE} == used
