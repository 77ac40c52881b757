"""All stores say the same of any history, likely or not; a property test."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from anycap.journal import Journal, Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import JournalSettings
from anycap.testing import ModelJournal
from tests.journal.conftest import INTENT, at_once

KEEP_S = 50.0
EXPIRY = st.one_of(st.none(), st.integers(0, 200).map(float))


@st.composite
def fields_of(draw: st.DrawFn, kind: RecordKind | str) -> dict[str, Any]:
    match kind:
        case RecordKind.INTENT:
            return {**INTENT, "summary": {"page": draw(st.integers(0, 3))}}
        case RecordKind.ACCEPTED:
            return {"task_id": draw(st.one_of(st.integers(1, 9), st.sampled_from(["a", "b"])))}
        case RecordKind.RESULT:
            return {"body": {"n": draw(st.integers(0, 9))}, "expires_at": draw(EXPIRY), "cost": "0.1"}
        case RecordKind.SETTLED:
            return {"as": draw(st.sampled_from(["lost", "charged"]))}
        case RecordKind.FAILED | RecordKind.IN_DOUBT:
            return {"error": {"code": "unknown"}, "charged": draw(st.sampled_from(["yes", "no", "unknown"]))}
        case _:
            return {}


@st.composite
def histories(draw: st.DrawFn) -> list[list[Record] | float]:
    """Writes of one to three records, and times at which what has expired is erased."""
    steps: list[list[Record] | float] = []
    now = 0.0
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.integers(0, 40))
        if draw(st.integers(0, 4)) == 0:
            steps.append(now)
            continue
        records = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(list(RecordKind)))
            records.append(Record(draw(st.sampled_from("xyz")), kind, now, draw(fields_of(kind))))
        steps.append(records)
    return steps


async def acknowledged(journal: Journal, history: list[list[Record] | float], *, reopen: bool) -> list[Any]:
    """Everything the journal says after each step."""
    said: list[Any] = []
    await journal.open()
    for step in history:
        if isinstance(step, float):
            said.append(await journal.erase_expired(step))
        else:
            await journal.write(step)
        if reopen:
            await journal.aclose()
            await journal.open()
        said.append({entry.ticket_id: entry for entry in await journal.entries(closed=True)})
        said.append({entry.ticket_id for entry in await journal.open_entries()})
        said.append([await journal.find(ticket_id) for ticket_id in "xyz"])
    await journal.aclose()
    return said


@settings(max_examples=40)
@given(histories())
def test_memory_model_and_sqlite_agree_on_any_history(history: list[list[Record] | float]) -> None:
    keep = JournalSettings(keep_s=KEEP_S)

    async def main(place: Path) -> None:
        memory = await acknowledged(MemoryJournal(keep), history, reopen=False)
        assert await acknowledged(ModelJournal(keep), history, reopen=False) == memory
        assert (
            await acknowledged(SqliteJournal(place / "a.db", settings=keep, offload=at_once), history, reopen=False)
            == memory
        )
        assert (
            await acknowledged(SqliteJournal(place / "b.db", settings=keep, offload=at_once), history, reopen=True)
            == memory
        )

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(Path(place)))
