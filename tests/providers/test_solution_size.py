"""A solution waits in memory until somebody fetches it: what it takes there is bounded, in values and in bytes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from anycap.core.parsed_answer import AnswerKind
from anycap.providers import get
from anycap.providers.wire import SOLUTION_BYTES_MAX, SOLUTION_VALUES_MAX, Unreadable, decode, decode_solution
from anycap.transport import Answer


def ready(extra: Any) -> bytes:
    fields = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "T", "x": extra}}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


HOSTILE = {
    "small integers": ready([1] * 200_000),
    "empty objects": ready([{}] * 49_000),
    "numbers with names": ready({f"k{number}": 1.5 for number in range(20_000)}),
    "short texts": ready(["x" * 80] * 5_000),
    "one wide character": ready("😀" + "x" * 420_000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_solution_that_takes_much_memory_is_unreadable(what: str) -> None:
    assert isinstance(decode_solution(HOSTILE[what]), Unreadable)
    assert get("anti-captcha").read_poll(Answer(200, HOSTILE[what])).kind is AnswerKind.LOST
    assert get("anti-captcha").read_submit(Answer(200, HOSTILE[what])).kind is AnswerKind.LOST


@pytest.mark.parametrize(
    "extra", ["x" * 421_000, ["x" * 400] * 1_000, [["a", 1]] * 1_200, "x" * (SOLUTION_BYTES_MAX - 4_000)]
)
def test_sixty_solutions_of_the_largest_kind_stay_under_forty_mebibytes(extra: Any) -> None:
    body = ready(extra)
    tracemalloc.start()
    try:
        kept = [decode_solution(bytes(bytearray(body))) for _ in range(60)]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert all(isinstance(one, dict) for one in kept)
    assert taken < 40 << 20


def test_other_answers_may_hold_more() -> None:
    body = ready([1] * (SOLUTION_VALUES_MAX + 1))
    assert isinstance(decode_solution(body), Unreadable)
    assert isinstance(decode(body), dict)
