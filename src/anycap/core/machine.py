"""The life of one solve, as a table: START HERE to understand behaviour.

The rules, in prose:

1. A solve begins QUEUED. When the guard grants a slot its INTENT is written (RECORDING) and only a durable INTENT lets
   createTask be sent (SUBMITTING). Money can be spent in SUBMITTING and nowhere else.
2. The answer decides. A task id is stored (STORING) before anything else happens, then the task is WAITING for its next
   poll or POLLING. A solution is stored (SAVING) before anybody gets it (SOLVED).
3. A request that certainly never left, or an answer that says "busy, nothing was made", goes back to QUEUED.
   An answer that may have made a task whose id nobody knows is IN_DOUBT: it is never sent again.
4. Nothing that happens to a poll loses the task. Only the vendor's word that the task is over (TASK_ENDED), or the end of the
   task's life (LIFE_OVER), makes it FAILED. Where polling cannot go on for a reason that is not the task's (the account's
   polls have been answered by nothing but pages for a minute, an answer is over the size limit twice) the task is STALLED:
   the caller is told, the ticket stays good.
5. A caller that cancels changes nothing here. ABANDON is a wish of its own, and an unsent solve may be WITHDRAWN.

Every (state, event) pair is either in `TRANSITIONS` or impossible: `step` raises on it and a test walks all pairs. The
diagram in the docs is drawn from this table.

What is not here: which event an answer is (`classify.py`), what is sent next and when (`scheduler.py`), deadlines and several
callers of one solve (`engine/`), a new task after a failure (another solve with a ticket of its own: `new_task.py`).
"""

from enum import StrEnum

from anycap.values import members


class State(StrEnum):
    """Where one solve is."""

    QUEUED = "queued"
    """Waits for the guard; nothing has been sent, or what was sent made nothing."""
    RECORDING = "recording"
    """Its INTENT is being written."""
    SUBMITTING = "submitting"
    """createTask is on its way: the only state in which money can be spent."""
    STORING = "storing"
    """The vendor has the task; its id is being written."""
    WAITING = "waiting"
    """Paid, and not due for a poll."""
    POLLING = "polling"
    """getTaskResult is on its way."""
    SAVING = "saving"
    """The solution is being written."""
    SOLVED = "solved"
    """The solution waits for its caller."""
    DELIVERED = "delivered"
    """The caller has it."""
    FAILED = "failed"
    """It came to no solution; `Solve.last_answer` says why."""
    STALLED = "stalled"
    """Paid, and not polled for a reason that is not the task's. A caller that waits for it starts the polls again."""
    IN_DOUBT = "in_doubt"
    """A task may exist whose id nobody knows."""
    ABANDONED = "abandoned"
    """The caller wants nothing more of it."""


STATES = members(State)


class Event(StrEnum):
    """What happened to it."""

    # -- before sending
    SLOT_GRANTED = "slot_granted"
    """The guard lets it be submitted now."""
    STORED = "stored"
    """The journal holds what was to be written."""
    STORE_FAILED = "store_failed"
    """The journal could not write, or found no room for it in a budget: nothing is recorded."""
    HELD_BACK = "held_back"
    """The journal has not recorded it: the end of another task decides whether a budget has room for it."""

    # -- the answer to createTask
    NOT_SENT = "not_sent"
    """No byte of the request left."""
    BUSY = "busy"
    """Answered: nothing was made, the same request may be sent later."""
    REJECTED = "rejected"
    """Answered (or stopped here before sending): nothing was made, and sending it again does not help."""
    TASK_ID_RECEIVED = "task_id_received"
    """Answered: the task exists and is paid for; its id goes to the journal before anything else."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """A task may exist, and its id is lost. Never sent again: it could be paid for twice."""

    # -- polls
    POLL_DUE = "poll_due"
    """Time for the next poll."""
    PROCESSING = "processing"
    """Answered: still in work."""
    POLL_LOST = "poll_lost"
    """This poll came to nothing; the task lives on."""
    READY = "ready"
    """Answered with a solution; at some vendors the answer to createTask holds it."""
    TASK_ENDED = "task_ended"
    """The vendor says that the task is over without a solution."""
    LIFE_OVER = "life_over"
    """The vendor keeps the task no longer, or answers no more polls for it."""
    POLLING_STUCK = "polling_stuck"
    """Polling cannot go on, for a reason that is not the task's."""

    # -- callers
    WAITED_FOR = "waited_for"
    """A caller waits for the ticket (again)."""
    DELIVERED = "delivered"
    """The caller has the solution."""
    WITHDRAWN = "withdrawn"
    """The caller gave up before anything was sent."""
    ABANDON = "abandon"
    """The caller wants no more polls for this task."""


