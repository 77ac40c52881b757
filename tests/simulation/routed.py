"""Worlds with two to four vendors, outages and budgets, driven by whole clients: routing, failover and money, by the ledgers.

    python -m tests.simulation.routed --seeds 10000 [--start N]

`world.py` drives the core of each account alone and is ten times as fast; what goes from account to account lives above
that, so here a real `Client` runs in virtual time. What each vendor was asked and answered is written down on the way, and
judged by the reference's own table (`tests/data/taxonomy.csv`), not by the code that decides.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import anyio
from attrs import define, field, frozen

from anycap import Account, AnycapError, BudgetError, Client, DeadlineError, RecaptchaV2, RetrySettings, Settings
from anycap.emulator import Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime
from anycap.journal import Record, RecordKind
from anycap.journal.port import Budget, BudgetLimit, OverBudget, SpendClaim
from anycap.testing import ModelJournal
from anycap.transport import Answer, Failure, Request
from tests.simulation.command import Told, explore

PRICES: Mapping[str, Decimal] = {
    "anti-captcha": Decimal("0.002"), "capmonster": Decimal("0.0008"), "ezcaptcha": Decimal("0.0006"),
    "2captcha": Decimal("0.00299"),
}  # fmt: skip
"""What a token costs at the emulated vendors that count in USD, by hand from their books."""
EMPTY = "ERROR_ZERO_BALANCE"
PATIENCE_S = 10.0

_TAXONOMY = {
    (row["provider"], row["vendor_code"]): row
    for row in csv.DictReader(
        Path(__file__).parents[1].joinpath("data", "taxonomy.csv").read_text("utf-8").splitlines()
    )
}


BANS = {
    provider: sorted(
        code
        for (of, code), row in _TAXONOMY.items()
        if of == provider and (row["category"] == "blocked" or row["code"] == "account_suspended")
    )
    for provider in PRICES
}
REFUSALS = {
    provider: sorted(
        code for (of, code), row in _TAXONOMY.items() if of == provider and row["category"] in ("refused", "challenge")
    )
    for provider in PRICES
}


@frozen
class Arrival:
    """One solve, named by its page."""

    at: float
    page: str
    timeout_s: float
    max_cost: Decimal | None
    max_attempts: int
    key: bool


@frozen
class RoutedPlan:
    """What one seed means."""

    seed: int
    accounts: tuple[tuple[str, str], ...]
    """Name and provider, in order."""
    routing: str
    failure_rate: float
    faults: tuple[Fault, ...]
    no_slots: tuple[tuple[str, float, float], ...]
    """Provider, from, for how long."""
    own_budgets: Mapping[str, Decimal]
    budget: Decimal | None
    new_tasks_max: int | None
    arrivals: tuple[Arrival, ...]
    crash_at: float


def draw(seed: int) -> RoutedPlan:
    """The world of a seed."""
    chance = Random(f"routed/{seed}")
    providers = chance.sample(sorted(PRICES), chance.choice((2, 2, 3, 4)))
    accounts = [(name, name) for name in providers]
    if chance.random() < 0.6:
        second = providers[0]
        accounts.insert(chance.randrange(len(accounts) + 1), (f"{second}-2", second))
    span_s = chance.choice((0.0, 20.0, 90.0))
    faults: list[Fault] = []
    no_slots: list[tuple[str, float, float]] = []
    for provider in providers:
        for _ in range(chance.choice((0, 1, 1, 2))):
            start = chance.choice((0.0, chance.uniform(0.0, span_s + 1.0)))
            end = start + chance.choice((5.0, 30.0, 120.0))
            window: dict[str, Any] = {"provider": provider, "method": "createTask", "from_s": start, "until_s": end}
            match chance.choice(
                ("refuse", "page", "drop", "refusal", "refusal", "block", "block", "empty", "busy", "busy", "fail")
            ):
                case "refuse":
                    faults.append(Fault(action="refuse", **window))
                case "page":
                    faults.append(Fault(action="http", status=chance.choice((403, 502)), **window))
                case "drop":
                    faults.append(Fault(action="drop_after_create", probability=0.3, **window))
                case "refusal":
                    code = chance.choice(REFUSALS[provider])
                    faults.append(Fault(action="error", code=code, probability=0.5, **window))
                case "block":
                    faults.append(Fault(action="error", code=chance.choice(BANS[provider]), **window))
                case "empty":
                    faults.append(Fault(action="error", code=EMPTY, **window))
                case "busy":
                    no_slots.append((provider, start, end - start))
                case "fail":
                    faults.append(Fault(action="fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", probability=0.6, **window))
    count = chance.choice((5, 15, 30))
    own_budgets = {
        name: PRICES[provider] * chance.choice((2, 5)) for name, provider in accounts if chance.random() < 0.25
    }
    return RoutedPlan(
        seed=seed,
        accounts=tuple(accounts),
        routing=chance.choice(("ordered", "ordered", "weighted", "cheapest")),
        failure_rate=chance.choice((0.0, 0.0, 0.2)),
        faults=tuple(faults),
        no_slots=tuple(no_slots),
        own_budgets=own_budgets,
        budget=chance.choice((None, None, Decimal("0.012"), Decimal("0.03"))),
        new_tasks_max=chance.choice((None, 0, 1)),
        arrivals=tuple(
            Arrival(
                at=chance.uniform(0.0, span_s),
                page=f"https://routed.example/{number}",
                timeout_s=chance.choice((60.0, 300.0)),
                max_cost=chance.choice((None, None, Decimal("0.01"), Decimal("0.0025"), Decimal("0.001"))),
                max_attempts=chance.choice((3, 3, 2, 1)),
                key=chance.random() < 0.3,
            )
            for number in range(count)
        ),
        crash_at=chance.uniform(1.0, span_s + 20.0) if chance.random() < 0.3 else math.inf,
    )


@frozen
class Asked:
    """One createTask as the network saw it: of which account, for which page, and what came back."""

    at: float
    account: str
    provider: str
    page: str
    answer: str
    """`made`, `not_sent`, `unclear` (in doubt), or the vendor's code."""


