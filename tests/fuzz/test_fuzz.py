"""A short run of the fuzzer, so that it stays alive; the long one is a nox session."""

import subprocess
import sys
from pathlib import Path

import pytest

from anycap.providers import adapter
from tests.fuzz.fuzz_answers import run


def test_a_short_run_meets_every_kind_of_outcome() -> None:
    seen = run(3000, seed=7)
    assert {"object", "not_json", "not_an_object", "number", "duplicate_key", "empty", "too_deep"} <= set(seen)
    assert {"poll: ready", "poll: processing", "poll: error", "poll: lost", "poll: redirect"} <= set(seen)


def test_the_same_seed_gives_the_same_run() -> None:
    assert run(300, seed=3) == run(300, seed=3)


def test_a_reader_that_raises_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: object) -> None:
        raise KeyError(value)

    monkeypatch.setattr(adapter, "read_task_id", broken)
    with pytest.raises(AssertionError, match=r"^seed 1, input \d+, "):
        run(500, seed=1)


def test_from_the_command_line() -> None:
    script = Path(__file__).parent / "fuzz_answers.py"
    done = subprocess.run(
        [sys.executable, str(script), "200", "--seed", "2"], check=True, timeout=120, capture_output=True, text=True
    )
    assert done.stdout.startswith("200 inputs, seed 2, ")
