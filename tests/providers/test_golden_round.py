"""Every golden request is taken by the emulated vendor, and the answer becomes the challenge's own solution type."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from anycap.emulator.clock import ManualClock
from anycap.emulator.model import Vendor
from anycap.providers import get
from anycap.providers.solutions import build
from anycap.transport import Answer
from tests.providers.test_golden_requests import CASES, challenge_of, named

# The vendor task of the golden requests is a type of anti-captcha only.
TAKEN = [
    (provider, path)
    for provider, path in CASES
    if provider == "anti-captcha" or not path.stem.startswith("vendor_task")
]


@pytest.mark.parametrize(("provider", "path"), TAKEN, ids=named)
def test_golden_request_is_accepted_and_its_answer_is_read(provider: str, path: Path) -> None:
    case = path.stem
    clock = ManualClock()
    vendor = Vendor(provider, clock=clock, rng=random.Random(1), key="KEY", solve_time=20.0)
    adapter = get(provider)
    verdict = adapter.read_submit(_ask(vendor, "createTask", json.loads(path.read_text("utf-8"))))
    if verdict.solution is None:
        assert verdict.task_id is not None, verdict
        if case == "antigate-full":  # waits for a variable
            push = {"clientKey": "KEY", "taskId": verdict.task_id, "name": "code", "value": "123456"}
            assert json.loads(_ask(vendor, "pushAntiGateVariable", push).body)["errorId"] == 0
        clock.advance(30)
        verdict = adapter.read_poll(_ask(vendor, "getTaskResult", {"clientKey": "KEY", "taskId": verdict.task_id}))
    assert verdict.body is not None, verdict
    challenge = challenge_of(provider, case)
    solution = build(adapter.catalog, challenge.kind, verdict.body, received_at=1_700_000_000.0)
    assert type(solution) is challenge.solution_type


def _ask(vendor: Vendor, method: str, fields: dict[str, object]) -> Answer:
    status, _, body = vendor.handle(method, json.dumps(fields).encode())
    return Answer(status=status, body=body)


def test_there_are_golden_requests() -> None:
    assert len(TAKEN) > 190
