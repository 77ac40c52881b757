"""The committed generated pages are what docs/generate.py writes today."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation() -> None:
    config = ROOT.joinpath("zensical.toml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.joinpath("docs").rglob("*.md")}
    assert {page for page in pages if f'"{page}"' not in config} == set()