class _Noting:
    """The way to the vendors, with a note of every createTask."""

    def __init__(self, world: RoutedWorld) -> None:
        self._door = InProcess(world.emulator)
        self._world = world

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        answer = await self._door.send(request)
        if request.url.endswith("/createTask") and request.body is not None:
            self._world.note(request, answer)
        return answer


@define
class RoutedWorld:
    """One run: the emulated vendors, what was asked, and what broke a promise."""

    plan: RoutedPlan
    faults: list[str] = field(factory=list)
    asked: list[Asked] = field(factory=list)
    ended: dict[str, str] = field(factory=dict)
    cut_off: set[str] = field(factory=set)
    emulator: Emulator = field(init=False)
    journal: ModelJournal = field(init=False)
    solved: int = 0
    refused_by_budget: int = 0

    def fault(self, text: str) -> None:
        self.faults.append(text)

    # -- what happens

    async def run(self) -> None:
        plan = self.plan
        self.emulator = Emulator(
            seed=plan.seed, providers=tuple(dict.fromkeys(provider for _, provider in plan.accounts)),
            solve_time=lambda chance, _: chance.uniform(2.0, 12.0), failure_rate=plan.failure_rate, faults=plan.faults,
        )  # fmt: skip
        for name, provider in plan.accounts:
            self.emulator[provider].add_account(_key(name), balance=Decimal(1000))
        self.journal = ModelJournal()
        async with anyio.create_task_group() as world:
            for provider, start, seconds in plan.no_slots:
                world.start_soon(self._no_slots, provider, start, seconds)
            crashed = await self._live(plan.arrivals, until=plan.crash_at)
            if crashed:
                self.journal = self.journal.crash()
                left = [arrival for arrival in plan.arrivals if arrival.at >= plan.crash_at]
                await self._live(left, until=math.inf)
        await self._judge()

    async def _no_slots(self, provider: str, start: float, seconds: float) -> None:
        await anyio.sleep(start)
        self.emulator[provider].no_slots(seconds)

    async def _live(self, arrivals: tuple[Arrival, ...] | list[Arrival], *, until: float) -> bool:
        """One process; whether it was killed at `until`."""
        plan, emulator = self.plan, self.emulator
        accounts = [
            Account(
                provider, _key(name), name=name, base_url=emulator.base_url(provider),
                budget={"USD": plan.own_budgets[name]} if name in plan.own_budgets else None,
                prices={"RecaptchaV2": PRICES[provider]},
            )
            for name, provider in plan.accounts
        ]  # fmt: skip
        client = Client(
            *accounts, http=_Noting(self), journal=self.journal, routing=plan.routing,  # type: ignore[arg-type] # a word
            budget=None if plan.budget is None else {"USD": plan.budget},
            settings=Settings(retry=RetrySettings(new_tasks_max=plan.new_tasks_max)),
            runtime=Runtime.seeded(plan.seed, wall=lambda: EPOCH_S + emulator.clock()),
        )  # fmt: skip
        with anyio.CancelScope() as life:
            if until < math.inf:
                life.deadline = anyio.current_time() + max(until - emulator.clock(), 0.0)
            async with client:
                async with anyio.create_task_group() as callers:
                    for ticket in await client.resume():
                        callers.start_soon(self._wait, client, ticket)
                    for arrival in arrivals:
                        callers.start_soon(self._solve, client, arrival)
        if life.cancelled_caught:
            self.cut_off |= {arrival.page for arrival in arrivals if arrival.page not in self.ended}
        return life.cancelled_caught

    async def _solve(self, client: Client, arrival: Arrival) -> None:
        await anyio.sleep(max(arrival.at - self.emulator.clock(), 0.0))
        options: dict[str, Any] = {"idempotency_key": arrival.page} if arrival.key else {}
        try:
            solution = await client.solve(
                RecaptchaV2(arrival.page, "6Le-site-key"), timeout=arrival.timeout_s, max_cost=arrival.max_cost,
                max_attempts=arrival.max_attempts, **options,
            )  # fmt: skip
        except AnycapError as error:
            self.ended[arrival.page] = type(error).__name__
            self.refused_by_budget += isinstance(error, BudgetError)
        else:
            self.ended[arrival.page] = "solved"
            self.solved += 1
            last = solution.attempts[-1] if solution.attempts else None
            if last is not None and solution.ticket is not None and last.account != solution.ticket.account:
                self.fault(f"{arrival.page}: solved by {solution.ticket.account}, attempts say {last.account}")

    async def _wait(self, client: Client, ticket: Any) -> None:
        try:
            await client.wait(ticket, timeout=3600)  # a ban pauses the polls, too
        except DeadlineError:
            self.fault(f"{ticket.id}: a resumed ticket came to no end")
        except AnycapError:
            return

    def note(self, request: Request, answer: Answer | Failure) -> None:
        """Write a createTask down, read by nothing of the client's own."""
        body = json.loads(request.body.encode()) if request.body is not None else {}
        name = str(body["clientKey"]).removeprefix("key-of-account-")
        provider = dict(self.plan.accounts)[name]
        page = str(body["task"]["websiteURL"])
        if isinstance(answer, Failure):
            what = "not_sent" if str(answer.delivery) == "not_sent" else "unclear"
        else:
            what = _meaning(answer)
        self.asked.append(Asked(self.emulator.clock(), name, provider, page, what))

    # -- what must hold

    async def _judge(self) -> None:
        for provider in {provider for _, provider in self.plan.accounts}:
            for ban in self.emulator[provider].bans.imposed:
                self.fault(f"{provider} banned {ban.who} by its rule {ban.rule}")
        by_page: dict[str, list[Asked]] = defaultdict(list)
        for asked in self.asked:
            by_page[asked.page].append(asked)
        for arrival in self.plan.arrivals:
            if arrival.page not in self.ended and arrival.page not in self.cut_off:
                self.fault(f"{arrival.page}: came to no end")
            self._one_solve(arrival, by_page[arrival.page])
        self._money()
        await self._reserves()

    def _one_solve(self, arrival: Arrival, asked: list[Asked]) -> None:
        page = arrival.page
        made = [each for each in asked if each.answer in ("made", "unclear")]
        if len(made) > arrival.max_attempts:
            self.fault(f"{page}: {len(made)} tasks, {arrival.max_attempts} allowed")
        tasks = [
            task for provider in {provider for _, provider in self.plan.accounts}
            for task in self.emulator[provider].ledger.tasks if task.fields.get("websiteURL") == page
        ]  # fmt: skip
        paid = sum(task.paid > 0 for task in tasks)
        allowed = arrival.max_cost is not None or (self.plan.new_tasks_max or 0) >= 1
        if paid > 1 and not allowed:
            self.fault(f"{page}: paid {paid} times")
        if arrival.max_cost is not None and sum((task.paid for task in tasks), Decimal(0)) > arrival.max_cost:
            self.fault(f"{page}: cost more than max_cost")
        for number, each in enumerate(asked):
            later = asked[number + 1 :]
            elsewhere = [other for other in later if other.account != each.account]
            if _final(each):
                # The account's own rule may allow a fresh task there (`new_tasks_max`), where the row says that one can help.
                if elsewhere or (later and not _fresh_task_may_help(each)):
                    self.fault(f"{page}: asked again after {each.answer} of {each.account}")
            if _a_ban(each) and any(other.provider == each.provider for other in elsewhere):
                self.fault(f"{page}: another account of {each.provider} was asked after {each.answer}")
        if _visits(asked) > arrival.max_attempts:
            self.fault(f"{page}: {_visits(asked)} attempts, {arrival.max_attempts} allowed")
        self._patience(arrival, asked)
        self._left_unasked(arrival, asked)

    def _patience(self, arrival: Arrival, asked: list[Asked]) -> None:
        """An account that is only busy is left no sooner than patience says, unless it has stopped meanwhile."""
        deadline = arrival.at + arrival.timeout_s
        began = arrival.at
        for before, after in itertools.pairwise(asked):
            if before.account == after.account:
                continue
            patience_s = min(PATIENCE_S, (deadline - began) / 10.0)
            if _is_busy(before) and after.at < began + patience_s and not self._stopped(before.account, after.at):
                self.fault(f"{arrival.page}: left {before.account}, only busy, {after.at - began:.1f} s after it came")
            began = before.at

    def _stopped(self, account: str, at: float) -> bool:
        """Whether something but being busy may keep solves from an account by then: an error of any solve's, or its budget."""
        return account in self.plan.own_budgets or any(
            each.account == account and each.at <= at and each.answer != "made" and not _is_busy(each)
            for each in self.asked
        )

    def _left_unasked(self, arrival: Arrival, asked: list[Asked]) -> None:
        """Whoever ends with an account's trouble has asked every account that has none, as far as its attempts go."""
        if self.ended.get(arrival.page) not in ("AccountError", "BlockedError", "BusyError", "TransportError"):
            return
        if arrival.max_cost is not None or self.plan.budget is not None or _visits(asked) >= arrival.max_attempts:
            return
        troubled = {fault.provider for fault in self.plan.faults} | {each[0] for each in self.plan.no_slots}
        seen = {each.account for each in asked}
        for name, provider in self.plan.accounts:
            if provider not in troubled and name not in self.plan.own_budgets and name not in seen:
                self.fault(f"{arrival.page}: ended with {self.ended[arrival.page]}, and {name} was never asked")

    def _money(self) -> None:
        """Prices are known and do not change: no budget is exceeded at all."""
        paid = {
            name: sum((task.paid for task in self.emulator[provider].ledger.of(_key(name))), Decimal(0))
            for name, provider in self.plan.accounts
        }
        for name, limit in self.plan.own_budgets.items():
            if paid[name] > limit:
                self.fault(f"account {name} has spent {paid[name]} of {limit}")
        if self.plan.budget is not None and sum(paid.values()) > self.plan.budget:
            self.fault(f"the client has spent {sum(paid.values())} of {self.plan.budget}")

    async def _reserves(self) -> None:
        """What the journal holds back is for tickets that are there, and its totals are the sum of its lines."""
        await (
            self.journal._memory.open()
        )  # opening the model itself would count everything anew, and no leak would show
        lines = await self.journal.spending(0.0)
        entries = await self.journal.entries()
        held = sum((Decimal(e.price or 0) for e in entries if e.kind in ("intent", "accepted", "in_doubt")), Decimal(0))
        reserved = sum((line.reserved for line in lines), Decimal(0))
        if reserved != held:
            self.fault(f"{reserved} held back, {held} by the tickets")
        spent = sum((line.spent for line in lines), Decimal(0))
        if len({line.day for line in lines}) > 1:
            return  # totals are by day, and few worlds see midnight
        fields = {
            "account": "nobody",
            "provider": "nobody",
            "type": "T",
            "vendor_type": "T",
            "currency": "USD",
            "price": "1000000",
        }
        intent = Record("probe", RecordKind.INTENT, EPOCH_S + self.emulator.clock(), fields)
        (over,) = await self.journal.claim([SpendClaim(intent, Budget((BudgetLimit("USD", Decimal(1)),)))])
        if not isinstance(over, OverBudget) or over.spent != spent + reserved:
            self.fault(f"the totals say {over}, the lines {spent} spent and {reserved} held back")


