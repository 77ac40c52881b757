"""A discrete-event world: vendors (the emulator's models), a network that loses things, a client that may crash.

One plan, one run, one outcome: `run(plan)` gives an `Outcome` with the faults found and a digest of everything that was
sent and answered. Nothing here is measured against a real clock.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import traceback
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import attrs
from attrs import field, frozen

from anycap import providers
from anycap.challenges import Challenge, ImageToText, RecaptchaV2, Turnstile
from anycap.core.machine import State
from anycap.core.parsed_answer import ParsedAnswer
from anycap.core.solve import Solve
from anycap.emulator.accounts import VendorAccount
from anycap.emulator.answers import Reply
from anycap.emulator.dialects import Trouble
from anycap.emulator.ledger import Task
from anycap.emulator.model import Vendor
from anycap.providers.adapter import Adapter
from anycap.providers.encode import Prepared
from anycap.transport import Answer, Delivery, Failure, FailureKind
from tests.simulation import checks
from tests.simulation.ledger import VendorLedger
from tests.simulation.plan import EPOCH_S, HORIZON_S, AccountPlan, Arrival, Losses, Plan, VendorPlan
from tests.simulation.process import AccountSession, Process

# The smallest image that every vendor takes: a PNG head and as many bytes as CapMonster asks for.
_IMAGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x02\x00\x00\x00" + b"\x00" * 200
_CHALLENGES: Mapping[str, Callable[[], Challenge[Any]]] = {
    "RecaptchaV2": lambda: RecaptchaV2("https://example.com/", "6Lc-site-key"),
    "Turnstile": lambda: Turnstile("https://example.com/", "0x4site"),
    "ImageToText": lambda: ImageToText(_IMAGE),
}
_PAGE = b"<html><head><title>502</title></head><body>Bad Gateway</body></html>"
_FIREWALL = b"<html><head><title>Attention Required!</title></head><body>Access denied</body></html>"
_ODD_ERRORS = {
    "anti-captcha": ("ERROR_NO_SLOT_AVAILABLE", 2),
    "capmonster": ("ERROR_NO_SLOT_AVAILABLE", 1),
    "yescaptcha": ("ERROR_NO_SLOT_AVAILABLE", 1),
    "ezcaptcha": ("ERROR_NO_SLOT_AVAILABLE", 1),
}
"""What stands beside the id of a task that was made all the same."""
_BLOCKS = {
    "anti-captcha": "ERROR_IP_BLOCKED",
    "capmonster": "ERROR_IP_BLOCKED",
    "yescaptcha": "ERROR_IP_BLOCKED_5MIN",
    "ezcaptcha": "ERROR_IP_BANNED",
}


@cache
def _prepared(provider: str, kind: str) -> tuple[Prepared, Mapping[str, Any]]:
    adapter = providers.get(provider)
    challenge = _CHALLENGES[kind]()
    if not challenge.loaded:
        challenge = challenge.load()
    prepared = adapter.prepare(challenge)
    return prepared, dict(adapter.submit_fields(prepared))


class Account:
    """One account as the world sees it: its plan, its books at the vendor, its key."""

    def __init__(self, plan: AccountPlan, vendor: VendorWorld, world: World) -> None:
        self.plan = plan
        self.vendor = vendor
        self.adapter: Adapter = vendor.adapter
        self.key = f"key-of-{plan.name}"
        price = vendor.model.dialect.price
        balance = price * 1_000_000 if plan.tasks_paid is None else price * plan.tasks_paid
        self.ledger: VendorAccount = vendor.model.add_account(self.key, balance=balance, slots=plan.slots)
        self.ledger.closed = plan.key_dies_at <= 0.0
        self.fresh_key = False
        """A new key is on its way: answers to the old one may still come."""
        self._world = world

    def prepared(self, kind: str) -> Prepared:
        return _prepared(self.plan.provider, kind)[0]

    def submit_fields(self, prepared: Prepared) -> dict[str, Any]:
        return {"clientKey": self.key, **_prepared(self.plan.provider, prepared.kind)[1]}

    def unfinished(self, kind: str | None) -> int:
        process = self._world.process
        if process is None:
            return 0
        states = (State.STORING, State.WAITING, State.POLLING, State.SAVING)
        return sum(
            solve.state in states and solve.account == self.plan.name and kind in (None, solve.task_type)
            for solve in process.solves.values()
        )


class VendorWorld:
    """One vendor: the emulator's model at full strength, and the network to it."""

    def __init__(self, plan: VendorPlan, world: World) -> None:
        self.plan = plan
        self.adapter = providers.get(plan.provider)
        self.model = Vendor(
            plan.provider, clock=world.clock, rng=world.stream(f"vendor/{plan.provider}"), key="nobody's",
            solve_time=plan.solve_s, workers=plan.workers, failure_rate=plan.failure_rate, processing=plan.processing,
            strict_pacing=True,
        )  # fmt: skip
        if plan.endless:
            self._limit_s = self.model.dialect.solve_limit_s or math.inf
            self.model.dialect = attrs.evolve(self.model.dialect, solve_limit_s=None)
            self.model.solve_time = self._solve_s
        self.latency = world.stream(f"latency/{plan.provider}")
        self.fate = world.stream(f"fate/{plan.provider}")
        self.habits = world.stream(f"habits/{plan.provider}")

    def _solve_s(self, rng: Random, _: str) -> float:
        """As long as the plan says, or for ever."""
        median_s, sigma = self.plan.solve_s
        seconds = median_s * math.exp(sigma * rng.gauss(0.0, 1.0))
        # A task that takes longer than the vendor gives itself would be solved after its life: nobody could fetch that.
        return 1e9 if rng.random() < self.plan.endless else min(seconds, self._limit_s)

    def outage(self, at: float) -> str | None:
        for outage in self.plan.outages:
            if outage.start <= at < outage.end and outage.mode not in ("no_slots", "block"):
                return outage.mode
        return None


