"""What happens in a keyed world, written down as it happens: by the network, by the processes' events, by the callers.

Nothing here asks the client what it thinks; what has to hold of it is in `keyed_checks.py`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio
from attrs import define, frozen

from anycap import AnycapError
from anycap.events import Event, EventKind
from anycap.results import Solution
from anycap.tickets import Ticket
from anycap.transport import Answer, Failure, Request

if TYPE_CHECKING:
    from tests.simulation.keyed import Ask


@define
class Created:
    """One createTask, from its way out to its answer."""

    at: float
    life: int
    page: str
    outcome: str = "unclear"
    """`made`, `not_sent`, a vendor's code, or `unclear`: no answer that says anything has come, or to nobody."""
    task_id: str | None = None
    answered_at: float = math.inf


@frozen
class Polled:
    """One getTaskResult that a process has sent."""

    at: float
    life: int
    task_id: str


@frozen
class Charge:
    """One event that tells of money."""

    at: float
    life: int
    ticket_id: str
    task_id: str | None


@frozen
class Settled:
    """A ticket that somebody has settled."""

    at: float
    ticket: Ticket
    charged: bool


@frozen
class Ended:
    """What a call came to."""

    ask: Ask
    life: int
    began: float
    at: float
    result: Solution | AnycapError | None
    left: bool
    """The caller went away before its end."""
    cut_off: bool
    """Its process, or that which it waited in, ended before."""


@define
class Span:
    """From the start of a process to its end."""

    begun: float
    over: float = math.inf
    killed: bool = False


class Watch:
    """Everything that was seen. Times are seconds of the world's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.spans: dict[int, Span] = {}
        self.created: list[Created] = []
        self.polls: list[Polled] = []
        self.charges: list[Charge] = []
        self.settlements: list[Settled] = []
        self.asks: list[tuple[float, int, Ask]] = []
        self.ends: list[Ended] = []
        self.tokens: dict[str, str] = {}
        """Token by task id, as the vendor gave it."""
        self.poll_errors: dict[str, str] = {}
        """The code by task id, where a poll was answered with one."""
        self.noticed: dict[str, list[tuple[float, int]]] = defaultdict(list)
        """When which process had the token, by task id."""

    def begun(self, life: int) -> None:
        self.spans[life] = Span(self.clock())

    def over(self, life: int, *, killed: bool = False) -> None:
        span = self.spans[life]
        span.over, span.killed = self.clock(), killed

    def is_over(self, life: int) -> bool:
        return life in self.spans and self.spans[life].over < math.inf

    def asking(self, ask: Ask, life: int) -> None:
        self.asks.append((self.clock(), life, ask))

    def ended(self, end: Ended) -> None:
        self.ends.append(end)

    def settled(self, ticket: Ticket, *, charged: bool) -> None:
        self.settlements.append(Settled(self.clock(), ticket, charged))

    def hook(self, life: int) -> Callable[[Event], None]:
        """The `on_event` of a process."""

        def note(event: Event) -> None:
            if event.kind is EventKind.CHARGED and not self.is_over(life):
                ticket = getattr(event, "ticket", None)
                assert ticket is not None
                task_id = None if ticket.task_id is None else str(ticket.task_id)
                self.charges.append(Charge(self.clock(), life, ticket.id, task_id))

        note.kinds = frozenset({EventKind.CHARGED})  # type: ignore[attr-defined] # what a hook may say of itself
        return note

    def lines(self) -> list[str]:
        """Everything in its order."""
        lines: list[tuple[float, str]] = []
        for life, span in self.spans.items():
            lines.append((span.begun, f"process {life} begins"))
            lines.append((span.over, f"process {life} {'is killed' if span.killed else 'ends'}"))
        for at, life, ask in self.asks:
            lines.append((at, f"process {life} asks: {ask}"))
        for made in self.created:
            lines.append((made.at, f"process {made.life} createTask {made.page} -> {made.outcome} {made.task_id}"))
        polls: dict[tuple[int, str], list[float]] = defaultdict(list)
        for poll in self.polls:
            polls[poll.life, poll.task_id].append(poll.at)
        for (life, task_id), times in polls.items():
            lines.append((times[0], f"process {life} polls {task_id}, {len(times)} times until {times[-1]:.2f}"))
        for task_id, had in self.noticed.items():
            lines.extend((at, f"task {task_id}: the token is with process {life}") for at, life in had)
        for charge in self.charges:
            lines.append((charge.at, f"process {charge.life} charged: {charge.ticket_id} {charge.task_id}"))
        for each in self.settlements:
            lines.append((each.at, f"settled: {each.ticket.id} charged={each.charged}"))
        for end in self.ends:
            what = end.result if isinstance(end.result, AnycapError | None) else _short(end.result)
            text = f"process {end.life} ask {end.ask.number}: {type(end.result).__name__} {what}"
            lines.append((end.at, f"{text}{' left' * end.left}{' cut off' * end.cut_off}"))
        return [f"{at:9.3f} {text}" for at, text in sorted(lines, key=lambda line: line[0])]


def _short(solution: Solution) -> str:
    ticket = solution.ticket
    what = f"task {None if ticket is None else ticket.task_id}"
    return f"{what}{' shared' * solution.shared}{' redelivered' * solution.redelivered}"


class Wire:
    """The way from one process to the vendor. When the process is dead, nothing goes and nothing comes back any more."""

    def __init__(self, door: Any, watch: Watch, life: int) -> None:
        self._door = door
        self._watch = watch
        self._life = life

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        watch, life = self._watch, self._life
        if watch.is_over(life):
            await anyio.sleep_forever()
        body = json.loads(request.body.encode()) if request.body is not None else {}
        made: Created | None = None
        if request.url.endswith("/createTask"):
            made = Created(watch.clock(), life, str(body["task"]["websiteURL"]))
            watch.created.append(made)
        elif request.url.endswith("/getTaskResult"):
            watch.polls.append(Polled(watch.clock(), life, str(body["taskId"])))
        answer = await self._door.send(request)
        if watch.is_over(life):
            await anyio.sleep_forever()
        if made is not None:
            self._answered(made, answer)
        elif isinstance(answer, Answer) and request.url.endswith("/getTaskResult"):
            self._polled(str(body["taskId"]), answer)
        return answer

    def _answered(self, made: Created, answer: Answer | Failure) -> None:
        made.answered_at = self._watch.clock()
        if isinstance(answer, Failure):
            made.outcome = "not_sent" if str(answer.delivery) == "not_sent" else "unclear"
            return
        body = json.loads(answer.body)
        if body.get("errorCode"):
            made.outcome = str(body["errorCode"])
        elif body.get("taskId"):
            made.outcome, made.task_id = "made", str(body["taskId"])

    def _polled(self, task_id: str, answer: Answer) -> None:
        body = json.loads(answer.body)
        if body.get("errorCode"):
            self._watch.poll_errors[task_id] = str(body["errorCode"])
        token = body.get("solution") or {}
        if token.get("gRecaptchaResponse"):
            self._watch.tokens[task_id] = token["gRecaptchaResponse"]
            self._watch.noticed[task_id].append((self._watch.clock(), self._life))