EVENTS = members(Event)


class Action(StrEnum):
    """What has to be done about it, in order. The journal's names are in `records.py`."""

    WRITE_INTENT = "write_intent"
    """Record that createTask is about to be sent."""
    WRITE_NOT_CREATED = "write_not_created"
    """Record that the intent came to nothing and cost nothing."""
    WRITE_ACCEPTED = "write_accepted"
    """Record the task id."""
    WRITE_RESULT = "write_result"
    """Record the answer with the solution."""
    WRITE_FAILED = "write_failed"
    """Record why the paid task came to nothing."""
    WRITE_IN_DOUBT = "write_in_doubt"
    """Record that the answer to createTask is lost."""
    WRITE_DELIVERED = "write_delivered"
    """Record that the caller has the solution: it is not handed out a second time."""
    WRITE_ABANDONED = "write_abandoned"
    """Record that nobody wants the task any more."""
    SEND_SUBMIT = "send_submit"
    """Send createTask."""
    SEND_POLL = "send_poll"
    """Send getTaskResult."""
    REQUEUE = "requeue"
    """Let it wait for another slot."""
    SCHEDULE_POLL = "schedule_poll"
    """Put its next poll into the heap of due times."""
    RELEASE_TASK_SLOT = "release_task_slot"
    """Give the task's place in the account's window back."""
    NOTIFY = "notify"
    """Wake the callers: there is a solution or an error."""


ACTIONS = members(Action)


S, E, A = State, Event, Action
Step = tuple[State, tuple[Action, ...]]

