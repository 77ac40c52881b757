"""Any interleaving of sends, answers, losses, resets and waits: no ban rule is reached, nothing stalls, one probe at a time.

The count that convicts is not the guard's: a naive vendor notes each bad answer at some moment between send and answer
and looks at every window there is.
"""

import math
from random import Random

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from anycap.core.admission.decisions import RequestKind
from anycap.core.admission.guard import ADMITTED, AddressGuard, Deferred, Guard
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import GuardSettings, RetrySettings
from anycap.taxonomy import Code, Scope
from tests.core.admission.guard_answers import ACCEPTED, DONE, PROCESSING, TOP_UP, lost, problem

KEYS = frozenset({Code.INVALID_KEY, Code.NO_FUNDS})
RULES = (
    BanRule("no-slot", 20, 60.0, 20.0, "A", Scope.ACCOUNT, frozenset({Code.NO_WORKERS}), frozenset({"createTask"})),
    BanRule("key", 8, 60.0, 180.0, "B", Scope.ACCOUNT, KEYS, frozenset({"createTask"})),
    BanRule("key-poll", 6, 30.0, 180.0, "C", Scope.ACCOUNT, KEYS, frozenset({"getTaskResult"})),
    BanRule("flood", 30, 60.0, 600.0, "D", Scope.ADDRESS),
    BanRule(
        "guess", 300, 60.0, 600.0, "E", Scope.ADDRESS, frozenset({Code.TASK_NOT_FOUND, Code.INVALID_KEY}), assumed=True
    ),
)
KINDS = ("RecaptchaV2", "ImageToText")
GOOD = {RequestKind.SUBMIT: ACCEPTED, RequestKind.POLL: PROCESSING, RequestKind.CALL: DONE}
METHODS = {RequestKind.SUBMIT: "createTask", RequestKind.POLL: "getTaskResult", RequestKind.CALL: "getQueueStats"}
CODES = (
    Code.NO_WORKERS, Code.INVALID_KEY, Code.NO_FUNDS, Code.TASK_NOT_FOUND, Code.INVALID_FIELDS, Code.RATE_LIMITED,
    Code.CONCURRENCY_LIMIT, Code.KEY_BLOCKED, Code.UNAVAILABLE, Code.ACCESS_DENIED,
)  # fmt: skip


@define
class Flight:
    guard: int
    action: RequestKind
    kind: str
    sent: float


