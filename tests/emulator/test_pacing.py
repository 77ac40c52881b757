"""Early polls: answered and counted unless strict, refused in the vendor's own way when strict.

The intervals are those of the vendors' pages, by hand: CapMonster one poll in 2 s per task.
"""

import json
from typing import Any

import pytest

from anycap.emulator import Emulator, ManualClock
from tests.emulator.vendor_caller import TOKEN_TASKS, Caller


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
