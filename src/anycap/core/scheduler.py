"""One account: which request to send next, and what its answer does. The engine and the simulator both drive this.

A scheduler composes the life of each solve (`machine.py`), the guard (`guard.py`), one pacer per task type (`polling.py`) and
the heap of due times (`schedule.py`). Time comes in as `now` (monotonic seconds), chance as a function; no I/O.

How it is driven: `add` or `restore` a solve; `next_job(now)` says what to send (None: nothing now, look again at
`wake_at(now)` or after the next answer); report what came of it with `stored`, `submitted`, `polled` or `probed`. These
return the actions that are left for the shell (writing records, telling callers). Solves that were stopped here, before
anything was sent, are handed out by `take_refused`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from anycap.core.admission.guard import Deferred, Gate, Guard
from anycap.core.classify import is_oversized, is_strike, poll_event, submit_event
from anycap.core.due_heap import DueHeap
from anycap.core.jobs import Job, JobKind
from anycap.core.machine import Action, Event, State, step
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.polling.schedule import Pacer
from anycap.core.solve import Solve
from anycap.core.task_end import exhausted, took_s
from anycap.core.vendor_limits import Timing
from anycap.core.waiting_line import WaitingLine, refuse
from anycap.settings import Polling
from anycap.taxonomy import Category, Code, Scope

REPEAT_DELAY_S = 0.5
"""Wait before a request that never left is tried again; doubles with each attempt of the same solve."""
REPEAT_DELAY_MAX_S = 30.0
HINTS_MAX = 3
"""Callbacks of one task that are acted upon: a replayed one must not use up the poll limit."""
HINT_TRUST = 3
"""Tasks in a row that were ready without a callback, after which callbacks are no longer relied on."""
HINTED_STRETCH = 4.0
"""How much longer gaps are while callbacks arrive (within the life of a finished result, as always)."""
SUBMIT_SHARE = 0.75
"""Part of the gate that createTask requests may fill: a vendor that hangs on them must not keep polls from going out."""
STALE_RECHECK_S = 1.0
"""A task that the vendor may have dropped asks again after so long, at most ten times so long, when it was held."""
LATENESS_WEIGHT = 0.05
"""Weight of one poll's lateness in the moving mean from which all gaps are widened."""

# Members that every request meets: a look-up on the enum's class costs several times as much as one here.
_PLAN_POLL, _REQUEUE, _FREE_TASK = Action.SCHEDULE_POLL, Action.REQUEUE, Action.RELEASE_TASK_SLOT
_OURS = frozenset({Action.SCHEDULE_POLL, Action.REQUEUE, Action.RELEASE_TASK_SLOT})
_QUEUED, _RECORDING, _STORING = State.QUEUED, State.RECORDING, State.STORING
_SUBMIT, _POLL = JobKind.SUBMIT, JobKind.POLL
_DUE, _SLOT, _STORED = Event.POLL_DUE, Event.SLOT_GRANTED, Event.STORED
_ACCEPTED, _PROCESSING, _READY = Event.TASK_ID_RECEIVED, Event.PROCESSING, Event.READY
_IS_PROCESSING, _IS_READY = AnswerKind.PROCESSING, AnswerKind.READY


