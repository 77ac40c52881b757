"""The server's own calls to the disk, as the kernel saw them: each step that money hangs on is synced before it counts.

What the server says of itself (`WAITAOF`) is in test_journal.py. Skipped where strace is missing or may not look.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anycap.shared.settings import Durability
from tests.shared.members import BODY, K, member, record
from tests.shared.test_journal import until
from tests.valkey_server import Valkey

pytestmark = pytest.mark.anyio

NO_STRACE = "strace is not here, or may not look into another process: real fsyncs are not counted"


class Syncs:
    """Counts fsync and fdatasync of a process from now on."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def count(self) -> int:
        lines = self._output.read_text().splitlines() if self._output.exists() else []
        return sum("fdatasync(" in line or "fsync(" in line for line in lines if line.endswith("= 0"))


@contextmanager
def watched(server: Valkey, folder: Path) -> Iterator[Syncs]:
    output, strace = folder / "syncs", shutil.which("strace")
    if strace is None:
        pytest.skip(NO_STRACE)
    command = [strace, "-f", "-p", str(server.pid), "-e", "trace=fsync,fdatasync", "-o", str(output)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()  # "strace: Process 7 attached", or why not
        if "attached" not in said:
            pytest.skip(NO_STRACE)
        yield Syncs(output)
    finally:
        tracer.terminate()
        tracer.communicate()


@pytest.mark.parametrize(("name", "is_synced"), [("fsync", True), ("memory", False)])
async def test_each_step_is_synced_by_the_kernel_before_the_write_returns(
    make_valkey: object, tmp_path: Path, name: Durability, is_synced: bool
) -> None:
    assert callable(make_valkey)
    server: Valkey = make_valkey() if is_synced else make_valkey(appendonly="no")
    journal = member(server.url, "n", durability=name, lease_s=600.0)  # no heartbeat meanwhile
    await journal.open()
    await journal.erase_expired(0.0)
    with watched(server, tmp_path) as syncs:
        for step in (record(K.INTENT), record(K.ACCEPTED, task_id=1), record(K.RESULT, body=BODY)):
            before = syncs.count
            await journal.write([step])
            if is_synced:
                await until(lambda before=before: syncs.count > before)  # type: ignore[misc] # strace writes behind
        assert syncs.count == (3 if is_synced else 0)
    await journal.aclose()
