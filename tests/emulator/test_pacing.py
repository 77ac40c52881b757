"""Early polls: answered and counted unless strict, refused in the vendor's own way when strict.

The intervals are those of the vendors' pages, by hand (reference: pacing): seconds to the first poll, seconds between.
"""

import json
from typing import Any

import pytest

from anycap.emulator import Emulator, ManualClock
from tests.emulator.vendor_caller import TOKEN_TASKS, Caller, b64, png

IMAGE = {"type": "ImageToTextTask", "body": b64(png())}
FUN = {"type": "FuncaptchaTaskProxyless", "websiteURL": "https://example.com/", "websiteKey": "k"}
FLOORS: list[tuple[str, dict[str, Any], float, float]] = [
    ("2captcha", IMAGE, 5, 5),
    ("2captcha", TOKEN_TASKS["2captcha"], 10, 5),
    ("yescaptcha", TOKEN_TASKS["yescaptcha"], 3, 3),
    ("capsolver", TOKEN_TASKS["capsolver"], 3, 3),
    ("ezcaptcha", TOKEN_TASKS["ezcaptcha"], 3, 3),
    ("ezcaptcha", FUN, 1, 1),
    ("capmonster", TOKEN_TASKS["capmonster"], 0, 2),
    ("anti-captcha", TOKEN_TASKS["anti-captcha"], 0, 1),
]


def is_ready(caller: Caller, task_id: object, after_s: float) -> bool:
    caller.clock.advance(after_s)
    return bool(caller.result(task_id).get("status") == "ready")


@pytest.mark.parametrize(("provider", "task", "first_s"), [row[:3] for row in FLOORS if row[2]], ids=str)
@pytest.mark.parametrize("strict", [False, True])
def test_the_first_poll_has_its_time(provider: str, task: dict[str, Any], first_s: float, strict: bool) -> None:
    caller = Caller(provider, solve_time=0.0, strict_pacing=strict)
    early = caller.create(task)["taskId"]
    assert is_ready(caller, early, after_s=first_s - 0.1) is not strict
    assert caller.vendor.gap_violations == 1
    in_time = caller.create(task)["taskId"]
    assert is_ready(caller, in_time, after_s=first_s)
    assert caller.vendor.gap_violations == 1


@pytest.mark.parametrize(("provider", "task", "first_s", "gap_s"), FLOORS, ids=str)
@pytest.mark.parametrize("strict", [False, True])
def test_every_other_poll_has_its_distance(
    provider: str, task: dict[str, Any], first_s: float, gap_s: float, strict: bool
) -> None:
    caller = Caller(provider, solve_time=0.0, strict_pacing=strict)
    task_id = caller.create(task)["taskId"]
    assert is_ready(caller, task_id, after_s=first_s)
    assert is_ready(caller, task_id, after_s=gap_s - 0.1) is not strict
    assert caller.vendor.gap_violations == 1
    assert is_ready(caller, task_id, after_s=gap_s)
    assert caller.vendor.gap_violations == 1


@pytest.mark.parametrize(("provider", "code"), [("capmonster", "ERROR_TOO_MUCH_REQUESTS"), ("yescaptcha", None)])
def test_strict_says_processing_where_the_vendor_has_no_code(provider: str, code: str | None) -> None:
    caller = Caller(provider, solve_time=0.0, strict_pacing=True)
    task_id = caller.create()["taskId"]
    caller.clock.advance(3)
    caller.result(task_id)
    answer = caller.result(task_id)
    assert answer.get("errorCode") == code
    assert answer.get("status") == (None if code else "processing")


def test_an_early_poll_is_answered_and_counted() -> None:
    caller = Caller("capmonster")
    task_id = caller.create()["taskId"]
    caller.result(task_id)
    caller.clock.advance(0.2)
    assert caller.result(task_id)["status"] == "processing"
    assert caller.vendor.gap_violations == 1
    caller.clock.advance(9.8)
    assert caller.result(task_id)["status"] == "ready"
    assert caller.vendor.gap_violations == 1


def test_a_poll_at_the_vendors_gap_is_none() -> None:
    caller = Caller("capmonster", strict_pacing=True)
    task_id = caller.create()["taskId"]
    caller.result(task_id)
    caller.clock.advance(2)
    assert caller.result(task_id)["status"] == "processing"
    assert caller.vendor.gap_violations == 0


def test_strict_refuses_with_the_vendors_code() -> None:
    caller = Caller("capmonster", strict_pacing=True)
    task_id = caller.solved()
    assert caller.result(task_id)["status"] == "ready"
    caller.clock.advance(1.9)
    assert caller.result(task_id)["errorCode"] == "ERROR_TOO_MUCH_REQUESTS"
    assert caller.vendor.gap_violations == 1


@pytest.mark.parametrize("strict", [False, True])
def test_the_ledger_shows_early_polls_in_either_mode(strict: bool) -> None:
    clock = ManualClock()
    emulator = Emulator(clock=clock, key="KEY", solve_time=60.0, strict_pacing=strict)

    def ask(method: str, **fields: Any) -> Any:
        body = json.dumps({"clientKey": "KEY", **fields}).encode()
        return json.loads(emulator.exchange("capmonster", method, body).body)

    task_id = ask("createTask", task=TOKEN_TASKS["capmonster"])["taskId"]
    for _ in range(3):
        ask("getTaskResult", taskId=task_id)
    assert emulator.ledgers()["capmonster"]["gap_violations"] == 2
