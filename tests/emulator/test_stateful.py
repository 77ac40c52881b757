"""No sequence of requests, faults and waits makes a vendor raise, leave out errorId, or keep a ledger that does not add up."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from anycap.emulator.clock import ManualClock
from anycap.emulator.emulator import Emulator
from anycap.emulator.faults import Fault
from anycap.emulator.ledger import TaskState
from tests.emulator.vendor_caller import TOKEN_TASKS, b64, png

PROVIDERS = sorted(TOKEN_TASKS)
KEYS = ["KEY", "OTHER", "BAD", ""]
METHODS = [
    "createTask", "getTaskResult", "getBalance", "reportIncorrectRecaptcha", "reportIncorrectTokenCaptcha",
    "reportIncorrect", "reportCorrectRecaptcha", "feedbackTask", "getQueueStats", "getSpendingStats", "getAppStats",
    "pushAntiGateVariable", "test", "getSoftID", "nothing", "",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.dictionaries(
    st.sampled_from(["taskId", "task", "queueId", "date", "queue", "softId", "mode", "name", "value", "result", "ip"]),
    JSON,
    max_size=5,
)
FAULTS = st.one_of(
    st.builds(lambda a, w: Fault(action=a, when=w, count=1), st.sampled_from(["reset", "hang", "http"]),
              st.sampled_from(["before", "after"])),
    st.builds(lambda a: Fault(action=a, count=1),
              st.sampled_from(["truncate", "garbage", "wrong_types", "duplicate_id", "drop_after_create", "slow",
                               "redirect", "refuse", "oversized"])),
    st.builds(lambda s: Fault(action="no_slots", seconds=s, count=1), st.floats(0, 50)),
    st.builds(lambda s: Fault(action="block", seconds=s, count=1), st.floats(0, 50)),
    st.builds(lambda a, c: Fault(action=a, code=c, count=1), st.sampled_from(["error", "fail_task"]),
              st.sampled_from(["ERROR_CAPTCHA_UNSOLVABLE", "ERROR_ZERO_BALANCE", "ERROR_NOBODY_KNOWS"])),
)  # fmt: skip


class AnyClient(RuleBasedStateMachine):
    """Clients of every kind, all at once, on a clock moved by hand."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.emulator = Emulator(
            seed=3, providers=PROVIDERS, clock=self.clock, key="KEY", balance="40", slots=4, failure_rate=0.2
        )
        for vendor in self.emulator.vendors.values():
            vendor.add_account("OTHER", balance="0.01")

    def ask(self, provider: str, method: str, fields: Any, verb: str = "POST", address: str = "127.0.0.1") -> Any:
        exchange = self.emulator.exchange(provider, method, json.dumps(fields).encode(), verb=verb, address=address)
        try:
            return json.loads(exchange.body)
        except ValueError:
            return None

    @rule(target=tasks, provider=st.sampled_from(PROVIDERS), key=st.sampled_from(KEYS), image=st.booleans())
    def create(self, provider: str, key: str, image: bool) -> tuple[str, Any]:
        task = {"type": "ImageToTextTask", "body": b64(png())} if image else TOKEN_TASKS[provider]
        answer = self.ask(provider, "createTask", {"clientKey": key, "task": task})
        return provider, answer.get("taskId") if isinstance(answer, dict) else None

    @rule(task=tasks, method=st.sampled_from(METHODS), key=st.sampled_from(KEYS))
    def ask_about(self, task: tuple[str, Any], method: str, key: str) -> None:
        provider, task_id = task
        self.ask(provider, method, {"clientKey": key, "taskId": task_id, "result": {"invalid": True}})

    @rule(
        provider=st.sampled_from(PROVIDERS), method=st.sampled_from(METHODS), key=st.sampled_from(KEYS), fields=FIELDS,
        verb=st.sampled_from(["POST", "GET", "PUT"]), address=st.sampled_from(["127.0.0.1", "127.0.0.2"]),
    )  # fmt: skip
    def ask_anything(self, provider: str, method: str, key: str, fields: Any, verb: str, address: str) -> None:
        self.ask(provider, method, {"clientKey": key, **fields}, verb, address)

    @rule(provider=st.sampled_from(PROVIDERS), body=st.binary(max_size=60), method=st.sampled_from(METHODS))
    def send_noise(self, provider: str, body: bytes, method: str) -> None:
        self.emulator.exchange(provider, method, body)

    @rule(provider=st.sampled_from(PROVIDERS), count=st.integers(1, 130))
    def hammer_one_task(self, provider: str, count: int) -> None:
        tasks = self.emulator[provider].ledger.tasks
        for _ in range(count if tasks else 0):
            self.ask(provider, "getTaskResult", {"clientKey": "KEY", "taskId": tasks[-1].id})

    @rule(fault=FAULTS)
    def break_something(self, fault: Fault) -> None:
        self.emulator.faults.add(fault)

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 400)))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(provider=st.sampled_from(PROVIDERS), amount=st.decimals(0, 5, places=2))
    def top_up(self, provider: str, amount: Decimal) -> None:
        self.emulator[provider].account("KEY").top_up(amount)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        self.emulator.check()
        for vendor in self.emulator.vendors.values():
            for account in vendor.accounts.values():
                assert account.balance >= 0
                assert 0 <= account.unfinished <= 4 or account.slots is None
            for task in vendor.ledger.tasks:
                assert (task.settled_at is None) == (task.state is TaskState.PENDING)
                assert task.paid in (task.amount, 0)
                assert not (task.state is TaskState.FAILED and task.delivered)
                assert not (task.state is TaskState.EXPIRED and task.delivered)

    @invariant()
    def nothing_shows_a_key(self) -> None:
        shown = self.emulator.trace_bytes() + json.dumps(self.emulator.ledgers()).encode()
        assert b"OTHER" not in shown


TestAnyClient = AnyClient.TestCase
TestAnyClient.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_two_vendors_of_one_world_draw_from_streams_of_their_own() -> None:
    alone = Emulator(seed=9, providers=["capmonster"], clock=ManualClock())
    among = Emulator(seed=9, clock=ManualClock())
    for emulator in (alone, among):
        for provider in emulator.vendors:
            for _ in range(3):
                emulator[provider].create("emulator-key", TOKEN_TASKS[provider])

    def times(emulator: Emulator) -> list[float]:
        return [task.solve_s for task in emulator["capmonster"].ledger.tasks]

    assert times(alone) == times(among)