@define
class World:
    """Two accounts of one vendor, the requests on their way, and the vendor's own record of bad answers."""

    guards: list[Guard]
    now: float = 0.0
    flights: list[Flight] = field(factory=list)
    seen: list[tuple[int, str, Code, float]] = field(factory=list)
    hidden: list[tuple[int, str, Code, float]] = field(factory=list)
    """Bad answers to createTask that nobody saw: they are promised to rules about createTask alone."""
    tasks: list[tuple[int, str]] = field(factory=list)

    stops: list[set[tuple[str, Code]]] = field(factory=lambda: [set(), set()])
    changes: int = 0

    def ask(self, index: int, action: RequestKind, kind: str) -> object:
        answer = self._ask(index, action, kind)
        self.look_at_stops()
        return answer

    def look_at_stops(self) -> None:
        """Who reads `stop_changes` misses none that has begun or ended."""
        changes = self.guards[0].stop_changes
        assert changes == self.guards[1].stop_changes >= self.changes
        stops = [{(it.covers, it.code) for it in guard.health(self.now).cooldowns} for guard in self.guards]
        assert stops == self.stops or changes > self.changes
        self.stops, self.changes = stops, changes

    def _ask(self, index: int, action: RequestKind, kind: str) -> object:
        guard = self.guards[index]
        match action:
            case RequestKind.SUBMIT:
                return guard.admit_submit(self.now, kind)
            case RequestKind.POLL:
                return guard.admit_poll(self.now, kind)
            case RequestKind.CALL:
                return guard.admit_call(self.now, METHODS[action])

    def send(self, index: int, action: RequestKind, kind: str) -> bool:
        guard = self.guards[index]
        answer = self.ask(index, action, kind)
        self._check(index, action, kind, answer)
        if answer is not ADMITTED:
            return False
        self._check_single_probe(index, action, kind)
        match action:
            case RequestKind.SUBMIT:
                guard.submit_sent(self.now, kind)
            case RequestKind.POLL:
                guard.poll_sent(self.now, kind)
            case RequestKind.CALL:
                guard.call_sent(self.now, METHODS[action])
        self.flights.append(Flight(index, action, kind, self.now))
        return True

    def answer(self, pick: int, parsed: ParsedAnswer | None, hidden: Code | None, at: float) -> None:
        """Answer one flight; None: well. `hidden` is what a lost createTask had been answered. `at`: when the vendor noted it."""
        flight = self.flights.pop(pick % len(self.flights))
        parsed = parsed or GOOD[flight.action]
        code = parsed.problem.code if parsed.kind is AnswerKind.ERROR and parsed.problem else None
        noted = flight.sent + at * (self.now - flight.sent)
        if code is not None:
            self.seen.append((flight.guard, METHODS[flight.action], code, noted))
        elif parsed.kind is AnswerKind.LOST and flight.action is RequestKind.SUBMIT and hidden is not None:
            self.hidden.append((flight.guard, METHODS[flight.action], hidden, noted))
        guard = self.guards[flight.guard]
        match flight.action:
            case RequestKind.SUBMIT:
                guard.submit_answered(self.now, flight.kind, parsed)
                if parsed.kind is AnswerKind.ACCEPTED:
                    self.tasks.append((flight.guard, flight.kind))
            case RequestKind.POLL:
                guard.poll_answered(self.now, flight.kind, parsed)
            case RequestKind.CALL:
                guard.call_answered(self.now, METHODS[flight.action], parsed)
        self.look_at_stops()

    def _check(self, index: int, action: RequestKind, kind: str, answer: object) -> None:
        health = self.guards[index].health(self.now)
        assert min(health.submits_in_flight, health.polls_in_flight, health.calls_in_flight, health.tasks) >= 0
        assert min(health.submit_window, health.task_window, *health.task_type_windows.values(), 1) >= 1
        assert all(rule.bad >= 0 and rule.in_flight >= 0 for rule in health.rules)
        if not isinstance(answer, Deferred):
            return
        if answer.until == math.inf and (answer.problem is None or answer.problem.code is not Code.INVALID_KEY):
            own = {
                RequestKind.SUBMIT: health.submits_in_flight + health.tasks,
                RequestKind.POLL: health.polls_in_flight,
                RequestKind.CALL: health.calls_in_flight,
            }
            assert own[action] > 0, f"nothing of this account will be answered, and {action} waits for that"
        else:
            assert answer.until > self.now or answer.probe is not None or answer.until == math.inf

    def _check_single_probe(self, index: int, action: RequestKind, kind: str) -> None:
        for pause in self.guards[index].health(self.now).cooldowns:
            name = METHODS[action] if action is RequestKind.CALL else kind
            if action not in pause.blocks or (pause.covers not in ("account", "address") and pause.covers != name):
                continue
            # A rejected key has no time of its own: polls of paid tasks try it, then one createTask.
            key = pause.code is Code.INVALID_KEY
            assert pause.remaining_s == 0.0 or (key and action is not RequestKind.CALL), "sent inside a cool-down"
            assert not pause.probing, "a second probe"
            for flight in self.flights:
                if key and flight.action is not action:
                    continue
                same = pause.covers == "address" or flight.guard == index
                same = same and (pause.covers in ("account", "address") or flight.kind == pause.covers)
                assert not (same and flight.action in pause.blocks), (
                    "a probe beside requests that it cannot be told from"
                )

    def convict(self) -> None:
        for rule in RULES:
            indices = (None,) if rule.scope is Scope.ADDRESS else (0, 1)
            for index in indices:
                times = sorted(
                    at
                    for guard, method, code, at in self.seen + (self.hidden if rule.methods == {"createTask"} else [])
                    if (index is None or guard == index)
                    and (not rule.codes or code in rule.codes)
                    and (not rule.methods or method in rule.methods)
                )
                limit = rule.count_max - 1 if rule.assumed else rule.count_max // 2
                for start in times:
                    assert sum(start <= at <= start + rule.window_s for at in times) <= limit, rule.name