@frozen
class Outcome:
    """What came of a world: faults (empty when every promise was kept) and numbers to compare worlds by."""

    plan: Plan
    faults: tuple[str, ...]
    digest: str
    solved: int
    failed: int
    in_doubt: int
    submits: int
    polls: int
    ended_at: float
    bans: int
    waits_s: Mapping[str, list[float]] = field(factory=dict, repr=False)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, *, keep_trace: bool = False) -> None:
        self.plan = plan
        self.now = 0.0
        self.asleep_until = 0.0
        self.mono_offset_s = 0.0
        self._wall_shift_s = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._digest = hashlib.sha256()
        self.trace: list[str] | None = [] if keep_trace else None
        self.faults: list[str] = []
        self.generation = 0
        self.callers = self.stream("callers")
        self.crashes = self.stream("crashes")
        self.vendors = {vendor.provider: VendorWorld(vendor, self) for vendor in plan.vendors}
        self.accounts = [Account(account, self.vendors[account.provider], self) for account in plan.accounts]
        self.ledger = VendorLedger()
        self.process: Process | None = None
        self.tickets = 0
        self.submits = 0
        self.polls = 0
        self.arrived: set[str] = set()
        self.ends: dict[str, Solve] = {}
        self.hand_overs: dict[str, list[int]] = {}
        self.waits_s: dict[str, list[float]] = {}
        self.abandoned: set[str] = set()
        self.cut_short: set[str] = set()
        """Tickets at work when the process was killed: the journal may or may not know their last step."""
        self.unsent: set[str] = set()
        self.ambiguous: set[str] = set()
        """Tickets whose createTask got no usable answer while the client lived."""
        self.task_of: dict[tuple[str, int | str], str] = {}
        self.tasks_of: dict[str, list[Task]] = {}
        self.missed_polls: dict[str, list[float]] = {}
        self.excuses: list[tuple[float, float, str | None]] = []
        """From, to, provider (None: all): times in which the client was away or the vendor did not answer."""

    # -- time and chance

    def stream(self, name: str) -> Random:
        """A random source of its own: what one part draws does not change another's fate."""
        return Random(f"{self.plan.seed}/{name}")

    def clock(self) -> float:
        return self.now

    def mono(self) -> float:
        return self.now - self.mono_offset_s

    def wall(self) -> float:
        return EPOCH_S + self.now + self._wall_shift_s

    def at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, act, args))

    def later(self, delay_s: float, act: Callable[..., None], *args: Any) -> None:
        self.at(self.now + delay_s, act, *args)

    @staticmethod
    def decimal(value: object) -> Decimal:
        return Decimal(str(value))

    # -- what happens

    def run(self) -> Outcome:
        """Let the plan happen."""
        plan = self.plan
        for number, arrival in enumerate(plan.arrivals):
            self.at(arrival.at, self._arrive, arrival, number)
        for vendor in plan.vendors:
            for outage in vendor.outages:
                # Whoever is blocked waits as long as the vendor's page says, at least ten minutes and growing.
                until = outage.end if outage.mode != "block" else outage.end + 3600.0
                self.excuses.append((outage.start, until, vendor.provider))
                if outage.mode == "block":
                    self.at(outage.start, self._block, vendor.provider, outage.end - outage.start)
                if outage.mode == "no_slots":
                    self.at(outage.start, self._no_slots, vendor.provider, outage.end - outage.start)
        for account in self.accounts:
            self._plan_account(account)
        for killed, again in plan.restarts:
            self.at(killed, self._kill)
            self.at(again, self._start)
            self.excuses.append((killed, again, None))
        for at, by in plan.wall_jumps:
            self.at(at, self._jump_wall, by)
        for at, length_s, counted in plan.suspends:
            self.at(at, self._suspend, length_s, counted)
            self.excuses.append((at, at + length_s, None))
        if plan.balance_asked_s < math.inf:
            self.later(plan.balance_asked_s, self._ask_balances)
        self._start()
        heap = self._heap
        while heap:
            when, order, act, args = heapq.heappop(heap)
            if when < self.asleep_until and getattr(act, "__func__", None) not in _OUTSIDE:
                heapq.heappush(heap, (self.asleep_until, order, act, args))
                continue
            if when > self.now:
                self.now = when
            if self.now > HORIZON_S:
                self.fault("the world did not come to an end")
                break
            try:
                act(*args)
            except Exception as error:  # whatever breaks is a finding of this seed, not the end of the run
                where = traceback.extract_tb(error.__traceback__)[-1]
                self.fault(f"{type(error).__name__} in {where.name}, line {where.lineno}: {error}")
                break
        if self.process is not None:
            self.process.close()
        checks.final(self)
        return self._outcome()

    def _plan_account(self, account: Account) -> None:
        plan = account.plan
        if 0.0 < plan.key_dies_at < math.inf:
            self.at(plan.key_dies_at, self._key_dies, account)
        if plan.key_dies_at < math.inf:
            self.excuses.append((plan.key_dies_at, plan.key_renewed_at, plan.provider))
        if plan.key_renewed_at < math.inf:
            self.at(plan.key_renewed_at, self._renew_key, account)
        if plan.top_up_at < math.inf:
            amount = account.vendor.model.dialect.price * 1_000_000
            self.at(plan.top_up_at, self._top_up, account, amount)

    def _key_dies(self, account: Account) -> None:
        account.ledger.closed = True

    def _top_up(self, account: Account, amount: Decimal) -> None:
        account.ledger.top_up(amount)

    def _arrive(self, arrival: Arrival, number: int) -> None:
        if self.process is not None:
            self.arrived.add(f"t{number}")
            self.process.arrive(arrival, number)

    def _no_slots(self, provider: str, seconds: float) -> None:
        self.vendors[provider].model.no_slots(seconds)

    def _block(self, provider: str, seconds: float) -> None:
        self.vendors[provider].model.block(seconds, code=_BLOCKS[provider])

    def _ask_balances(self) -> None:
        if self.process is not None:
            for account in self.accounts:
                self.process.ask_balance(account)
        if self.now < 600.0:
            self.later(self.plan.balance_asked_s, self._ask_balances)

    def _renew_key(self, account: Account) -> None:
        account.ledger.closed = False
        account.fresh_key = True
        self.later(40.0, setattr, account, "fresh_key", False)
        if self.process is not None:
            self.process.key_renewed(account)

    def _start(self) -> None:
        self.generation += 1
        self.process = Process(self)
        self.process.take_up()

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None

    def _jump_wall(self, by: float) -> None:
        self._wall_shift_s += by

    def _suspend(self, length_s: float, counted: bool) -> None:
        """The machine sleeps: the vendors go on without it. Connections do not survive."""
        self.asleep_until = self.now + length_s
        # Before all that has waited for it: nothing may see the clock go back.
        heapq.heappush(self._heap, (self.asleep_until, -1, self._wake_up, (0.0 if counted else length_s,)))

    def _wake_up(self, uncounted_s: float) -> None:
        self.mono_offset_s += uncounted_s
        if self.process is not None:
            for session in self.process.sessions.values():
                session.wakes_at = math.inf
                self.process.pump(session)

    def delivered(self, solve: Solve) -> None:
        """A caller gets its solution."""
        self.hand_overs.setdefault(solve.id, []).append(self.generation)
        arrival = self.plan.arrivals[int(solve.id[1:])]
        self.waits_s.setdefault(arrival_vendor(self, arrival), []).append(self.now - arrival.at)

    def ended(self, solve: Solve) -> None:
        """A solve has come to its end in the running process."""
        self.ends[solve.id] = solve

    def fault(self, text: str) -> None:
        """A promise was broken."""
        if len(self.faults) < 20:
            self.faults.append(f"{self.now:.3f}: {text}")

    def note(self, text: str) -> None:
        """Put a line into the trace."""
        line = f"{self.now:.6f} {text}\n"
        self._digest.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    # -- the network

    def send(
        self, process: Process, account: Account, method: str, fields: Mapping[str, Any], timeout_s: float, ticket: str,
        then: Callable[[ParsedAnswer], None],
    ) -> None:  # fmt: skip
        """Carry one request to its vendor, and maybe an answer back."""
        vendor = account.vendor
        submit = method == "createTask"
        if submit:
            self.submits += 1
        elif method == "getTaskResult":
            self.polls += 1
        median_s, sigma = vendor.plan.rtt_s
        rtt_s = median_s * math.exp(sigma * vendor.latency.gauss(0.0, 1.0))
        losses = vendor.plan.submit if submit else vendor.plan.poll
        what = vendor.outage(self.now + rtt_s / 2) or _draw(vendor.fate, losses)
        self.note(f"{account.plan.name} {method} {ticket} {what or ''}")
        flight = (process, account, method, ticket, then, self.now)
        refused_from, refused_until = account.plan.create_refused
        if submit and what is None and refused_from <= self.now < refused_until:
            reply = account.vendor.model.error(Trouble.UNKNOWN_KEY, method)
            self.later(rtt_s, self._answer, flight, Answer(reply.status, reply.encode()))
            return
        if what == "hang":
            failure = Failure(Delivery.MAYBE_SENT, FailureKind.TIMEOUT, "no answer")
            self.later(timeout_s, self._answer, flight, failure)
        elif what == "refuse" or what == "unsent":
            failure = Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "connection refused")
            self.later(rtt_s, self._answer, flight, failure)
        elif what == "before":
            failure = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "connection reset")
            self.later(rtt_s, self._answer, flight, failure)
        elif what == "page":
            self.later(rtt_s, self._answer, flight, Answer(502, _PAGE))
        elif what == "firewall":
            self.later(rtt_s, self._answer, flight, Answer(403, _FIREWALL))
        elif what == "redirect":
            self.later(rtt_s, self._answer, flight, Answer(302, b"", location="https://login.example/"))
        elif what == "limited":
            self.later(rtt_s, self._answer, flight, Answer(429, b"slow down", retry_after="2"))
        else:
            self.later(rtt_s / 2, self._act, flight, fields, rtt_s / 2, what)

    def _act(self, flight: tuple[Any, ...], fields: Mapping[str, Any], back_s: float, what: str | None) -> None:
        _, account, method, ticket, _, _ = flight
        model = account.vendor.model
        before = len(model.ledger.tasks)
        reply = model.call(method, fields)
        made = len(model.ledger.tasks) > before
        if made:
            task = model.ledger.tasks[-1]
            self.task_of[account.plan.provider, task.id] = ticket
            self.tasks_of.setdefault(ticket, []).append(task)
        reply = self._in_its_way(account, method, reply, made=made)
        outcome: Answer | Failure
        if what == "after":
            outcome = Failure(Delivery.MAYBE_SENT, FailureKind.DISCONNECTED, "closed without an answer")
        elif what == "torn":
            outcome = Failure(Delivery.MAYBE_SENT, FailureKind.DISCONNECTED, "closed inside the body", reply.status)
        else:
            retry_after = next((value for name, value in reply.headers if name.lower() == "retry-after"), None)
            outcome = Answer(reply.status, reply.encode(), retry_after=retry_after)
        self.later(back_s, self._answer, flight, outcome)

    def _in_its_way(self, account: Account, method: str, reply: Reply, *, made: bool) -> Reply:
        """The answer as a vendor of odd habits gives it."""
        plan, chance = account.vendor.plan, account.vendor.habits
        if method == "createTask" and made and "taskId" in reply.fields and "solution" not in reply.fields:
            if chance.random() < plan.odd_ids:
                code, number = _ODD_ERRORS[account.plan.provider]
                said = {"errorId": number, "errorCode": code, "taskId": reply.fields["taskId"]}
                return attrs.evolve(reply, fields=said)
        elif method == "createTask" and reply.code is not None and chance.random() < plan.odd_ids:
            return attrs.evolve(reply, fields={**reply.fields, "taskId": 0})  # as CapMonster's page has it
        elif method == "getTaskResult" and "solution" in reply.fields and chance.random() < plan.foreign:
            return attrs.evolve(reply, fields={**reply.fields, "taskId": 424242})
        return reply

    def _answer(self, flight: tuple[Any, ...], outcome: Answer | Failure) -> None:
        process, account, method, ticket, then, sent = flight
        if not process.alive:
            return
        if any(at >= sent and at <= self.now for at, _, _ in self.plan.suspends):
            outcome = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "connection lost while asleep")
        adapter = account.adapter
        if method == "createTask":
            verdict = adapter.read_submit(outcome)
            if verdict.kind is verdict.kind.LOST and verdict.delivery is not Delivery.NOT_SENT:
                self.ambiguous.add(ticket)
        elif method == "getTaskResult":
            verdict = adapter.of_task(adapter.read_poll(outcome), self.tasks_of[ticket][0].id)
            if verdict.kind is not verdict.kind.PROCESSING and verdict.kind is not verdict.kind.READY:
                self.missed_polls.setdefault(ticket, []).append(self.now)
        else:
            verdict = adapter.read_call(method, outcome)
        said = verdict.problem.code if verdict.problem is not None else verdict.kind
        self.note(f"{account.plan.name} {method} {ticket} = {said}")
        then(verdict)

    def _outcome(self) -> Outcome:
        states = [solve.state for solve in self.ends.values()]
        return Outcome(
            plan=self.plan, faults=tuple(self.faults), digest=self._digest.hexdigest(), solved=len(self.hand_overs),
            failed=states.count(State.FAILED), in_doubt=states.count(State.IN_DOUBT), submits=self.submits,
            polls=self.polls, ended_at=self.now,
            bans=sum(len(vendor.model.bans.imposed) for vendor in self.vendors.values()), waits_s=self.waits_s,
        )  # fmt: skip


_OUTSIDE = (World._act, World._no_slots, World._block, World._key_dies, World._top_up, World._suspend)
"""What goes on while the client's machine sleeps."""


def arrival_vendor(world: World, arrival: Arrival) -> str:
    return world.plan.accounts[arrival.account].provider


def _draw(fate: Random, losses: Losses) -> str | None:
    roll = fate.random()
    for name in ("unsent", "before", "after", "page", "torn", "limited"):
        roll -= getattr(losses, name)
        if roll < 0.0:
            return name
    return None


def run(plan: Plan, *, keep_trace: bool = False) -> Outcome:
    """Let one world happen."""
    return World(plan, keep_trace=keep_trace).run()


__all__ = ["Account", "AccountSession", "Outcome", "World", "run"]
