"""Where the file is, and whether it still is there: paths, links, directories, files that are taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from anycap.client import Client
from anycap.errors import ConfigurationError, JournalError
from anycap.journal import RecordKind, open_journal
from anycap.journal.sqlite import SqliteJournal, schema
from anycap.settings import JournalSettings

pytestmark = pytest.mark.anyio

K = RecordKind


@pytest.mark.parametrize("spec", ["", " ", "\t\n", "a\0b", ":memory:"])
def test_a_path_that_names_no_file_is_a_setting_gone_wrong(spec: str) -> None:
    with pytest.raises(ConfigurationError, match=r"journal=.*leave (it|journal=) out.*Nothing was sent"):
        open_journal(spec, JournalSettings())


def test_a_path_of_bytes_is_refused() -> None:
    class Bytes:
        def __fspath__(self) -> bytes:
            return b"tasks.db"

    with pytest.raises(ConfigurationError, match="journal="):
        open_journal(Bytes(), JournalSettings())  # type: ignore[arg-type]  # what a careless caller may give


async def test_a_folder_and_a_missing_parent_are_one_clear_error_each(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="is a directory; name a file in it"):
        await SqliteJournal(tmp_path).open()
    with pytest.raises(JournalError, match=r"there is no directory .*missing\. Make it first"):
        await SqliteJournal(tmp_path / "missing" / "tasks.db").open()
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="there is no directory"):
        await SqliteJournal(tmp_path / "file" / "tasks.db").open()


def test_a_directory_that_may_not_be_entered_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from Python 3.14 on: `Path.is_dir` says no where one may not look, and `Path.stat` raises."""

    def forbidden(self: Path, **_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_dir", lambda self, **_: False)
    monkeypatch.setattr(Path, "exists", lambda self, **_: False)
    monkeypatch.setattr(Path, "stat", forbidden)
    with pytest.raises(JournalError, match=r"cannot be opened for writing \(Permission denied\)"):
        schema.connect(tmp_path / "closed" / "tasks.db", JournalSettings(), create=True)


async def test_a_relative_path_is_fixed_when_the_client_is_made(
    tmp_path: Path, tape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first = SqliteJournal("tasks.db")
    await first.open()
    await first.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1)])
    second = SqliteJournal("tasks.db")
    monkeypatch.chdir(tmp_path / "there")
    await first.write([tape(K.INTENT, "t2")])
    await second.open()
    assert await second.open_entries() == []  # the first still lives, wherever it is now
    assert [entry.ticket_id for entry in await first.open_entries()] == ["t1", "t2"]
    await second.aclose()
    await first.aclose()
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
async def test_a_link_to_the_file_does_not_make_its_living_owner_look_dead(tmp_path: Path, tape: Any) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "data" / "tasks.db")
    owner = SqliteJournal(tmp_path / "data" / "tasks.db")
    await owner.open()
    await owner.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1)])
    other = SqliteJournal(tmp_path / "link.db")
    await other.open()
    assert await other.open_entries() == []
    await other.aclose()
    await owner.aclose()


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
@pytest.mark.parametrize("what", ["deleted", "replaced", "moved away and copied back"])
async def test_nothing_is_bought_for_a_file_that_was_taken_away(path: Path, tape: Any, what: str) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT, "paid")])
    match what:
        case "deleted":
            path.unlink()
        case "replaced":
            path.rename(path.with_name("old.db"))
            other = SqliteJournal(path)
            await other.open()
            await other.aclose()
        case _:
            path.rename(path.with_name("old.db"))
            shutil.copy(path.with_name("old.db"), path)
    with pytest.raises(JournalError, match=r"(is not there any more|was replaced).*nothing was sent"):
        await journal.write([tape(K.INTENT, "new")])
    await journal.write([tape(K.ACCEPTED, "paid", task_id=1)])  # the other steps of what is paid for cost nothing
    await journal.aclose()


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
async def test_a_client_whose_journal_was_deleted_sends_no_create_task(tmp_path: Path) -> None:
    from anycap import Account, RecaptchaV2
    from anycap.emulator import DEFAULT_KEY, Emulator, InProcess

    emulator = Emulator(seed=1)
    path = tmp_path / "tasks.db"
    account = Account("anti-captcha", DEFAULT_KEY, base_url=emulator.base_url("anti-captcha"))
    async with Client(account, journal=path, http=InProcess(emulator)) as client:
        path.unlink()
        with pytest.raises(JournalError, match="nothing was sent"):
            await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    assert [line.method for line in emulator.trace] == []
