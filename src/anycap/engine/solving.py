"""How one call of a user goes: from account to account until one solves it, and the waiting of its caller.

Here live `Call`, what one caller asked for, and `Solving`, behind `Client.solve`, `submit`, `wait` and `solve_many`. Nothing is
sent from here: `engine.py` does that. Which account comes next is `routing.py`'s choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import anyio
from attrs import define, evolve

from anycap.challenges import Challenge
from anycap.core.idempotency import KEY_CHARS_MAX, KeyUse, Reuse, hash_of_key
from anycap.core.machine import STATES
from anycap.core.routing.candidates import patience_until
from anycap.core.solve import Priority, Solve
from anycap.engine.account_session import AccountSession
from anycap.engine.routing import Journey, Next, Router
from anycap.engine.solve_errors import KeyTaken
from anycap.errors import (
    AnycapError,
    ConfigurationError,
    DeadlineError,
    InvalidChallenge,
    SolveError,
    TicketError,
    UnsupportedMethod,
)
from anycap.results import Solution
from anycap.tickets import Ticket

if TYPE_CHECKING:
    from anycap.callbacks import Callbacks
    from anycap.engine.engine import Engine
    from anycap.engine.recovery import Recovery
    from anycap.engine.runtime import Runtime
    from anycap.settings import Settings

S = TypeVar("S", bound=Solution)
T = TypeVar("T")
TAG_CHARS_MAX = 64
"""A tag is a label in every event, record and metric, not a place for data."""
PRIORITIES = {str(priority): priority for priority in Priority}
REUSES = {str(reuse): reuse for reuse in Reuse}

PATIENCE_LOOK_S = 1.0
"""The shortest time after which a solve that waits at a busy account looks again whether another one has become free."""
OnCancel = Literal["keep", "abandon"]
PriorityName = Literal["low", "normal", "high"]
ReuseWord = Literal["never", "unpaid", "expired"]


@define(eq=False)
class Call(Generic[S]):
    """What one caller asked for."""

    challenge: Challenge[S]
    journey: Journey
    deadline: float
    """A second of the loop's clock."""
    on_cancel: OnCancel
    wait_for_capacity: bool | None
    callback_url: str | None
    priority: Priority
    tag: str | None
    key: KeyUse | None = None
    loaded: bool = False
    """Whether its images were read, in time."""
    on_start: Callable[[Solve], None] | None = None
    """Called with the solve of each attempt, for others who ask for the same key."""


class Want(NamedTuple, Generic[T]):
    """What a caller waits for: the solution, or (`accepted`) the ticket once the vendor has made its task."""

    accepted: bool
    take: Callable[[AccountSession, Solve], T]
    """From a solve that has come so far; raises its error."""
    of_delivered: Callable[[Solution], T]
    """From a solution that was delivered before."""


