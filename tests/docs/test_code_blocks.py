"""Every Python block of the README and the docs runs, in order, against emulated vendors and in virtual time."""

import ast
import asyncio
import inspect
import os
import random
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.document import Document
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser

from anycap.cli.demo_script import png
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess, run_virtual
from anycap.settings import HttpSettings, Polling, Settings
from anycap.testing import VirtualTime, emulated_client
from anycap.transport import Transport

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.joinpath("docs").rglob("*.md"))]
PICTURE = png(random.Random(1), width=60, height=20)


def run_block(example: Example) -> None:
    """Run one block; `async with` and `await` stand at its top level, as in an asyncio prompt."""
    text = "\n" * example.line + textwrap.dedent(example.parsed)  # so that a traceback names the page's line
    if "asyncio.run(" in example.parsed:
        run_program(example, text)
        return
    code = compile(text, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    namespace = example.namespace

    async def block() -> None:
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result

    # A journal on disk has a thread of its own, which does not fit in virtual time: such blocks run at once instead.
    if "journal=" in example.parsed:
        emulator = namespace["_emulator"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("anycap.client.Settings", lambda: Settings(polling=Polling(fixed=(0.01, 0.01))))
            for vendor in emulator.vendors.values():
                patch.setattr(vendor, "solve_time", 0.0)
            asyncio.run(block())
    else:
        run_virtual(block)
    for name in [name for name in namespace if name.startswith("test_")]:
        run_test(namespace.pop(name))


def run_test(test: Any) -> None:
    """Run a test of a page as pytest would, with its fixtures."""
    emulator = Emulator()
    client = emulated_client(emulator)
    fixtures = {"anycap_emulator": emulator, "anycap_client": client, "anycap_virtual": VirtualTime(emulator)}
    wanted = {name: fixtures[name] for name in inspect.signature(test).parameters}

    async def run() -> None:
        async with client:
            await test(**wanted)

    if inspect.iscoroutinefunction(test):
        run_virtual(run)
    else:
        test(**wanted)
    emulator.check()


def run_program(example: Example, text: str) -> None:
    """Run a block that is a whole program, `asyncio.run(main())` included, under the clock that suits it."""
    on_disk = 'journal="' in example.parsed or "Path(" in example.parsed
    real_run = asyncio.run
    emulator = example.namespace["_emulator"]
    with pytest.MonkeyPatch.context() as patch:
        if on_disk:  # a journal on disk has a thread of its own, which does not fit in virtual time
            patch.setattr("anycap.client.Settings", lambda: Settings(polling=Polling(fixed=(0.01, 0.01))))
            for vendor in emulator.vendors.values():
                patch.setattr(vendor, "solve_time", 0.0)
        patch.setattr(asyncio, "run", real_run if on_disk else lambda main: run_virtual(lambda: main))
        exec(compile(text, example.path, "exec", dont_inherit=True), example.namespace | {"__name__": "__main__"})


SYBIL = Sybil(parsers=[CodeBlockParser(language="python", evaluator=run_block)])


def document_of(path: Path) -> Document:
    return SYBIL.parse(path)


def pages_with_code() -> list[Path]:
    return [path for path in PAGES if "```python" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", pages_with_code(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_python_block_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    emulator = Emulator(seed=1, providers=("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"))

    def door(http: Any, settings: HttpSettings, **more: Any) -> Transport:
        """Whoever would speak to a real vendor speaks to the emulated one of that host name."""
        return InProcess(emulator) if http is None else http

    monkeypatch.setattr("anycap.client.choose", door)
    monkeypatch.chdir(tmp_path)
    for name in ("ANTI_CAPTCHA", "CAPMONSTER", "YESCAPTCHA", "EZCAPTCHA"):
        monkeypatch.setitem(os.environ, f"ANYCAP_{name}_KEY", DEFAULT_KEY)
    tmp_path.joinpath("captcha.png").write_bytes(PICTURE)
    document = document_of(path)
    document.namespace |= {"picture": PICTURE, "_emulator": emulator}
    for example in document.examples():
        example.evaluate()
    emulator.check()