TRANSITIONS: dict[State, dict[Event, Step]] = {
    S.QUEUED: {
        E.SLOT_GRANTED: (S.RECORDING, (A.WRITE_INTENT,)),
        # No record: the journal knows nothing of a solve that was never sent, or has closed its last intent.
        E.REJECTED: (S.FAILED, (A.NOTIFY,)),
        E.WITHDRAWN: (S.FAILED, (A.NOTIFY,)),
        E.ABANDON: (S.FAILED, (A.NOTIFY,)),
    },
    S.RECORDING: {
        E.STORED: (S.SUBMITTING, (A.SEND_SUBMIT,)),
        E.STORE_FAILED: (S.FAILED, (A.NOTIFY,)),
        E.HELD_BACK: (S.QUEUED, (A.REQUEUE,)),
        # The caller cancelled while the intent was being written: close it instead of paying for nobody.
        E.WITHDRAWN: (S.FAILED, (A.WRITE_NOT_CREATED, A.NOTIFY)),
        E.ABANDON: (S.RECORDING, ()),
    },
    S.SUBMITTING: {
        E.TASK_ID_RECEIVED: (S.STORING, (A.WRITE_ACCEPTED,)),
        E.READY: (S.SAVING, (A.WRITE_ACCEPTED, A.WRITE_RESULT)),
        E.NOT_SENT: (S.QUEUED, (A.WRITE_NOT_CREATED, A.REQUEUE)),
        E.BUSY: (S.QUEUED, (A.WRITE_NOT_CREATED, A.REQUEUE)),
        E.REJECTED: (S.FAILED, (A.WRITE_NOT_CREATED, A.NOTIFY)),
        # An error beside a task id: the id is kept, because the task may be on the vendor's bill.
        E.TASK_ENDED: (S.FAILED, (A.WRITE_ACCEPTED, A.WRITE_FAILED, A.NOTIFY)),
        E.OUTCOME_UNKNOWN: (S.IN_DOUBT, (A.WRITE_IN_DOUBT, A.NOTIFY)),
        E.WITHDRAWN: (S.SUBMITTING, ()),
        E.ABANDON: (S.SUBMITTING, ()),
    },
    S.STORING: {
        E.STORED: (S.WAITING, (A.SCHEDULE_POLL,)),
        # The task is paid and its id is in memory: a journal that fails now must not stop the polling.
        E.STORE_FAILED: (S.WAITING, (A.SCHEDULE_POLL,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.RELEASE_TASK_SLOT, A.NOTIFY)),
    },
    S.WAITING: {
        E.POLL_DUE: (S.POLLING, (A.SEND_POLL,)),
        E.LIFE_OVER: (S.FAILED, (A.WRITE_FAILED, A.RELEASE_TASK_SLOT, A.NOTIFY)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.RELEASE_TASK_SLOT, A.NOTIFY)),
        E.WAITED_FOR: (S.WAITING, ()),
    },
    S.POLLING: {
        E.PROCESSING: (S.WAITING, (A.SCHEDULE_POLL,)),
        E.POLL_LOST: (S.WAITING, (A.SCHEDULE_POLL,)),
        E.READY: (S.SAVING, (A.WRITE_RESULT,)),
        E.TASK_ENDED: (S.FAILED, (A.WRITE_FAILED, A.RELEASE_TASK_SLOT, A.NOTIFY)),
        E.POLLING_STUCK: (S.STALLED, (A.RELEASE_TASK_SLOT, A.NOTIFY)),
        E.WAITED_FOR: (S.POLLING, ()),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.RELEASE_TASK_SLOT, A.NOTIFY)),
    },
    S.SAVING: {
        E.STORED: (S.SOLVED, (A.RELEASE_TASK_SLOT, A.NOTIFY)),
        # The solution is here and paid for: a journal that fails must not keep it from its caller.
        E.STORE_FAILED: (S.SOLVED, (A.RELEASE_TASK_SLOT, A.NOTIFY)),
        E.ABANDON: (S.SAVING, ()),
        E.WAITED_FOR: (S.SAVING, ()),
    },
    S.SOLVED: {
        E.DELIVERED: (S.DELIVERED, (A.WRITE_DELIVERED,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED,)),
        E.WAITED_FOR: (S.SOLVED, ()),
    },
    S.STALLED: {
        E.WAITED_FOR: (S.WAITING, (A.SCHEDULE_POLL,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED,)),
    },
    # Ends. An answer may still come to a poll that was on its way when the task was abandoned: it is dropped.
    S.DELIVERED: {E.DELIVERED: (S.DELIVERED, ()), E.ABANDON: (S.DELIVERED, ()), E.WAITED_FOR: (S.DELIVERED, ())},
    S.FAILED: {E.ABANDON: (S.FAILED, ()), E.WITHDRAWN: (S.FAILED, ()), E.WAITED_FOR: (S.FAILED, ())},
    S.IN_DOUBT: {E.ABANDON: (S.IN_DOUBT, ()), E.WAITED_FOR: (S.IN_DOUBT, ())},
    S.ABANDONED: {
        E.PROCESSING: (S.ABANDONED, ()),
        E.POLL_LOST: (S.ABANDONED, ()),
        E.READY: (S.ABANDONED, ()),
        E.TASK_ENDED: (S.ABANDONED, ()),
        E.POLLING_STUCK: (S.ABANDONED, ()),
        E.STORED: (S.ABANDONED, ()),
        E.STORE_FAILED: (S.ABANDONED, ()),
        E.ABANDON: (S.ABANDONED, ()),
        E.WAITED_FOR: (S.ABANDONED, ()),
    },
}

ENDS = frozenset({S.DELIVERED, S.FAILED, S.IN_DOUBT, S.ABANDONED})
"""States from which no task is polled any more."""


class ImpossibleTransition(Exception):
    """An event came that cannot happen in this state: a fault of this library."""


def step(state: State, event: Event) -> Step:
    """The next state and what to do on the way. Raises `ImpossibleTransition` for a pair that is not in the table."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ImpossibleTransition(f"{event} cannot happen to a solve that is {state}") from None