class Solving:
    """Makes the calls of one client that have no idempotency key."""

    def __init__(
        self,
        engine: Engine,
        router: Router,
        recovery: Recovery,
        settings: Settings,
        runtime: Runtime,
        callbacks: Callbacks,
        *,
        callback_url: str | None,
    ) -> None:
        self._engine = engine
        self._router = router
        self._recovery = recovery
        self._settings = settings
        self._runtime = runtime
        self._callbacks = callbacks
        self._solution: Want[Solution] = Want(False, partial(self._taken, engine.deliver), _solution_of_delivered)
        self._callback_url = None if callback_url is None else _callback_base(callback_url)

    # -- what callers ask for

    def call(
        self,
        challenge: Challenge[S],
        *,
        timeout: float,
        account: str | None,
        accounts: Sequence[str] | None,
        max_attempts: int,
        max_cost: Decimal | None,
        on_cancel: OnCancel,
        wait_for_capacity: bool | None,
        callback_url: str | None,
        priority: str,
        tag: str | None,
        idempotency_key: str | None,
        reuse: ReuseWord,
    ) -> Call[S]:
        """A call with the arguments of `Client.solve`. Raises ConfigurationError for wrong ones."""
        deadline = self._deadline(timeout)
        if on_cancel not in ("keep", "abandon"):
            raise ConfigurationError(f"on_cancel is 'keep' or 'abandon', not {on_cancel!r}")
        rank = PRIORITIES.get(priority)
        if rank is None:
            raise ConfigurationError(
                f"priority is {', '.join(map(repr, PRIORITIES))}, not {priority!r}. Nothing was sent."
            )
        journey = self._router.journey(
            challenge,
            account=account,
            accounts=accounts,
            max_attempts=max_attempts,
            limit=self._settings.max_cost if max_cost is None else max_cost,
        )
        if tag is not None:
            _check_tag(tag)
        key = None
        if idempotency_key is not None or reuse != "unpaid":
            key = _key_use(idempotency_key, reuse)
        return Call(challenge, journey, deadline, on_cancel, wait_for_capacity, callback_url, rank, tag, key)

    def _deadline(self, timeout: float) -> float:
        try:
            seconds = float(timeout)
        except (TypeError, ValueError):
            seconds = math.nan
        if math.isnan(seconds) or seconds < 0:
            raise ConfigurationError(f"timeout is a number of seconds, or math.inf, not {timeout!r}")
        return self._engine.clock() + seconds

    def solve(self, call: Call[S], deliver: Callable[[Solve], None] | None = None) -> Coroutine[Any, Any, S]:
        """Submit, wait, return the solution.

        `deliver` is called with no await between it and the return; None: the engine's, which takes it as delivered.
        """
        # Not a coroutine of its own: every step of the wait would pass through one frame more.
        want = self._solution
        if deliver is not None:
            want = Want(False, partial(self._taken, deliver), _solution_of_delivered)
        return cast("Coroutine[Any, Any, S]", self._answer(call, want))

    def submit(self, call: Call[Any]) -> Coroutine[Any, Any, Ticket]:
        """Submit, and return the ticket once a vendor has accepted it."""
        return self._answer(call, Want(True, self._accepted, _ticket_of_delivered))

    def _answer(self, call: Call[Any], want: Want[T]) -> Coroutine[Any, Any, T]:
        """Where a call with a key goes another way: `keyed.py`."""
        return self._travel(call, want)

    def _accepted(self, session: AccountSession, solve: Solve) -> Ticket:
        if solve.task_id is None and solve.state is not STATES.SOLVED:
            self._engine.acknowledged(solve)
            raise self._error(session, solve)
        return solve.ticket()

    async def wait(self, ticket: Ticket, *, timeout: float, again: bool) -> Solution:
        """Wait for the solution of a ticket; `again`: also one that was delivered before."""
        deadline = self._deadline(timeout)
        self._engine.check_open()
        delivered = self._engine.delivered.get(ticket.id) if again else None
        if delivered is not None:
            if delivered.good_until <= self._runtime.elapsed():
                raise TicketError("the solution of this ticket was delivered before, and has expired", ticket=ticket)
            return evolve(delivered.solution, redelivered=True)
        solve: Solve | None = None
        with anyio.CancelScope(deadline=deadline):
            solve = await self._recovery.find(ticket, again=again)
        if solve is None:
            raise DeadlineError(
                "the journal had no outcome of the ticket within the timeout; client.wait(error.ticket) tries again",
                ticket=ticket,
                sent=ticket.task_id is not None,
            )
        session = self._engine.sessions[solve.account]
        redelivered = solve.state is STATES.DELIVERED and not solve.shared
        await self._wait_until_done(session, solve, deadline)
        solution = self._taken(self._engine.deliver, session, solve)
        return evolve(solution, redelivered=True) if redelivered else solution

    # -- from account to account

    async def _travel(self, call: Call[Any], want: Want[T]) -> T:
        """Make one attempt after the other, here or at other accounts, until one succeeds or none may follow."""
        clock, journey = self._engine.clock, call.journey
        if not call.loaded:
            self._engine.check_open()
            if not call.challenge.loaded:
                await self._load(call)
        while True:
            session = self._router.choose(journey, call.challenge, clock())
            assert session is not None  # noqa: S101 - `goes_on` and `cannot_encode` leave at least one account
            started = clock()
            try:
                solve = self._start(session, call)
            except InvalidChallenge as error:
                self._router.cannot_encode(journey, session, error)
                continue
            try:
                await self._wait_until_done(session, solve, call.deadline, call, accepted=want.accepted)
                result = want.take(session, solve)
            except _GoElsewhere:
                self._router.moved_on(journey, session, solve, clock() - started)
                continue
            except KeyTaken:
                raise  # no attempt that failed: nothing was sent, and `keyed.py` looks at the key again
            except AnycapError as error:
                step = self._router.goes_on(
                    journey, session, solve, error, seconds=clock() - started, now=clock(), pay_again=not want.accepted
                )
                if step is Next.NOWHERE:
                    raise
                if step is Next.ELSEWHERE:
                    self._engine.emitter.failover(solve, error=_short(error))
                continue
            if isinstance(result, Solution):
                attempts = self._router.solved(journey, session, result.cost, clock() - started)
                # Made for this caller a moment ago and held by nobody else yet: a frozen value gets its last field.
                object.__setattr__(result, "attempts", attempts)
            return result

    async def _load(self, call: Call[Any]) -> None:
        """Read the images: once for all the attempts of a solve, as a file may give them only once."""
        loaded = call.challenge if call.challenge.loaded else None
        if loaded is None and call.deadline > self._engine.clock():
            with anyio.CancelScope(deadline=call.deadline):
                loaded = await self._runtime.offload(call.challenge.load)
        if loaded is None or call.deadline <= self._engine.clock():
            raise DeadlineError("the timeout left no time to send anything; nothing was sent", sent=False)
        call.challenge, call.loaded = loaded, True

    def _start(self, session: AccountSession, call: Call[Any]) -> Solve:
        self._engine.check_phase()
        if call.deadline <= self._engine.clock():
            raise DeadlineError("the timeout left no time to send anything; nothing was sent", sent=False)
        prepared = session.adapter.prepare(call.challenge)
        pacer = session.scheduler.pacer(prepared.vendor_type, prepared.timing)
        early = pacer.take_warning()
        for warning in prepared.warnings if early is None else (*prepared.warnings, early):
            self._engine.emitter.warning(warning, account=session.name, provider=session.catalog.name)
        # A fresh id for each attempt: a ticket is one task at one vendor, so that a doubt about one never covers another.
        proxy, route = call.challenge.proxy, call.journey.route
        solve = Solve(
            self._runtime.new_id(),
            account=session.name,
            provider=session.catalog.name,
            task_type=prepared.kind,
            vendor_type=prepared.vendor_type,
            pacer=pacer,
            created_at=self._runtime.wall(),
        )
        solve.prepared, solve.summary, solve.has_image = prepared, prepared.summary, prepared.has_image
        solve.currency = session.catalog.currency
        if proxy is not None:
            solve.proxy, solve.secrets = f"{proxy.host}:{proxy.port}", proxy.secrets
        solve.deadline, solve.wait_policy, solve.priority = call.deadline, call.wait_for_capacity, call.priority
        solve.may_go_elsewhere = len(route.order) > 1 and bool(route.others(session.name))
        solve.is_last_attempt = route.attempts + 1 >= route.attempts_max
        solve.tag, solve.key = call.tag, call.key
        base = self._callback_base_for(session, call.callback_url)
        solve.callback_url = None if base is None else self._callbacks.url(base, solve.id)
        solve.is_repeat = call.journey.repeats.get(session.name, 0) > 0
        solve.follows, call.journey.newest = call.journey.newest, solve.id
        self._engine.start(solve)
        if call.on_start is not None:
            call.on_start(solve)
        if call.journey.passed_over is not None:
            self._engine.emitter.routed(solve, call.journey.passed_over)
        return solve

    def _callback_base_for(self, session: AccountSession, asked: str | None) -> str | None:
        """The base of the callback address: the solve's own, or the client's where the vendor has callbacks."""
        if asked is None:
            return self._callback_url if session.catalog.callback_field is not None else None
        if session.catalog.callback_field is None:
            raise UnsupportedMethod(
                f"{session.catalog.title} has no callbacks; leave callback_url out. Nothing was sent."
            )
        return _callback_base(asked)

    # -- waiting

    def _taken(self, deliver: Callable[[Solve], None], session: AccountSession, solve: Solve) -> Solution:
        """The solution of a solve that has an outcome. Raises its error."""
        solution = solve.solution
        if solution is not None and solve.state in (STATES.SOLVED, STATES.DELIVERED):
            if solve.shared:
                # Others get the same one, at the same moment: nobody has it yet. A frozen value gets its last field.
                object.__setattr__(solution, "shared", True)
            deliver(solve)
            return cast("Solution", solution)
        self._engine.acknowledged(solve)
        raise self._error(session, solve)

    async def _wait_until_done(
        self,
        session: AccountSession,
        solve: Solve,
        deadline: float,
        call: Call[Any] | None = None,
        *,
        accepted: bool = False,
        abandon: bool = False,
    ) -> None:
        """Wait until the solve has an outcome, or (`accepted`) its task id.

        A caller that cancels, or runs out of time, leaves nothing to be sent.

        Raises _GoElsewhere when the account was busy for longer than the caller's patience and another one is free.
        """
        done = timed_out = False
        if accepted:
            solve.callers_for_task_id += 1
        try:
            if call is not None and solve.may_go_elsewhere:
                done = await self._wait_patiently(session, solve, call, deadline, accepted=accepted)
            if not done:
                done = await self._engine.wait(solve, deadline, accepted=accepted)
                timed_out = not done
        except _GoElsewhere:
            done = True  # nothing is left of it that a leaving caller would have to stop
            raise
        finally:
            if accepted:
                solve.callers_for_task_id -= 1
            if not done:
                abandon = abandon or (call is not None and call.on_cancel == "abandon")
                self._engine.leave(solve, abandon=abandon, timed_out=timed_out)
        if not done:
            raise self._timed_out(session, solve)

    async def _wait_patiently(
        self, session: AccountSession, solve: Solve, call: Call[Any], deadline: float, *, accepted: bool
    ) -> bool:
        """Wait as long as the account may keep it waiting; whether it has an outcome. Looks again until it is sent for good.

        Raises _GoElsewhere once patience is over while another account is free. A busy answer that comes later ends the
        attempt by itself (`Solve.patient_until`).
        """
        clock, patience_s = self._engine.clock, self._settings.routing.patience_s
        began = clock()
        until = patience_until(began, patience_s=patience_s, deadline=deadline)
        if not solve.is_last_attempt:
            solve.patient_until = until
        while not await self._engine.wait(solve, until, accepted=accepted):
            # Its task is paid for, so it stays here; or the time is the caller's own, and the caller ends as a timeout.
            if solve.task_id is not None or until >= deadline:
                return False
            if solve.state is STATES.QUEUED:
                # Even if no other is free now: waited for once, the account is passed over as soon as one is.
                call.journey.busy |= {session.name}
                if self._router.may_go_elsewhere(call.journey, session, solve, call.challenge, clock()):
                    self._engine.move_on(solve)
                    self._engine.emitter.failover(solve, error="busy", waited_s=clock() - began)
                    raise _GoElsewhere
            until = min(clock() + max(patience_s, PATIENCE_LOOK_S), deadline)
        return True

    def _error(self, session: AccountSession, solve: Solve) -> AnycapError:
        if solve.state is STATES.DELIVERED:
            return TicketError("the solution of this ticket was delivered before", ticket=solve.ticket())
        return session.errors.error_of(solve, self._engine.clock(), self._runtime.wall())

    def _timed_out(self, session: AccountSession, solve: Solve) -> DeadlineError:
        last = session.errors.reason_of(solve, self._engine.clock(), self._runtime.wall())
        # While its INTENT is written it is not sent yet, and will not be, as its caller has given up.
        unsent = (
            (STATES.QUEUED, STATES.FAILED)
            if not solve.caller_gave_up
            else (STATES.QUEUED, STATES.FAILED, STATES.RECORDING)
        )
        sent = solve.task_id is not None or solve.state not in unsent
        if solve.state is STATES.ABANDONED:
            text = "not solved within the timeout; the task was abandoned as on_cancel says, and is polled no more"
        elif solve.task_id is not None:
            text = "not solved within the timeout; the task goes on, and client.wait(error.ticket) continues waiting for it"
        elif not sent:
            return session.errors.not_sent_in_time(solve, self._engine.clock(), self._runtime.wall())
        else:
            text = "the timeout ran out while createTask was in flight; client.wait(error.ticket) gives its outcome"
        return DeadlineError(text, ticket=solve.ticket(), last_error=last, sent=sent)


