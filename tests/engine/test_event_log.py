"""What a service's log holds without any hook: one line per request, one word per outcome, and nothing that acts or leaks."""

from __future__ import annotations

import json
import logging
from typing import Any, Self

import pytest

from anycap import AccountError, AnycapError, InDoubtError, RecaptchaV2
from anycap.emulator import DEFAULT_KEY
from anycap.engine.event_log import EventLog, plain
from anycap.events import CLASS_OF, AccountEvent, EventKind, RequestEvent, SolveEvent, WarningEvent
from anycap.settings import Polling, Settings
from tests.client.virtual import World, in_virtual_time
from tests.vendor_answers import BIDI

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
QUICK = Settings(polling=Polling(fixed=(1, 1)))


class Kept(logging.Handler):
    """The records below `anycap`."""

    def __init__(self, level: int) -> None:
        super().__init__(level=0)
        self.records: list[logging.LogRecord] = []
        self._level = level

    def __enter__(self) -> Self:
        self._logger = logging.getLogger("anycap")
        self._before = self._logger.level
        self._logger.setLevel(self._level)
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def lines(self, level: str | None = None, name: str | None = None) -> list[str]:
        return [
            record.getMessage()
            for record in self.records
            if (level is None or record.levelname == level) and (name is None or record.name == f"anycap.{name}")
        ]


@in_virtual_time
async def test_debug_has_one_line_for_each_request_with_method_status_code_and_duration(world: World) -> None:
    world.fault("http", method="getTaskResult", status=502, body="<html>bad</html>", nth=1)
    with Kept(logging.DEBUG) as kept:
        async with world.client(settings=QUICK, on_event=None) as client:
            solution = await client.solve(PAGE)
    lines = kept.lines("DEBUG", "requests")
    assert len(lines) == len(world.emulator.trace)
    assert solution.ticket is not None
    assert lines[0] == f"anti-captcha: createTask HTTP 200 accepted in 0.050 s [{solution.ticket.id}]"
    assert lines[1].startswith("anti-captcha: getTaskResult HTTP 502 lost unreadable_answer in 0.0")
    assert lines[-1].startswith("anti-captcha: getTaskResult HTTP 200 ready in 0.0")
    assert solution.token not in str([vars(record) for record in kept.records])


@in_virtual_time
async def test_info_has_accepted_solved_and_failed_and_no_more(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", nth=2)
    with Kept(logging.INFO) as kept:
        async with world.client(settings=QUICK, on_event=None) as client:
            for _ in range(2):
                try:
                    await client.solve(PAGE)
                except AnycapError:
                    continue
    words = [line.split("RecaptchaV2 ")[1].split()[0] for line in kept.lines(name="solves")]
    assert words == ["accepted", "solved", "accepted", "failed"]
    assert {record.levelname for record in kept.records} == {"INFO"}
    failed = kept.records[-1]
    assert "(unsolvable)" in failed.getMessage()


@in_virtual_time
async def test_warnings_are_stops_once_each_doubts_and_journal_trouble(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_KEY_DOES_NOT_EXIST", provider="anti-captcha")
    world.fault("drop_after_create", method="createTask", provider="capmonster", count=1)
    with Kept(logging.WARNING) as kept:
        async with world.client("anti-captcha", "capmonster", on_event=None) as client:
            for _ in range(5):
                with pytest.raises(AccountError):
                    await client.solve(PAGE, account="anti-captcha")
            with pytest.raises(InDoubtError):
                await client.solve(PAGE, account="capmonster")
    assert kept.lines(name="accounts") == ["anti-captcha: stopped (account: invalid_key)"]
    (doubt,) = kept.lines(name="solves")
    assert doubt.startswith("capmonster: RecaptchaV2 in doubt")
    assert len(kept.records) == 2


@in_virtual_time
async def test_a_busy_vendor_is_everyday_and_no_warning(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", count=3)
    with Kept(logging.WARNING) as kept:
        async with world.client(settings=QUICK, on_event=None) as client:
            await client.solve(PAGE, timeout=120)
    assert kept.lines() == []


@in_virtual_time
async def test_every_record_has_its_fields_as_plain_values(world: World) -> None:
    with Kept(logging.DEBUG) as kept:
        async with world.client(settings=QUICK, on_event=None) as client:
            solution = await client.solve(PAGE)
    records: list[Any] = [record for record in kept.records if record.name in ("anycap.requests", "anycap.solves")]
    assert len(records) >= 8
    for record in records:
        fields = json.loads(json.dumps(record.anycap))
        assert fields["account"] == "anti-captcha"
        assert solution.ticket is not None
        assert fields["ticket_id"] == solution.ticket.id
        assert fields["type"] == "RecaptchaV2"
    (solved,) = [record.anycap for record in records if record.anycap["kind"] == "solved"]
    assert solved["polls"] >= 1
    assert solved["solve_s"] > 0


NASTY = f"a\x1b]52;c;Zm9v\x07\r\n%s %(name)s {BIDI}" + "x" * 1000


def test_a_vendors_words_cannot_act_in_a_log() -> None:
    log = EventLog()
    with Kept(logging.DEBUG) as kept:
        log(SolveEvent(kind=EventKind.FAILED, at=0.0, account="a", error="unknown", vendor_code=NASTY))
        log(WarningEvent(kind=EventKind.WARNING, at=0.0, account="a", warning=NASTY))
        request = RequestEvent(
            kind=EventKind.REQUEST, at=0.0, account="a", method="getTaskResult", outcome="error", duration_s=0.1,
            delivery="answered", vendor_code=NASTY,
        )  # fmt: skip
        log(request)
    assert len(kept.records) == 3
    for record in kept.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 500
        assert str(vars(record)["anycap"]).isprintable()
    assert str(plain(request)["vendor_code"]).startswith("a\\x1b]52")


def test_every_kind_that_is_wanted_can_be_logged() -> None:
    log = EventLog()
    with Kept(logging.DEBUG):
        for kind, cls in CLASS_OF.items():
            if cls is SolveEvent and kind in log.is_enabled and log.is_enabled[kind]():
                log(SolveEvent(kind=kind, at=0.0, account="a"))
        log(AccountEvent(kind=EventKind.ACCOUNT_STATE, at=0.0, account="a", begun=("address: ip_blocked",)))
        assert EventKind.POLLED not in log.is_enabled
    with Kept(logging.ERROR):
        assert not any(is_enabled() for is_enabled in log.is_enabled.values())


@in_virtual_time
async def test_no_line_at_any_level_holds_the_key(world: World) -> None:
    body = {"errorId": 1, "errorCode": "ERROR_X", "errorDescription": f"key {DEFAULT_KEY.upper()}"}
    world.fault("http", method="getTaskResult", status=200, body=body)
    with Kept(logging.DEBUG) as kept:
        async with world.client(settings=QUICK, on_event=None) as client:
            with pytest.raises(AnycapError):
                await client.solve(PAGE, timeout=20)
    assert DEFAULT_KEY not in str([vars(record) for record in kept.records]).lower()
