"""One seed, one small history: concurrent solves, lost answers, impatient callers, a crash, a following process.

All in virtual time, so that fifty seeds take seconds. The vendor's ledger, the journal's durable records and what callers
got are compared at the end; `TrialResult` says what does not add up. `test_planted_bugs.py` shows that it sees bugs.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import anyio
from attrs import define, field

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.engine.runtime import Runtime
from anycap.errors import AnycapError, InDoubtError, SolveError, TicketError
from anycap.events import Event, EventKind
from anycap.settings import RetrySettings, Settings
from anycap.testing import ModelJournal
from anycap.tickets import Ticket
from anycap.transport import Answer, Failure, Request

VENDOR = "anti-captcha"
SOLVES = 8
PATIENCE_S = 400.0


@define
class TrialResult:
    """What does not add up: charges without an owner, charged twice, handed out twice."""

    charges: int = 0
    crashed: bool = False
    in_doubt: int = 0
    lost: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.lost and not self.twice


class _Mortal:
    """A transport that stops answering for ever when its process dies."""

    def __init__(self, door: InProcess) -> None:
        self._door = door
        self.dead = False

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        return

    async def send(self, request: Request) -> Answer | Failure:
        if self.dead:
            await anyio.sleep_forever()
        answer = await self._door.send(request)
        if self.dead:
            await anyio.sleep_forever()
        return answer


class Trial:
    """Runs one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.emulator = Emulator(
            seed=seed,
            providers=[VENDOR],
            balance="1000",
            failure_rate=0.1,
            faults=[
                Fault(action="drop_after_create", probability=0.08),
                Fault(action="reset", method="createTask", when="after", probability=0.04),
                Fault(action="hang", method="createTask", when="after", probability=0.04),
                Fault(action="reset", method="getTaskResult", probability=0.1),
                Fault(action="http", method="getTaskResult", status=502, probability=0.1),
            ],
        )
        self.journal = ModelJournal(write_delay_s=0.02)
        self.pages: dict[str, str] = {}
        self.tickets: dict[str, Ticket] = {}
        self.got: Counter[tuple[int, str]] = Counter()
        self.ended: dict[str, str] = {}
        self.verdict = TrialResult()
        self._life = 0
        self._page = ""

    def _client(self, transport: Any) -> Client:
        account = Account(VENDOR, DEFAULT_KEY, base_url=self.emulator.base_url(VENDOR))
        return Client(
            account,
            journal=self.journal,
            http=transport,
            on_event=self._on_event,
            settings=Settings(retry=RetrySettings(new_tasks_max=0)),
            runtime=Runtime.seeded(self.seed * 10 + self._life),
        )

    def _on_event(self, event: Event) -> None:
        if event.kind is EventKind.QUEUED and event.ticket is not None:
            self.pages[event.ticket.id] = self._page
            self.tickets[self._page] = event.ticket

    async def run(self) -> TrialResult:
        """The history, then the sums."""
        door = InProcess(self.emulator, latency_s=(0.02, 0.6))
        await self._first_life(_Mortal(door))
        self._life = 1
        client = self._client(door)
        async with client:
            tickets = await client.resume()
            async with anyio.create_task_group() as tasks:
                for ticket in tickets:
                    tasks.start_soon(self._take, client, ticket, self.pages.get(ticket.id, "?"))
            again = await client.resume()
            self.verdict.twice += [
                f"{self.pages.get(ticket.id, '?')} came out of resume() again"
                for ticket in again
                if self.got[1, self.pages.get(ticket.id, "?")]
            ]
        self._sum_up()
        return self.verdict

    async def _first_life(self, transport: _Mortal) -> None:
        client = self._client(transport)
        await client.open()
        crash_s = self.chance.uniform(0.0, 30.0) if self.chance.random() < 0.7 else PATIENCE_S
        with anyio.move_on_after(crash_s) as life:
            async with anyio.create_task_group() as tasks:
                for number in range(SOLVES):
                    start_s = self.chance.uniform(0.0, 10.0)
                    patience_s = self.chance.uniform(0.0, 25.0) if self.chance.random() < 0.5 else PATIENCE_S
                    tasks.start_soon(self._solve, client, f"https://trial.example/{number}", start_s, patience_s)
        if life.cancelled_caught:
            self.verdict.crashed = True
            transport.dead = True
            self.journal = self.journal.crash()
            await client.aclose(grace=0.0)
        else:
            await client.aclose()

    async def _solve(self, client: Client, page: str, start_s: float, patience_s: float) -> None:
        await anyio.sleep(start_s)
        with anyio.move_on_after(patience_s) as scope:
            self._page = page  # `solve` tells QUEUED before it waits for anything
            await self._outcome(client, page, client.solve(RecaptchaV2(page, "6Le-trial"), timeout=PATIENCE_S))
        if scope.cancelled_caught and page in self.tickets:  # the impatient caller comes back for it
            await anyio.sleep(1.0)
            await self._take(client, self.tickets[page], page)

    async def _take(self, client: Client, ticket: Ticket, page: str) -> None:
        await self._outcome(client, page, client.wait(ticket, timeout=PATIENCE_S))

    async def _outcome(self, client: Client, page: str, waiting: Any) -> None:
        life = self._life
        try:
            solution = await waiting
        except InDoubtError:
            self.ended[page] = "in doubt"
        except SolveError:
            self.ended[page] = "failed"
        except AnycapError as error:
            self.ended.setdefault(page, type(error).__name__)
        else:
            self.ended[page] = "solved"
            self.got[life, page] += 1
            await self._ask_again(client, solution.ticket, page, life)

    async def _ask_again(self, client: Client, ticket: Ticket | None, page: str, life: int) -> None:
        if ticket is None:
            self.verdict.lost.append(f"the solution for {page} has no ticket")
            return
        try:
            await client.wait(ticket, timeout=10)
        except TicketError:
            return
        except AnycapError as error:
            if self._life != life or self.verdict.crashed:
                return
            self.verdict.lost.append(f"{page}: waiting again gave {type(error).__name__}")
        else:
            self.got[life, page] += 1

    def _sum_up(self) -> None:
        verdict = self.verdict
        charged: dict[str, int] = defaultdict(int)
        for task in self.emulator[VENDOR].ledger.tasks:
            verdict.charges += 1
            charged[str(task.fields["websiteURL"])] += 1
        for page, count in charged.items():
            if count > 1:
                verdict.twice.append(f"{page} was charged {count} times")
            end = self.ended.get(page, "nothing")
            if end == "in doubt":
                verdict.in_doubt += 1
            elif end not in ("solved", "failed"):
                verdict.lost.append(f"{page} was charged; its caller got {end}")
        verdict.twice += [f"{page} was handed out {n} times" for (_, page), n in self.got.items() if n > 1]


def trial(seed: int) -> TrialResult:
    """The verdict on one seed, in virtual time."""
    return run_virtual(Trial(seed).run)
