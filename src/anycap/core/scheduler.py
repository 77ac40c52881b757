"""One account: which request to send next, and what its answer does. The engine and the simulator both drive this.

A scheduler composes the life of each solve (`machine.py`), the guard (`admission/guard.py`), one pacer per task type
(`polling/schedule.py`) and the heap of due times (`due_heap.py`). Time comes in as `now` (monotonic seconds), chance as a
function; no I/O.

How it is driven: `add` or `restore` a solve; `next_job(now)` says what to send (None: nothing now, look again at
`wake_at(now)` or after the next answer); report what came of it with `stored`, `submitted`, `polled`, `called` or `probed`.
These return the actions that are left for the shell (writing records, waking callers). `take_rejected` returns the solves
that were rejected before any request was sent, `take_rejected_calls` the calls.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

from anycap.core.admission.decisions import GATE_FULL, UNTIL_AN_ANSWER, Deferred, Limit
from anycap.core.admission.guard import Gate, Guard
from anycap.core.call_line import CallLine
from anycap.core.classify import submit_event
from anycap.core.due_heap import DueHeap
from anycap.core.jobs import JOB_KINDS, Call, Job
from anycap.core.machine import ACTIONS, EVENTS, STATES, TRANSITIONS, Action, Event, State, step
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.poll_answers import PollAnswers, still_in_work
from anycap.core.polling.callback_trust import PER_TASK_MAX, CallbackTrust
from anycap.core.polling.page_patience import page_stretch
from anycap.core.polling.poll_lateness import PollLateness
from anycap.core.polling.schedule import Pacer
from anycap.core.solve import Priority, Solve
from anycap.core.task_end import exhausted, took_s
from anycap.core.vendor_limits import Timing
from anycap.core.waiting_line import NOT_HELD, WaitingLine, reject
from anycap.settings import Polling
from anycap.taxonomy import Category, Code, Scope

REPEAT_DELAY_S = 0.5
"""Wait before a request that never left is tried again; doubles with each attempt of the same solve. A lost packet or a
restarting proxy is over in that time."""
REPEAT_DELAY_MAX_S = 30.0
SUBMIT_SHARE = 0.75
"""Part of the gate that createTask requests may fill: a vendor that hangs on them must not keep polls from going out."""
CALL_SHARE = 0.25
"""Part of the gate that other methods may fill: they go first, and must not keep paid tasks from being polled."""
STALE_RECHECK_S = 1.0
"""A task that the vendor may have dropped asks again after so long, at most ten times so long, when it was held."""
POLLED_TOO_FAST_S = 2.0
"""How much longer gaps get when the vendor says that a task is polled too fast and names no wait: CapMonster's minimum."""
BUDGET_RECHECK_S = 1.0
"""A task of unknown price that waits for another one's end looks again so often: that may end in another process."""
DEFAULT_POLL_GAP_S = 3.0
"""Gap between polls before any task type is known: what most vendors advise."""

_OWN_ACTIONS = frozenset({Action.SCHEDULE_POLL, Action.REQUEUE, Action.RELEASE_TASK_SLOT})
"""Done here; the others are the shell's."""
_PARTED = {
    actions: (
        tuple(action for action in actions if action in _OWN_ACTIONS),
        tuple(action for action in actions if action not in _OWN_ACTIONS),
    )
    for of in TRANSITIONS.values() for _, actions in of.values() if not _OWN_ACTIONS.isdisjoint(actions)
}  # fmt: skip
"""Ours and the shell's, for every step with actions of ours."""
_WITH_TASK_SLOT = frozenset({State.STORING, State.WAITING, State.POLLING, State.SAVING})