class AccountScheduler:
    """The work of one account, in order: what may be sent now, and what is due when."""

    def __init__(
        self,
        name: str,
        guard: Guard,
        gate: Gate,
        polling: Polling,
        *,
        chance: Callable[[], float],
    ) -> None:
        self.name = name
        self.guard = guard
        self._gate = gate
        self._polling = polling
        self._chance = chance
        self._pacers: dict[str, Pacer] = {}
        self._queues: dict[str, WaitingLine] = {}
        self._schedule = DueHeap()
        self._refused: list[Solve] = []
        self._in_progress = 0
        self._submits = 0
        self._probing: str | None = None
        self._polls_held_until = -math.inf
        self._poll_turn = False
        """Submits and polls take turns: also as the probe of a failing vendor, where one dead task must not be all of them."""
        self._lateness_s = 0.0
        self._gap_s = 3.0
        self._hints_missed = HINT_TRUST
        self._limit = gate.limit(0.0, 0, self._gap_s)

    # -- what there is

    @property
    def in_progress(self) -> int:
        """HTTP requests without an answer."""
        return self._in_progress

    @property
    def queued(self) -> int:
        """Solves that wait for a slot."""
        return sum(map(len, self._queues.values()))

    @property
    def planned(self) -> int:
        """Tasks that wait for their next poll (and solves that wait to be tried again)."""
        return len(self._schedule)

    def pacer(self, kind: str, timing: Timing) -> Pacer:
        """The poll schedule of a task type; made once and shared, because it learns."""
        pacer = self._pacers.get(kind)
        if pacer is None:
            pacer = self._pacers[kind] = Pacer(timing, self._polling)
            self._gap_s = min(self._gap_s, max(pacer.gap_s, 0.1))
        return pacer

    @property
    def pacers(self) -> dict[str, Pacer]:
        return self._pacers

    # -- solves come in

    def add(self, solve: Solve) -> None:
        """Queue a new solve."""
        queue = self._queues.get(solve.task_type)
        if queue is None:
            queue = self._queues[solve.task_type] = WaitingLine()
        queue.put(solve)

    def restore(self, solve: Solve, now: float, *, age_s: float, backlog: int) -> None:
        """Take up a task that an earlier process left, accepted `age_s` ago, one of `backlog` such tasks."""
        solve.state = State.WAITING
        solve.accepted_mono = now - age_s
        self.guard.task_restored(now, solve.task_type)
        self._schedule.plan(solve, solve.accepted_mono + solve.pacer.resume_age_s(age_s, self._chance(), backlog))

    def hold_solved(self, solve: Solve) -> None:
        """Take up a solved task whose solution nobody has fetched yet."""
        solve.state = State.SOLVED

    # -- what to send

    def next_job(self, now: float) -> Job | None:
        """What to send now; None when nothing may or need be sent. Counts the request as sent."""
        limit = self._limit = self._gate.limit(now, len(self._schedule), self._gap_s)
        if self._in_progress >= limit:
            return None
        may_submit = self._submits < max(limit * SUBMIT_SHARE, 1)
        if self._poll_turn or not may_submit:
            return self._next_poll(now) or (self._next_submit(now) if may_submit else None)
        return self._next_submit(now) or self._next_poll(now)

    def wake_at(self, now: float) -> float:
        """When to call `next_job` again if nothing is answered before; `math.inf`: only after an answer."""
        limit = self._limit  # as next_job has just found it
        if self._in_progress >= limit:
            return math.inf
        soonest = math.inf
        due = self._schedule.next_due()
        if due is not None:
            soonest = max(due, self._polls_held_until)
        if self._probing is not None or self._submits >= max(limit * SUBMIT_SHARE, 1):
            return soonest
        for queue in self._queues.values():
            if queue.head() is not None:
                soonest = min(soonest, max(queue.held_until, now))
        return soonest

    def _next_poll(self, now: float) -> Job | None:
        if self._polls_held_until > now:
            return None
        schedule = self._schedule
        while (next_one := schedule.pop(now)) is not None:
            due, solve = next_one
            if solve.state is _QUEUED:
                self.add(solve)
                continue
            stale = solve.pacer.may_be_gone(now - solve.accepted_mono, solve.processing_age_s)
            admission = self.guard.admit_poll(now, solve.task_type, stale=stale)
            if isinstance(admission, Deferred):
                if stale and not isinstance(self.guard.admit_poll(now, solve.task_type), Deferred):
                    # Only tasks that may be dead are held: they must not stand in the way of the living.
                    schedule.plan(solve, max(now + STALE_RECHECK_S, min(admission.until, now + 10 * STALE_RECHECK_S)))
                    continue
                schedule.plan(solve, due)
                self._polls_held_until = admission.until
                if admission.probe is not None:
                    return self._probe(admission.probe, now)
                return None
            self.guard.poll_sent(now, solve.task_type, stale=stale)
            self._poll_turn = False
            self._in_progress += 1
            self._lateness_s += LATENESS_WEIGHT * (now - due - self._lateness_s)
            solve.state, _ = step(solve.state, _DUE)
            solve.poll_sent_age_s = now - solve.accepted_mono
            solve.polls += 1
            solve.callback_pending = False
            return Job(_POLL, solve)
        return None

    def _next_submit(self, now: float) -> Job | None:
        if self._probing is not None:
            return None
        for queue in self._queues.values():
            if queue.held_until > now:
                continue
            while (solve := queue.head()) is not None and queue.held_until <= now:
                admission = self.guard.admit_submit(now, solve.task_type, repeat=solve.is_repeat, proxy=solve.proxy)
                if not isinstance(admission, Deferred):
                    queue.take()
                    if len(self._queues) > 1:
                        self._rotate(solve.task_type)
                    self.guard.submit_sent(now, solve.task_type, repeat=solve.is_repeat, proxy=solve.proxy)
                    self._poll_turn = True
                    self._in_progress += 1
                    self._submits += 1
                    solve.submitted_mono = now
                    solve.attempts += 1
                    solve.state, _ = step(solve.state, _SLOT)
                    return Job(_SUBMIT, solve)
                if admission.probe is not None:
                    return self._probe(admission.probe, now)
                problem = admission.problem
                if problem is not None and problem.row.scope is Scope.PROXY:
                    queue.take()
                    refuse(solve, admission, late=False)
                    self._refused.append(solve)
                    continue
                self._refused += queue.hold(admission)
        return None

    def _rotate(self, kind: str) -> None:
        """Let the other task types go first next time."""
        self._queues[kind] = self._queues.pop(kind)

    def _probe(self, method: str, now: float) -> Job:
        self._probing = method
        self._in_progress += 1
        self.guard.probe_sent(now, method)
        return Job(JobKind.PROBE, None, method)

    @property
    def has_refused(self) -> bool:
        """Whether `take_refused` has any."""
        return bool(self._refused)

    def take_refused(self) -> list[Solve]:
        """Solves that were stopped here since the last call: `last.problem` says why, `late` that the deadline did."""
        refused = self._refused
        if refused:
            self._refused = []
        return refused

    # -- what came of it

    def stored(self, solve: Solve, now: float, *, ok: bool = True) -> tuple[Action, ...]:
        """The journal has written what the last actions asked for, or could not."""
        was = solve.state
        if was is _RECORDING and (not ok or solve.caller_gave_up):
            self._in_progress -= 1
            self._submits -= 1
            self.guard.submit_unsent(now, solve.task_type)
            self._changed()
            solve.state, actions = step(was, Event.WITHDRAWN if ok else Event.STORE_FAILED)
            return actions
        solve.state, actions = step(was, _STORED if ok else Event.STORE_FAILED)
        if was is _STORING and solve.abandon_requested:
            solve.state, actions = step(State.STORING, Event.ABANDON)
        return self._inside(solve, actions, now)

    def submitted(self, solve: Solve, verdict: ParsedAnswer, now: float) -> tuple[Action, ...]:
        """createTask was answered, or was not."""
        self._in_progress -= 1
        self._submits -= 1
        self._gate.answered(now - solve.submitted_mono)
        self.guard.submit_answered(now, solve.task_type, verdict, proxy=solve.proxy)
        self._changed()
        event = submit_event(verdict, wait_when_blocked=solve.wait_policy is True)
        if event is _ACCEPTED or event is _READY:
            solve.task_id = verdict.task_id
            solve.accepted_mono = now
            solve.last_answer = None
            solve.body = verdict.body if event is _READY else None
        else:
            solve.last_answer = verdict
            if event is Event.NOT_SENT:
                solve.is_repeat = True
            elif event is Event.BUSY:
                problem = verdict.problem
                # A busy answer made nothing: coming again is no retry. A failing service is one.
                solve.is_repeat = problem is not None and problem.category is Category.SERVICE
                if solve.wait_policy is False:
                    event = Event.REJECTED
            if solve.caller_gave_up and event in (Event.NOT_SENT, Event.BUSY):
                event = Event.REJECTED
        solve.state, actions = step(solve.state, event)
        return self._inside(solve, actions, now)

    def polled(self, solve: Solve, verdict: ParsedAnswer, now: float) -> tuple[Action, ...]:
        """getTaskResult was answered, or was not."""
        self._in_progress -= 1
        solve.poll_ended_age_s = now - solve.accepted_mono
        self._gate.answered(solve.poll_ended_age_s - solve.poll_sent_age_s)
        pacer = solve.pacer
        stale = pacer.may_be_gone(solve.poll_sent_age_s, solve.processing_age_s)
        self.guard.poll_answered(now, solve.task_type, verdict, proxy=solve.proxy, stale=stale)
        self._answered()
        event = self._poll_event(solve, verdict)
        if event is _PROCESSING and pacer.outlived(solve.poll_sent_age_s):
            # It lives, so it is not that old: the wall clock that told the age of a resumed task was wrong.
            solve.accepted_mono = now
            solve.poll_sent_age_s = solve.poll_ended_age_s = solve.processing_age_s = 0.0
        elif event is _PROCESSING:
            solve.last_answer = None
            pacer.processing(after_age_s=solve.processing_age_s, by_age_s=solve.poll_sent_age_s)
            solve.processing_age_s = solve.poll_sent_age_s
            solve.extra_gap_s = 0.0
        elif event is _READY:
            solve.last_answer = None
            if solve.callback_url is not None:
                self._hints_missed = 0 if solve.callbacks_used else self._hints_missed + 1
            solve.body = verdict.body
            pacer.solved(
                after_age_s=solve.processing_age_s, by_age_s=solve.poll_sent_age_s, exact_age_s=took_s(verdict.body)
            )
        else:
            solve.last_answer = verdict
            problem = verdict.problem
            if problem is not None and problem.code is Code.POLLED_TOO_FAST:
                solve.extra_gap_s += problem.row.retry_after or 2.0
            if event is Event.TASK_ENDED:
                pacer.unsolved(after_age_s=solve.processing_age_s)
        solve.state, actions = step(solve.state, event)
        return self._inside(solve, actions, now)

    def _poll_event(self, solve: Solve, verdict: ParsedAnswer) -> Event:
        """What the answer to a poll means, given what came in a row before it."""
        kind = verdict.kind
        if kind is _IS_PROCESSING or kind is _IS_READY:
            solve.refused_polls_in_a_row = solve.oversized = 0
            return _PROCESSING if kind is _IS_PROCESSING else _READY
        solve.refused_polls_in_a_row = solve.refused_polls_in_a_row + 1 if is_strike(verdict) else 0
        solve.oversized = solve.oversized + 1 if is_oversized(verdict) else 0
        return poll_event(verdict, strikes=solve.refused_polls_in_a_row, oversized=solve.oversized)

    def probed(self, verdict: ParsedAnswer, now: float, *, rtt_s: float) -> None:
        """A probe of the account was answered; the guard has been told by the caller what the balance is."""
        method, self._probing = self._probing, None
        self._in_progress -= 1
        self._gate.answered(rtt_s)
        self.guard.call_answered(now, method or "", verdict)
        self._changed()
        self._polls_held_until = -math.inf

    # -- callers

    def withdraw(self, solve: Solve) -> tuple[Action, ...]:
        """The caller is gone and the deadline over: send nothing if nothing was sent yet."""
        solve.caller_gave_up = True
        if solve.state is not State.QUEUED:
            return ()
        solve.state, actions = step(solve.state, Event.WITHDRAWN)
        self._forget_queued(solve)
        return actions

    def abandon(self, solve: Solve, now: float) -> tuple[Action, ...]:
        """The caller wants nothing more of this task: no more polls. What was sent is not called back."""
        solve.caller_gave_up = True
        solve.abandon_requested = True
        was = solve.state
        if was is State.RECORDING or was is State.STORING:
            return ()
        solve.state, actions = step(was, Event.ABANDON)
        if was is State.QUEUED:
            self._forget_queued(solve)
        return self._inside(solve, actions, now)

    def resume_polling(self, solve: Solve, now: float) -> None:
        """Somebody waits for this ticket: a stalled one is polled again."""
        solve.state, actions = step(solve.state, Event.WAITED_FOR)
        if Action.SCHEDULE_POLL in actions:
            solve.refused_polls_in_a_row = solve.oversized = 0
            self.guard.task_restored(now, solve.task_type)
            soonest = solve.accepted_mono + solve.pacer.soonest_age_s(
                ended_age_s=solve.poll_ended_age_s if solve.polls else None
            )
            self._schedule.plan(solve, max(soonest, now + self._gap_s * self._chance()))

    def callback_received(self, solve: Solve, now: float) -> bool:
        """The vendor says that the task is done: poll as soon as its minimum gap allows. False: nothing to be done."""
        if solve.callbacks_used >= HINTS_MAX:
            return False
        if solve.state is State.WAITING and not solve.callback_pending:
            soonest = solve.pacer.soonest_age_s(ended_age_s=solve.poll_ended_age_s if solve.polls else None)
            due = max(solve.accepted_mono + soonest, now)
            if due >= solve.due >= 0.0:
                return False
            self._schedule.plan(solve, due)
        elif solve.state not in (State.SUBMITTING, State.STORING, State.POLLING) or solve.callback_pending:
            return False
        solve.callbacks_used += 1
        solve.callback_pending = True
        return True

    def delivered(self, solve: Solve) -> tuple[Action, ...]:
        """The caller has the solution."""
        solve.state, actions = step(solve.state, Event.DELIVERED)
        return actions

    def reset(self, now: float) -> None:
        """Lift every stop and cool-down of the account: the user says that the cause is mended."""
        self.guard.reset(now)
        self.look_again()

    def look_again(self) -> None:
        """Something outside changed (a key, a top-up): ask the guard again about everything."""
        self._changed()
        self._polls_held_until = -math.inf

    # -- inside

    def _changed(self) -> None:
        """A submit was answered or a task ended: every held queue may ask again."""
        for queue in self._queues.values():
            queue.held_until = -math.inf
        if self._polls_held_until == math.inf:
            self._polls_held_until = -math.inf

    def _answered(self) -> None:
        """A poll was answered: what was held until something is answered may ask again."""
        if self._polls_held_until == math.inf:
            self._polls_held_until = -math.inf
        for queue in self._queues.values():
            if queue.held_until == math.inf:
                queue.held_until = -math.inf

    def _forget_queued(self, solve: Solve) -> None:
        if solve.due >= 0.0:
            self._schedule.drop(solve)
            return
        queue = self._queues[solve.task_type]
        queue.forget_one()

    def _inside(self, solve: Solve, actions: tuple[Action, ...], now: float) -> tuple[Action, ...]:
        """Do the actions that are ours; hand the rest on."""
        if _OURS.isdisjoint(actions):
            return actions
        outside: tuple[Action, ...] = ()
        for action in actions:
            if action is _PLAN_POLL:
                outside += self._plan_poll(solve, now)
            elif action is _REQUEUE:
                self._requeue(solve, now)
            elif action is _FREE_TASK:
                self._schedule.drop(solve)
                self.guard.task_ended(now, solve.task_type, solve.last_answer)
                self._changed()
            else:
                outside += (action,)
        return outside

    def _requeue(self, solve: Solve, now: float) -> None:
        if solve.is_repeat:
            delay_s = min(REPEAT_DELAY_S * 2 ** min(solve.attempts - 1, 10), REPEAT_DELAY_MAX_S)
            self._schedule.plan(solve, now + delay_s * (0.5 + self._chance() / 2))
            return
        self.add(solve)
        self._queues[solve.task_type].last_comes_first()

    def _plan_poll(self, solve: Solve, now: float) -> tuple[Action, ...]:
        if solve.polls == 0:
            age_s: float | None = solve.pacer.first_age_s(self._chance())
        else:
            stretch = 1.0 + max(self._lateness_s, 0.0) / self._gap_s
            if solve.callback_url is not None and self._hints_missed < HINT_TRUST:
                stretch *= HINTED_STRETCH
            age_s = solve.pacer.next_age_s(
                sent_age_s=solve.poll_sent_age_s,
                ended_age_s=solve.poll_ended_age_s,
                polls=solve.polls,
                stretch=stretch,
                widen_s=solve.extra_gap_s,
            )
        if solve.callback_pending and age_s is not None:
            # The callback came while the request was on its way.
            age_s = min(age_s, solve.pacer.soonest_age_s(ended_age_s=solve.poll_ended_age_s if solve.polls else None))
        if age_s is not None:
            self._schedule.plan(solve, max(solve.accepted_mono + age_s, now))
            return ()
        solve.pacer.unsolved(after_age_s=solve.poll_sent_age_s)
        solve.last_answer = ParsedAnswer(AnswerKind.ERROR, problem=exhausted(solve))
        solve.state, actions = step(solve.state, Event.LIFE_OVER)
        return self._inside(solve, actions, now)
