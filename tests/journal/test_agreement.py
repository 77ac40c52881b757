"""All stores say the same of any history, likely or not; a property test."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from anycap.journal import Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Entry, EntryFilter, KeyClaim, SharedJournal
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


Step = list[Record] | list[KeyClaim] | float


@st.composite
def claims(draw: st.DrawFn, now: float) -> list[KeyClaim]:
    """One or two claims of two keys; each ticket belongs to one key, as in a client."""
    made = []
    for ticket_id in draw(st.lists(st.sampled_from("vw"), min_size=1, max_size=2, unique=True)):
        fields = {**INTENT, "key": "k", "fingerprint": "f", "tag": draw(st.sampled_from(["a", None]))}
        intent = Record(ticket_id, RecordKind.INTENT, now, fields)
        made.append(KeyClaim("k", draw(st.sampled_from([None, "v", "w"])), intent))
    return made


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Writes of one to three records, claims, and times at which what has expired is erased."""
    steps: list[Step] = []
    now = 0.0
    for _ in range(draw(st.integers(1, 14))):
        now += draw(st.integers(0, 40))
        what = draw(st.integers(0, 6))
        if what == 0:
            steps.append(now)
            continue
        if what <= 2:
            steps.append(draw(claims(now)))
            continue
        records = []
        for _ in range(draw(st.integers(1, 3))):
            ticket_id = draw(st.sampled_from("vwxyz"))
            # An INTENT of a keyed ticket goes with its claim.
            kinds = [kind for kind in RecordKind if kind is not RecordKind.INTENT or ticket_id in "xyz"]
            kind = draw(st.sampled_from(kinds))
            records.append(Record(ticket_id, kind, now, draw(fields_of(kind))))
        steps.append(records)
    return steps


async def acknowledged(journal: SharedJournal, history: list[Step], *, reopen: bool) -> list[Any]:
    """Everything the journal says after each step."""
    said: list[Any] = []
    await journal.open()
    for step in history:
        if isinstance(step, float):
            said.append(await journal.erase_expired(step))
        elif isinstance(step[0], KeyClaim):
            answers = await journal.claim([claim for claim in step if isinstance(claim, KeyClaim)])
            said.append([answer and answer.ticket_id for answer in answers])
        else:
            await journal.write([record for record in step if isinstance(record, Record)])
        if reopen:
            await journal.aclose()
            await journal.open()
        said.append({entry.ticket_id for entry in await journal.open_entries()})
        said.append({entry.ticket_id: entry for entry in await journal.entries(closed=True)})
        said.append({entry.ticket_id for entry in await journal.entries(closed=True, where=EntryFilter(key="k"))})
        said.append({entry.ticket_id for entry in await journal.entries(where=EntryFilter(tag="a"))})
        said.append([await journal.find(ticket_id) for ticket_id in "vwxyz"])
    await journal.aclose()
    return said


def in_doubt_once_left(said: Any) -> Any:
    """An INTENT whose owner has closed the journal is written down as in doubt, charge unknown; to users it is the same."""
    match said:
        case dict():
            return {key: in_doubt_once_left(each) for key, each in said.items()}
        case list():
            return [in_doubt_once_left(each) for each in said]
        case Entry():
            return evolve(said, kind="in_doubt" if said.kind == "intent" else said.kind, charged=None)
        case _:
            return said


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_key_goes_back_to_its_open_ticket_when_the_latest_is_erased(kind: str, tmp_path: Path) -> None:
    """Found by the test below: v was thought of as not created and w began under the key; then v turned out to exist."""

    def intent(ticket_id: str, at: float) -> Record:
        return Record(ticket_id, RecordKind.INTENT, at, {"account": "main", "key": "k", "fingerprint": "f"})

    async def main() -> list[str | None]:
        keep = JournalSettings(keep_s=KEEP_S)
        journal: SharedJournal = (
            MemoryJournal(keep)
            if kind == "memory"
            else SqliteJournal(tmp_path / "a.db", settings=keep, offload=at_once)
        )
        await journal.open()
        answers = [*await journal.claim([KeyClaim("k", None, intent("v", 0.0))])]
        answers += await journal.claim([KeyClaim("k", "v", intent("w", 0.0))])
        await journal.write(
            [Record("w", RecordKind.NOT_CREATED, 0.0), Record("v", RecordKind.ACCEPTED, 0.0, {"task_id": 1})]
        )
        assert await journal.erase_expired(KEEP_S + 1.0) == 1
        answers += await journal.claim([KeyClaim("k", None, intent("x", KEEP_S + 1.0))])
        await journal.aclose()
        return [None if answer is None else getattr(answer, "ticket_id", "?") for answer in answers]

    assert anyio.run(main) == [None, None, "v"]


@settings(max_examples=40)
@given(histories())
def test_memory_model_and_sqlite_agree_on_any_history(history: list[Step]) -> None:
    keep = JournalSettings(keep_s=KEEP_S)

    async def main(place: Path) -> None:
        memory = await acknowledged(MemoryJournal(keep), history, reopen=False)
        assert await acknowledged(ModelJournal(keep), history, reopen=False) == memory
        assert (
            await acknowledged(SqliteJournal(place / "a.db", settings=keep, offload=at_once), history, reopen=False)
            == memory
        )
        reopened = await acknowledged(
            SqliteJournal(place / "b.db", settings=keep, offload=at_once), history, reopen=True
        )
        assert [in_doubt_once_left(each) for each in reopened] == [in_doubt_once_left(each) for each in memory]

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(main(Path(place)))
