"""Runs an example's service under uvicorn in a process of its own, for what only a whole process shows: signals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START = """
import sys
import uvicorn
from anycap import Account, Polling
from anycap.emulator import DEFAULT_KEY
from examples.{module} import make_app

base_url, journal = sys.argv[1:]
account = Account("anti-captcha", DEFAULT_KEY, base_url=base_url, polling=Polling(fixed=(0.05, 0.05)))
uvicorn.run(make_app(account, journal=journal, **{more}), port=0, log_level="info")
"""


@contextmanager
def serving(module: str, base_url: str, folder: Path, **more: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; its journal is `tasks.db` in the folder. Killed at the end if it still runs."""
    log = folder / "service.log"
    with log.open("wb") as errors:
        service = subprocess.Popen(
            [sys.executable, "-c", START.format(module=module, more=repr(more)), base_url, str(folder / "tasks.db")],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=errors, stderr=errors,
        )  # fmt: skip
    try:
        while (found := re.search(r"running on (http://[\d.:]+)", log.read_text())) is None:
            assert service.poll() is None, log.read_text()
            time.sleep(0.05)
        yield service, found[1]
    finally:
        service.kill()
        service.wait()