class AccountScheduler:
    """The work of one account, in order: what may be sent now, and what is due when."""

    def __init__(self, name: str, guard: Guard, gate: Gate, polling: Polling, *, chance: Callable[[], float]) -> None:
        self.name = name
        self.guard = guard
        self.pacers: dict[str, Pacer] = {}
        """The poll schedules by the vendor's task type; made once and shared, because they learn."""
        self.waits_for_price: Callable[[str], bool] | None = None
        """With a budget: whether a task of this type has to wait until another one has taught what it costs."""
        self._gate = gate
        self._polling = polling
        self._chance = chance

        # -- what waits
        # By task type, and repeats apart from first submits: a repeat that waits for a token must hold nobody else.
        self._lines: dict[tuple[str, bool], WaitingLine] = {}
        self._places = itertools.count(1)
        self._queued = 0
        # Whether priorities were ever given: else task types simply take turns.
        self._by_rank = False
        self._call_lines: dict[str, CallLine] = {}
        # Tasks that wait for a poll, and solves that wait before they are tried again.
        self._schedule = DueHeap()
        self._rejected: list[Solve] = []
        self._rejected_calls: list[Call] = []

        # -- what is on its way
        self._in_progress = 0
        self._submits = 0
        self._calls = 0
        # The method of the probe in flight: until it is answered no submit can be admitted.
        self._probing: str | None = None

        # -- polls
        # Whether a line or the polls may be held for an answer or a slot: else there is nothing to release.
        self._held = False
        # Polls are held until then; why, in `_poll_deferral`.
        self._polls_held_until = NOT_HELD
        self._poll_deferral: Deferred | None = None
        # Submits and polls take turns: also as the probe of a failing vendor, where one dead task must not be all of them.
        self._poll_turn = False
        # The shortest usual gap of any task type seen so far: lateness is measured against the busiest of them.
        self._poll_gap_s = DEFAULT_POLL_GAP_S
        self._lateness = PollLateness()
        self._callbacks = CallbackTrust()
        self._answers = PollAnswers(polling.page_patience_s)

        self.poll_stretch = 1.0
        """Gaps between polls are so many times as long: while a shared journal cannot say whether the tasks are still ours."""

        # As `next_job` has last found it; and whether the gate was full after that.
        self._limit = gate.limit(0)
        self._gate_was_full = False

    # -- what there is

    @property
    def in_progress(self) -> int:
        """HTTP requests without an answer."""
        return self._in_progress

    @property
    def queued(self) -> int:
        """Solves that wait for a slot."""
        return self._queued

    @property
    def planned(self) -> int:
        """Tasks that wait for their next poll (and solves that wait to be tried again)."""
        return len(self._schedule)

    def pacer(self, vendor_type: str, timing: Timing) -> Pacer:
        """The poll schedule of a task type."""
        pacer = self.pacers.get(vendor_type)
        if pacer is None:
            pacer = self.pacers[vendor_type] = Pacer(timing, self._polling)
            # A tenth of a second at least: it is divided by.
            self._poll_gap_s = min(self._poll_gap_s, max(pacer.gap_s, 0.1))
        return pacer

    def held_back(self, now: float) -> Iterator[tuple[str, int, Deferred]]:
        """What waits and why: a task type, a method or "polls", how many, and the deferral. For `health()`."""
        for (task_type, _), line in self._lines.items():
            deferral = self._why_held(line, now)
            if len(line) and deferral is not None:
                yield task_type, len(line), deferral
        if self._poll_deferral is not None and self._polls_held_until > now and len(self._schedule):
            yield "polls", len(self._schedule), self._poll_deferral

    def has_queue(self, task_type: str) -> bool:
        """Whether createTasks of this type wait here, whatever for: the guard, the gate, their turn."""
        return any(line for (name, _), line in self._lines.items() if name == task_type)

    def why_queued(self, solve: Solve, now: float) -> Deferred | None:
        """What holds an unsent solve; None when it is about to be sent, or waits to be tried again."""
        line = self._lines.get((solve.task_type, solve.is_repeat))
        return None if line is None or not solve.place else self._why_held(line, now)

    def _why_held(self, line: WaitingLine, now: float) -> Deferred | None:
        if line.held_until > now:
            return line.deferral
        if self.waits_for_price is not None and (head := line.head()) and self.waits_for_price(head.task_type):
            return _held_by_budget(now)
        return GATE_FULL if self._in_progress >= self._limit or not self._may_submit() else None

    # -- what comes in

    def add(self, solve: Solve, now: float) -> None:
        """Queue a new solve."""
        solve.take_rank(now)
        self._by_rank = self._by_rank or solve.priority is not Priority.NORMAL
        self._queue(solve, now)

    def add_call(self, call: Call) -> None:
        """Queue a call."""
        line = self._call_lines.get(call.method)
        if line is None:
            line = self._call_lines[call.method] = CallLine()
        line.put(call)

    def restore(self, solve: Solve, now: float, *, age_s: float, backlog: int) -> None:
        """Take up a task that an earlier process left, accepted `age_s` ago, one of `backlog` such tasks."""
        solve.state = STATES.WAITING
        solve.accepted_mono = now - age_s
        solve.polls = solve.pacer.polls_before(age_s)
        # Past the guard: the task exists and is paid for, so a full window is no reason not to poll it.
        self.guard.task_restored(now, solve.task_type)
        self._schedule.put(solve, solve.accepted_mono + solve.pacer.resume_age_s(age_s, self._chance(), backlog))

    def restore_solved(self, solve: Solve) -> None:
        """Take up a solved task whose solution nobody has fetched yet."""
        solve.state = STATES.SOLVED

    # -- what to send

    def next_job(self, now: float) -> Job | None:
        """What to send now; None when nothing may or need be sent. Counts the request as sent."""
        # What is queued will be polled, too: a gate for the tasks of now alone would let a long queue in bit by bit.
        limit = self._limit = self._gate.limit(len(self._schedule) + self._queued)
        if self._in_progress >= limit:
            return None
        if self._call_lines:
            job = self._next_call(now)
            if job is not None:
                return job
        may_submit = self._may_submit()
        if self._poll_turn or not may_submit:
            return self._next_poll(now) or (self._next_submit(now) if may_submit else None)
        return self._next_submit(now) or self._next_poll(now)

    def wake_at(self, now: float) -> float:
        """When to call `next_job` again if nothing is answered before; `math.inf`: only after an answer."""
        if self._in_progress >= self._limit:
            self._gate_was_full = True
            return math.inf
        soonest = math.inf
        due = self._schedule.next_due()
        if due is not None:
            soonest = max(due, self._polls_held_until)
        for call_line in self._call_lines.values():
            if call_line.head() is not None and self._may_call():
                soonest = min(soonest, max(call_line.held_until, now))
        if self._probing is not None:
            return soonest
        if not self._may_submit():
            self._gate_was_full = self._queued > 0  # for createTask
            return soonest
        if self._queued:
            for line in self._lines.values():
                if len(line):
                    soonest = min(soonest, max(line.held_until, now))
        return soonest

    def _may_submit(self) -> bool:
        # At least one: a gate of one would otherwise never submit.
        return self._submits < max(self._limit * SUBMIT_SHARE, 1)

    def _may_call(self) -> bool:
        return self._calls < max(self._limit * CALL_SHARE, 1)

    def _next_poll(self, now: float) -> Job | None:
        if self._polls_held_until > now:
            return None
        schedule = self._schedule
        while (next_one := schedule.pop(now)) is not None:
            due, solve = next_one
            if solve.state is STATES.QUEUED:
                self._queue(solve, now)
                continue
            stale = solve.pacer.may_be_gone(now - solve.accepted_mono, solve.processing_age_s)
            admission = self.guard.admit_poll(now, solve.task_type, stale=stale)
            if not isinstance(admission, Deferred):
                return self._poll(solve, now, late_s=now - due, stale=stale)
            if stale and not isinstance(self.guard.admit_poll(now, solve.task_type), Deferred):
                # Only tasks that may be dead are held: they must not stand in the way of the living.
                recheck_at = min(admission.until, now + 10 * STALE_RECHECK_S)
                schedule.put(solve, max(now + STALE_RECHECK_S, recheck_at))
                continue
            schedule.put(solve, due)
            self._held, self._polls_held_until, self._poll_deferral = True, admission.until, admission
            return None if admission.probe is None else self._probe(admission.probe, now)
        return None

    def _poll(self, solve: Solve, now: float, *, late_s: float, stale: bool) -> Job:
        self.guard.poll_sent(now, solve.task_type, stale=stale)
        self._poll_turn = False
        self._in_progress += 1
        self._lateness.sent(late_s)
        solve.state, _ = step(solve.state, EVENTS.POLL_DUE)
        solve.poll_sent_age_s = now - solve.accepted_mono
        solve.polls += 1
        solve.callback_pending = False
        return Job(JOB_KINDS.POLL, solve)

    def _next_submit(self, now: float) -> Job | None:
        if self._probing is not None or not self._queued:
            return None
        lines = self._lines.items() if not self._by_rank or len(self._lines) == 1 else self._lines_by_rank()
        for key, line in lines:
            if line.held_until > now:
                continue
            job = self._first_admitted(line, now)
            if job is not None:
                if job.kind is JOB_KINDS.SUBMIT and len(self._lines) > 1:
                    # Let the other task types go first next time.
                    self._lines[key] = self._lines.pop(key)
                return job
        return None

    def _lines_by_rank(self) -> list[tuple[tuple[str, bool], WaitingLine]]:
        """The lines, the one with the best rank at its head first; of equals, the one that has not had a turn for longest."""
        heads = [(head.rank, item) for item in self._lines.items() if (head := item[1].head()) is not None]
        return [item for _, item in sorted(heads, key=lambda pair: pair[0])]

    def _first_admitted(self, line: WaitingLine, now: float) -> Job | None:
        while (solve := line.head()) is not None and line.held_until <= now:
            if self.waits_for_price is not None and self.waits_for_price(solve.task_type):
                self._hold(line, _held_by_budget(now))
                return None
            admission = self.guard.admit_submit(now, solve.task_type, repeat=solve.is_repeat, proxy=solve.proxy)
            if not isinstance(admission, Deferred):
                line.take(solve)
                self._queued -= 1
                return self._submit(solve, now)
            if admission.probe is not None:
                return self._probe(admission.probe, now)
            problem = admission.problem
            if problem is not None and problem.row.scope is Scope.PROXY:
                # The solves behind it have other proxies.
                line.take(solve)
                self._queued -= 1
                reject(solve, admission, late=False)
                self._rejected.append(solve)
                continue
            self._hold(line, admission)
        return None

    def _submit(self, solve: Solve, now: float) -> Job:
        self.guard.submit_sent(now, solve.task_type, repeat=solve.is_repeat, proxy=solve.proxy)
        self._poll_turn = True
        self._in_progress += 1
        self._submits += 1
        solve.submitted_mono = now
        solve.attempts += 1
        solve.state, _ = step(solve.state, EVENTS.SLOT_GRANTED)
        return Job(JOB_KINDS.SUBMIT, solve)

    def _next_call(self, now: float) -> Job | None:
        if not self._may_call():
            return None
        for line in self._call_lines.values():
            while line.held_until <= now and (call := line.head()) is not None:
                admission = self.guard.admit_call(now, call.method)
                if not isinstance(admission, Deferred):
                    line.take()
                    # Counted as it is admitted: a hundred calls in one turn of the loop must not all find the door open.
                    self.guard.call_sent(now, call.method)
                    self._in_progress += 1
                    self._calls += 1
                    return Job(JOB_KINDS.CALL, None, call.method, call)
                self._rejected_calls += line.defer(admission)
        return None

    def _probe(self, method: str, now: float) -> Job:
        self._probing = method
        self._in_progress += 1
        self.guard.probe_sent(now, method)
        return Job(JOB_KINDS.PROBE, None, method)

    @property
    def has_rejected(self) -> bool:
        """Whether `take_rejected` or `take_rejected_calls` has any."""
        return bool(self._rejected or self._rejected_calls)

    def take_rejected(self) -> list[Solve]:
        """Solves that were rejected here since the last call: `deferral` says why, `rejected_as_too_late` that time did."""
        rejected = self._rejected
        if rejected:
            self._rejected = []
        return rejected

    def take_rejected_calls(self) -> list[Call]:
        """Calls that were rejected here since the last call: `deferral` says why."""
        rejected = self._rejected_calls
        if rejected:
            self._rejected_calls = []
        return rejected

    # -- what came of it

    def stored(self, solve: Solve, now: float, *, ok: bool = True) -> tuple[Action, ...]:
        """The journal has written what the last actions asked for, or could not."""
        before = solve.state
        if before is STATES.RECORDING and (not ok or solve.caller_gave_up):
            self._in_progress -= 1
            self._submits -= 1
            self.guard.submit_unsent(now, solve.task_type)
            self._release(slot_may_be_free=True)
            solve.state, actions = step(before, EVENTS.WITHDRAWN if ok else EVENTS.STORE_FAILED)
            return actions
        solve.state, actions = step(before, EVENTS.STORED if ok else EVENTS.STORE_FAILED)
        if before is STATES.STORING and solve.abandon_requested:
            solve.state, actions = step(STATES.STORING, EVENTS.ABANDON)
        return self._do_own(solve, actions, now)

    def over_budget(self, solve: Solve, now: float, *, waits: bool) -> tuple[Action, ...]:
        """The journal found no room for it in a budget; `waits`: the end of another task decides whether there is any."""
        self._in_progress -= 1
        self._submits -= 1
        solve.attempts -= 1
        self.guard.submit_unsent(now, solve.task_type)
        self._release(slot_may_be_free=True)
        if not waits or solve.caller_gave_up:
            solve.state, actions = step(solve.state, EVENTS.STORE_FAILED)
            return actions
        self._hold(self._lines[solve.task_type, solve.is_repeat], _held_by_budget(now))
        solve.state, actions = step(solve.state, EVENTS.HELD_BACK)
        return self._do_own(solve, actions, now)

    def without_slot(self, solve: Solve, now: float, deferral: Deferred) -> tuple[Action, ...]:
        """The fleet has no slot for it now, or its store does not answer: nothing was written, and it waits on."""
        self._in_progress -= 1
        self._submits -= 1
        solve.attempts -= 1
        self.guard.submit_unsent(now, solve.task_type)
        self._release(slot_may_be_free=True)
        if solve.caller_gave_up:
            solve.state, actions = step(solve.state, EVENTS.STORE_FAILED)
            return actions
        self._hold(self._lines[solve.task_type, solve.is_repeat], deferral)
        solve.state, actions = step(solve.state, EVENTS.HELD_BACK)
        return self._do_own(solve, actions, now)

    def submitted(self, solve: Solve, parsed: ParsedAnswer, now: float) -> tuple[Action, ...]:
        """createTask was answered, or was not."""
        self._count_answer(now, now - solve.submitted_mono)
        self._submits -= 1
        parsed = self.guard.judge_page(now, parsed)
        first = solve.attempts == 1 and not solve.is_repeat
        self.guard.submit_answered(now, solve.task_type, parsed, proxy=solve.proxy, first=first)
        self._release(slot_may_be_free=True)
        event = submit_event(parsed, wait_when_blocked=solve.wait_policy is True)
        solve.task_id = parsed.task_id
        if event is EVENTS.TASK_ID_RECEIVED or event is EVENTS.READY:
            solve.accepted_mono = now
            solve.last_answer = None
            if event is EVENTS.READY:
                solve.body, solve.took_s = parsed.body, took_s(parsed.body)
            else:
                solve.body = None
        else:
            solve.last_answer = parsed
            event = self._unless_unwanted(solve, event, parsed, now)
        solve.state, actions = step(solve.state, event)
        return self._do_own(solve, actions, now)

    def _unless_unwanted(self, solve: Solve, event: Event, parsed: ParsedAnswer, now: float) -> Event:
        """The event of a createTask that may be sent again, or the end of it where nobody wants that."""
        if event is EVENTS.NOT_SENT:
            solve.is_repeat = True
            solve.unsent += 1
        elif event is EVENTS.BUSY:
            # A busy answer made nothing: coming again is no retry. A failing service is one.
            solve.is_repeat = parsed.problem is not None and parsed.problem.category is Category.SERVICE
            if solve.wait_policy is False or now >= solve.patient_until:
                return EVENTS.REJECTED
        # Where another account could take it, a request that never left and a service that is down end it here at once.
        elsewhere = (
            solve.may_go_elsewhere and solve.is_repeat and (event is EVENTS.NOT_SENT or not solve.is_last_attempt)
        )
        if (solve.caller_gave_up or elsewhere) and event in (EVENTS.NOT_SENT, EVENTS.BUSY):
            return EVENTS.REJECTED
        return event

    def poll_leaves(self, solve: Solve, now: float) -> None:
        """A poll that had to wait since it was due leaves now: the next one's gap counts from here."""
        solve.poll_sent_age_s = now - solve.accepted_mono

    def polled(self, solve: Solve, parsed: ParsedAnswer, now: float) -> tuple[Action, ...]:
        """getTaskResult was answered, or was not."""
        solve.poll_ended_age_s = now - solve.accepted_mono
        self._count_answer(now, solve.poll_ended_age_s - solve.poll_sent_age_s)
        pacer = solve.pacer
        stale = pacer.may_be_gone(solve.poll_sent_age_s, solve.processing_age_s)
        self.guard.poll_answered(now, solve.task_type, parsed, proxy=solve.proxy, stale=stale)
        self._release(slot_may_be_free=False)
        event = self._answers.event_of(solve, parsed, now)
        if event is EVENTS.PROCESSING:
            still_in_work(solve, parsed, now)
        elif event is EVENTS.READY:
            solve.last_answer = None
            if solve.callback_url is not None:
                self._callbacks.ready(callbacks=solve.callbacks_used)
            solve.body, solve.took_s = parsed.body, took_s(parsed.body)
            pacer.solved(after_age_s=solve.processing_age_s, by_age_s=solve.poll_sent_age_s, exact_age_s=solve.took_s)
        else:
            solve.last_answer = parsed
            problem = parsed.problem
            if problem is not None and problem.code is Code.POLLED_TOO_FAST:
                solve.extra_gap_s += problem.row.retry_after or POLLED_TOO_FAST_S
        solve.state, actions = step(solve.state, event)
        return self._do_own(solve, actions, now)

    def called(self, call: Call, parsed: ParsedAnswer, now: float, *, rtt_s: float) -> None:
        """A call was answered, or was not."""
        self._count_answer(now, rtt_s)
        self._calls -= 1
        self.guard.call_answered(now, call.method, parsed)
        self.look_again()

    def probed(self, parsed: ParsedAnswer, now: float, *, rtt_s: float) -> None:
        """A probe of the account was answered; the guard has been told by the caller what the balance is."""
        method, self._probing = self._probing, None
        self._count_answer(now, rtt_s)
        self.guard.call_answered(now, method or "", parsed)
        self.look_again()

    def _count_answer(self, now: float, rtt_s: float) -> None:
        self._in_progress -= 1
        self._gate.answered(now, rtt_s, full=self._gate_was_full)
        self._gate_was_full = False

    # -- callers

    def withdraw(self, solve: Solve, now: float) -> tuple[Action, ...]:
        """The caller is gone, or its time is up: send nothing if nothing was sent yet."""
        solve.caller_gave_up = True
        if solve.state is not STATES.QUEUED:
            return ()
        self._leave_queue(solve, now)
        solve.state, actions = step(solve.state, EVENTS.WITHDRAWN)
        return actions

    def abandon(self, solve: Solve, now: float) -> tuple[Action, ...]:
        """The caller wants nothing more of this task: no more polls. What was sent is not called back."""
        solve.caller_gave_up = True
        solve.abandon_requested = True
        before = solve.state
        if before is STATES.RECORDING or before is STATES.STORING:
            return ()
        if before is STATES.QUEUED:
            self._leave_queue(solve, now)
        solve.state, actions = step(before, EVENTS.ABANDON)
        return self._do_own(solve, actions, now)

    def disown(self, solve: Solve, now: float) -> None:
        """Another process has the task now: it is polled there, and nothing of it is written here."""
        if solve.state is STATES.QUEUED:
            self._leave_queue(solve, now)
        self._schedule.drop(solve)
        if solve.state in _WITH_TASK_SLOT:
            self.guard.task_ended(solve.task_type)
            self._release(slot_may_be_free=True)
        solve.abandon_requested = True
        solve.state = STATES.ABANDONED

    def waited_for(self, solve: Solve, now: float) -> None:
        """Somebody waits for this ticket (again): a stalled one is polled again, a rarely polled one as usual."""
        solve.state, actions = step(solve.state, EVENTS.WAITED_FOR)
        if ACTIONS.SCHEDULE_POLL in actions:
            self._answers.begin_anew(solve)
            self.guard.task_restored(now, solve.task_type)
            self._schedule.put(solve, max(self._soonest(solve), now + self._poll_gap_s * self._chance()))
        elif solve.usual_due >= 0.0 and solve.state is STATES.WAITING:
            self._schedule.put(solve, min(solve.due, max(solve.usual_due, now)))

    def callback_received(self, solve: Solve, now: float) -> bool:
        """The vendor says that the task is done: poll as soon as its minimum gap allows. False: nothing to be done."""
        if solve.callbacks_used >= PER_TASK_MAX:
            return False
        if solve.state is STATES.WAITING and not solve.callback_pending:
            due = max(self._soonest(solve), now)
            if due >= solve.due >= 0.0:
                return False
            self._schedule.put(solve, due)
        elif solve.state not in (STATES.SUBMITTING, STATES.STORING, STATES.POLLING) or solve.callback_pending:
            return False
        solve.callbacks_used += 1
        solve.callback_pending = True
        return True

    def delivered(self, solve: Solve) -> tuple[Action, ...]:
        """The caller has the solution."""
        solve.state, actions = step(solve.state, EVENTS.DELIVERED)
        return actions

    def reset(self, now: float) -> None:
        """Lift every stop and cool-down of the account: the user says that the cause is mended."""
        self.guard.reset(now)
        self.look_again()

    def look_again(self) -> None:
        """Something that concerns all requests changed (a key, a top-up): ask the guard again about everything."""
        self._release(slot_may_be_free=True)
        self._polls_held_until = NOT_HELD
        for line in self._call_lines.values():
            line.held_until = NOT_HELD

    # -- inside

    def _queue(self, solve: Solve, now: float, *, first: bool = False) -> None:
        key = (solve.task_type, solve.is_repeat)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = WaitingLine(self._places)
        if line.put(solve, now, first=first):
            self._queued += 1
        else:
            self._rejected.append(solve)

    def _hold(self, line: WaitingLine, deferral: Deferred) -> None:
        """Hold a line; what does not wait for that is rejected."""
        self._held = True
        rejected = line.defer(deferral)
        self._queued -= len(rejected)
        self._rejected += rejected

    def _leave_queue(self, solve: Solve, now: float) -> None:
        """Take a solve out of where it waits, and note what it waited for."""
        solve.deferral = deferral = self.why_queued(solve, now)
        if deferral is not None and deferral.problem is not None and solve.last_answer is None:
            solve.last_answer = ParsedAnswer(AnswerKind.ERROR, problem=deferral.problem)
        if solve.place:
            self._lines[solve.task_type, solve.is_repeat].take(solve)
            self._queued -= 1
        else:
            self._schedule.drop(solve)

    def _release(self, *, slot_may_be_free: bool) -> None:
        """Let what is held ask the guard again.

        Every answer releases what waited for one. An answered submit and an ended task can also free a slot, so
        then the submits that wait for a time may ask as well. A poll frees none.
        """
        if not self._held and not self._call_lines:
            return
        for line in self._lines.values():
            if slot_may_be_free or line.held_until == UNTIL_AN_ANSWER:
                line.held_until = NOT_HELD
        self._held = not slot_may_be_free
        for call_line in self._call_lines.values():
            if call_line.held_until == UNTIL_AN_ANSWER:
                call_line.held_until = NOT_HELD
        if self._polls_held_until == UNTIL_AN_ANSWER:
            self._polls_held_until = NOT_HELD

    def _do_own(self, solve: Solve, actions: tuple[Action, ...], now: float) -> tuple[Action, ...]:
        """Do the actions that are ours; hand the rest on."""
        parted = _PARTED.get(actions)
        if parted is None:
            return actions
        own, others = parted
        for action in own:
            if action is ACTIONS.SCHEDULE_POLL:
                others += self._schedule_poll(solve, now)
            elif action is ACTIONS.REQUEUE:
                self._requeue(solve, now)
            else:  # RELEASE_TASK_SLOT
                self._schedule.drop(solve)
                self.guard.task_ended(solve.task_type)
                self._release(slot_may_be_free=True)
        return others

    def _requeue(self, solve: Solve, now: float) -> None:
        if solve.is_repeat:
            delay_s = min(REPEAT_DELAY_S * 2 ** min(solve.attempts - 1, 10), REPEAT_DELAY_MAX_S)
            # Half of it fixed, half by chance: those that failed together do not come back together.
            self._schedule.put(solve, now + delay_s * (0.5 + self._chance() / 2))
        else:
            self._queue(solve, now, first=True)

    def _soonest(self, solve: Solve) -> float:
        """The earliest moment at which the vendor lets the task be asked about."""
        age_s = solve.pacer.soonest_age_s(ended_age_s=solve.poll_ended_age_s if solve.polls else None)
        return solve.accepted_mono + age_s

    def _schedule_poll(self, solve: Solve, now: float) -> tuple[Action, ...]:
        stretch = 1.0
        if solve.polls == 0:
            age_s: float | None = solve.pacer.first_age_s(self._chance())
        else:
            stretch = self._lateness.stretch(self._poll_gap_s) * self.poll_stretch
            rarer = 1.0 if solve.callback_url is None else self._callbacks.stretch()
            age_s = solve.pacer.next_age_s(
                sent_age_s=solve.poll_sent_age_s,
                ended_age_s=solve.poll_ended_age_s,
                polls=solve.polls,
                stretch=stretch * rarer * page_stretch(solve.pages_in_a_row),
                widen_s=solve.extra_gap_s,
            )
        if age_s is None:
            solve.last_answer = ParsedAnswer(AnswerKind.ERROR, problem=exhausted(solve))
            solve.state, actions = step(solve.state, EVENTS.LIFE_OVER)
            return self._do_own(solve, actions, now)
        # Without the stretch: a gate that is too small must not take the rarer polls for less work.
        self._gate.planned((age_s - solve.poll_sent_age_s) / stretch)
        solve.usual_due = -1.0
        if solve.polls and not solve.callers:
            unwatched_age_s = solve.pacer.unwatched_age_s(age_s, sent_age_s=solve.poll_sent_age_s)
            if unwatched_age_s > age_s:
                solve.usual_due, age_s = solve.accepted_mono + age_s, unwatched_age_s
        if solve.callback_pending:
            # The callback came while the request was on its way.
            age_s = min(age_s, self._soonest(solve) - solve.accepted_mono)
        self._schedule.put(solve, max(solve.accepted_mono + age_s, now))
        return ()


def _held_by_budget(now: float) -> Deferred:
    """Looked at again soon, and at every end of a task: no deadline is hopeless because of it."""
    return Deferred(now + BUDGET_RECHECK_S, Limit.BUDGET, maybe_sooner=True)