def _world() -> World:
    bold = GuardSettings(busy_backoff_s=0.5, busy_backoff_max_s=2.0, blocked_default_s=5.0)
    address = AddressGuard(RULES, bold)
    retry = RetrySettings()
    return World(
        [Guard("v", RULES, bold, retry, address, chance=lambda: 0.5, charges_failures=False) for _ in range(2)]
    )


def _run(world: World, seed: int, moods: int) -> None:
    """The vendor has moods; inside one, requests are sent in bursts and answered in any order, well or as the mood has it."""
    chance = Random(seed)
    for _ in range(moods):
        code = chance.choice(CODES)
        badness = chance.choice([0.0, 0.0, 0.05, 0.5, 1.0])
        lossy = chance.choice([0.0, 0.0, 0.2, 1.0])
        pause_s = chance.choice([0.0, 0.01, 0.3, 2.0, 7.0])
        for _ in range(chance.randrange(5, 40)):
            kind = chance.choice(KINDS)
            action = chance.choice(
                (RequestKind.SUBMIT, RequestKind.SUBMIT, RequestKind.POLL, RequestKind.POLL, RequestKind.CALL)
            )
            index = chance.randrange(2)
            for _ in range(chance.choice((1, 5, 70))):
                if not world.send(index, action, kind):
                    break
            world.now += chance.random() * pause_s
            for _ in range(chance.randrange(len(world.flights) + 1)):
                pick = chance.randrange(99)
                flight = world.flights[pick % len(world.flights)]
                if chance.random() < lossy:
                    sent = chance.random() < 0.8
                    hidden = (
                        code if sent and flight.action is RequestKind.SUBMIT and chance.random() < badness else None
                    )
                    world.answer(pick, lost(sent=sent), hidden, chance.random())
                elif chance.random() < badness:
                    world.answer(pick, problem(code), None, chance.random())
                else:
                    world.answer(pick, None, None, 0.0)
            while world.tasks and chance.random() < 0.5:
                owner, task_kind = world.tasks.pop(chance.randrange(len(world.tasks)))
                world.guards[owner].task_ended(task_kind)
        world.now += chance.choice([0.0, 0.0, 1.0, 10.0, 31.0, 61.0, 900.0])
        guard = world.guards[chance.randrange(2)]
        if chance.random() < 0.3:
            guard.reset(world.now)
        elif chance.random() < 0.3:
            guard.key_changed(world.now)
        world.look_at_stops()


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_no_interleaving_reaches_a_ban_rule_or_sends_two_probes(seed: int, moods: int) -> None:
    world = _world()
    _run(world, seed, moods)
    world.convict()


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(0, 1), st.sampled_from(list(RequestKind)))
def test_following_every_hold_leads_to_an_admission(seed: int, moods: int, index: int, action: RequestKind) -> None:
    world = _world()
    _run(world, seed, moods)
    world.look_at_stops()
    for guard in world.guards:  # a dead key ends only with a new one
        guard.key_changed(world.now)
    for _ in range(400):
        answer = world.ask(index, action, KINDS[0])
        if answer is ADMITTED:
            return
        assert isinstance(answer, Deferred)
        if answer.probe is not None:
            world.guards[index].probe_sent(world.now, answer.probe)
            world.now += 0.1
            world.guards[index].balance_seen(world.now, TOP_UP)
            world.guards[index].call_answered(world.now, answer.probe, DONE)
        elif answer.until < math.inf:
            world.now = max(answer.until, world.now + 0.001)
            if world.flights:
                world.answer(0, None, None, 0.0)
        elif world.flights:
            world.now += 0.1
            world.answer(0, None, None, 0.0)
        else:
            tasks = [task for task in world.tasks if task[0] == index]
            assert tasks, "held until something is answered, and nothing is on its way"
            world.tasks.remove(tasks[0])
            world.guards[index].task_ended(tasks[0][1])
    raise AssertionError("held four hundred times")