def _key(name: str) -> str:
    return f"key-of-account-{name}"


def _meaning(answer: Answer) -> str:
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        # A 4xx page says that nothing was made; after a 5xx nobody knows.
        return "unclear" if answer.status >= 500 or answer.status == 200 else "page"
    if body.get("errorCode"):
        return str(body["errorCode"])
    return "made" if body.get("taskId") else "unclear"


def _final(asked: Asked) -> bool:
    """Whether nobody may be asked any more: refused, the request's or the challenge's fault, or in doubt."""
    if asked.answer == "unclear":
        return True
    row = _TAXONOMY.get((asked.provider, asked.answer))
    return row is not None and (
        row["category"] in ("refused", "challenge")
        or (row["category"] == "request" and row["code"] != "unsupported_task_type")
    )


def _is_busy(asked: Asked) -> bool:
    row = _TAXONOMY.get((asked.provider, asked.answer))
    return row is not None and row["category"] == "busy"


def _visits(asked: list[Asked]) -> int:
    """How often a solve went to an account and sent something: no fewer attempts than that were made."""
    sent = [each.account for each in asked if each.answer != "not_sent"]
    return sum(1 for _ in itertools.groupby(sent))


def _fresh_task_may_help(asked: Asked) -> bool:
    row = _TAXONOMY.get((asked.provider, asked.answer))
    return row is not None and row["retry"] == "new_task"


def _a_ban(asked: Asked) -> bool:
    row = _TAXONOMY.get((asked.provider, asked.answer))
    return row is not None and (row["category"] == "blocked" or row["code"] == "account_suspended")


def run(plan: RoutedPlan) -> RoutedWorld:
    """Let the plan happen; the world with what it broke."""
    world = RoutedWorld(plan)
    run_virtual(world.run)
    for defect in world.emulator.defects:
        world.fault(f"the emulator failed: {defect}")
    return world


def main() -> int:
    """Run worlds; 1 when one of them breaks a promise."""

    def one(seed: int) -> Told:
        world = run(draw(seed))
        counts = {
            "solves": len(world.plan.arrivals), "of them solved": world.solved, "over a budget": world.refused_by_budget,
        }  # fmt: skip
        return Told(world.faults, counts, lambda: world.asked)

    return explore("routed", __doc__, one)


if __name__ == "__main__":
    sys.exit(main())
