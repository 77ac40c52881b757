"""A short run of the fuzz over whole HTTP answers; the long one is `python tests/fuzz/fuzz_heads.py 100000`."""

from __future__ import annotations

from tests.fuzz.fuzz_heads import run


def test_whatever_a_server_sends_is_an_answer_or_a_typed_refusal() -> None:
    seen = run(3_000, seed=1)
    assert seen["answer, kept"] > 500
    assert seen["protocol"] > 200
    assert seen["too_large"] > 20
