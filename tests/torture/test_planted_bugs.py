"""The test of the tests: bugs are planted in the library, and fifty seeds must catch each; without them all is well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from anycap.core import scheduler
from anycap.core.machine import Event
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.engine import engine as _engine
from anycap.engine.engine import Engine
from anycap.journal import Record, RecordKind
from anycap.testing import ModelJournal
from anycap.transport import FailureKind
from tests.torture.trial import TrialResult, trial

SEEDS = range(50)


def until_caught(wrong: Callable[[TrialResult], list[str]]) -> str:
    """The first complaint that the seeds bring up."""
    for seed in SEEDS:
        found = wrong(trial(seed))
        if found:
            return found[0]
    return ""


def test_without_a_planted_bug_every_seed_adds_up() -> None:
    verdicts = {seed: trial(seed) for seed in SEEDS}
    assert {seed: verdict for seed, verdict in verdicts.items() if not verdict.ok} == {}
    assert sum(verdict.charges for verdict in verdicts.values()) > 200
    assert sum(verdict.crashed for verdict in verdicts.values()) > 10
    assert sum(verdict.in_doubt for verdict in verdicts.values()) > 10


def test_a_skipped_intent_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    write = ModelJournal.write

    async def without_intents(self: ModelJournal, records: Sequence[Record]) -> None:
        await write(self, [record for record in records if record.kind is not RecordKind.INTENT])

    monkeypatch.setattr(ModelJournal, "write", without_intents)
    assert "was charged; its caller got" in until_caught(lambda verdict: verdict.lost)


def test_a_resend_after_a_read_time_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    classify = scheduler.submit_event

    def resend(verdict: ParsedAnswer, *more: Any, **options: Any) -> Event:
        event = classify(verdict, *more, **options)
        failure = verdict.failure
        late = verdict.kind is AnswerKind.LOST and failure is not None and failure.kind is FailureKind.TIMEOUT
        return Event.NOT_SENT if late and event is Event.OUTCOME_UNKNOWN else event

    monkeypatch.setattr(scheduler, "submit_event", resend)
    assert "was charged 2 times" in until_caught(lambda verdict: verdict.twice)


def test_a_ticket_forgotten_on_cancellation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = Engine.leave

    def forget(self: Engine, solve: Solve, *, abandon: bool, **more: Any) -> None:
        leave(self, solve, abandon=True, **more)

    monkeypatch.setattr(Engine, "leave", forget)
    assert "was charged; its caller got TicketError" in until_caught(lambda verdict: verdict.lost)


def test_a_second_delivery_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: Engine, solve: Solve) -> None:
        return

    monkeypatch.setattr(Engine, "deliver", keep)
    # Whichever a seed meets first: the same solution taken twice, or listed again by resume().
    found = until_caught(lambda verdict: verdict.twice)
    assert "was handed out 2 times" in found or "came out of resume() again" in found


def test_the_planted_functions_exist() -> None:
    """A renamed function would make a plant do nothing; say so here instead of failing oddly above."""
    assert callable(_engine.Engine.deliver)
    assert callable(_engine.Engine.leave)
    assert callable(scheduler.submit_event)