def _check_tag(tag: object) -> None:
    if not isinstance(tag, str) or not 1 <= len(tag) <= TAG_CHARS_MAX or not tag.isprintable():
        raise ConfigurationError(f"tag is a text of 1 to {TAG_CHARS_MAX} printable characters. Nothing was sent.")


def _key_use(key: object, reuse: object) -> KeyUse:
    allowed = REUSES.get(reuse) if isinstance(reuse, str) else None
    if allowed is None:
        raise ConfigurationError(f"reuse is {', '.join(map(repr, REUSES))}, not {reuse!r}")
    if key is None:
        raise ConfigurationError(
            "reuse= says what an idempotency_key may be used for again: give one. Nothing was sent."
        )
    if not isinstance(key, str) or not 1 <= len(key) <= KEY_CHARS_MAX:
        raise ConfigurationError(f"idempotency_key is a text of 1 to {KEY_CHARS_MAX} characters. Nothing was sent.")
    return KeyUse(hash_of_key(key), "", allowed)


def _solution_of_delivered(solution: Solution) -> Solution:
    return solution


def _ticket_of_delivered(solution: Solution) -> Ticket:
    assert solution.ticket is not None  # noqa: S101 - every solution of ours has one
    return solution.ticket


def _callback_base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            "callback_url is an http(s) address without query, below which a path token is put: https://my.host/captchas"
        )
    return url


class _GoElsewhere(Exception):
    """Inside a solve only: its account is busy and another one is free."""


def _short(error: AnycapError) -> str:
    return str(error.code) if isinstance(error, SolveError) else type(error).__name__
