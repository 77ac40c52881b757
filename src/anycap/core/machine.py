"""The life of one solve, as a table: START HERE to understand behaviour.

The rules, in prose:

1. A solve begins QUEUED. When the guard grants a slot its INTENT is written (RECORDING) and only a durable INTENT lets
   createTask be sent (SUBMITTING). Money can be spent in SUBMITTING and nowhere else.
2. The answer decides. A task id is stored (STORING) before anything else happens, then the task is WAITING for its next
   poll or POLLING. A solution is stored (SAVING) before anybody gets it (SOLVED).
3. A request that certainly never left, or an answer that says "busy, nothing was made", goes back to QUEUED.
   An answer that may have made a task whose id nobody knows is IN_DOUBT: it is never sent again.
4. Nothing that happens to a poll loses the task. Only the vendor's word that the task is over (ENDED), or the end of the
   task's life (EXHAUSTED), makes it FAILED. Where polling cannot go on for a reason of ours (three 4xx pages in a row, an
   answer over the size limit twice, a redirect) the task is STALLED: the caller is told, the ticket stays good.
5. A caller who goes away changes nothing here. ABANDON is a wish of its own, and an unsent solve may be WITHDRAWN.

Every (state, event) pair is either in `TRANSITIONS` or impossible: `step` raises on it and a test walks all pairs. The
diagram in the docs is drawn from this table. Which event an answer is, `classify.py` says; what to send next and when,
`scheduler.py`.
"""

from enum import StrEnum


class State(StrEnum):
    """Where one solve is."""

    QUEUED = "queued"
    RECORDING = "recording"
    SUBMITTING = "submitting"
    STORING = "storing"
    WAITING = "waiting"
    POLLING = "polling"
    SAVING = "saving"
    SOLVED = "solved"
    DELIVERED = "delivered"
    FAILED = "failed"
    STALLED = "stalled"
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"


class Event(StrEnum):
    """What happened to it."""

    SLOT = "slot"
    """The guard lets it be submitted now."""
    STORED = "stored"
    """The journal holds what was to be written."""
    STORE_FAILED = "store_failed"
    """The journal could not write."""
    NOT_SENT = "not_sent"
    """No byte of the request left."""
    BUSY = "busy"
    """Answered: nothing was made, the same request may be sent later."""
    ACCEPTED = "accepted"
    DOUBTFUL = "doubtful"
    """A task may have been made, and its id is lost."""
    REFUSED = "refused"
    """Answered: nothing was made, and sending it again does not help."""
    DUE = "due"
    """Time for the next poll."""
    PROCESSING = "processing"
    POLL_LOST = "poll_lost"
    """This poll came to nothing; the task lives on."""
    READY = "ready"
    ENDED = "ended"
    """The vendor says that the task is over without a solution."""
    EXHAUSTED = "exhausted"
    """The vendor keeps the task no longer, or answers no more polls for it."""
    STUCK = "stuck"
    """Polling cannot go on, for a reason that is not the task's."""
    WANTED = "wanted"
    """A caller waits for a stalled ticket again."""
    HANDED_OVER = "delivered"
    """The caller has the solution."""
    WITHDRAWN = "withdrawn"
    """The caller gave up before anything was sent."""
    ABANDON = "abandon"
    """The caller wants no more polls for this task."""


class Action(StrEnum):
    """What the shell has to do, in order."""

    WRITE_INTENT = "write_intent"
    WRITE_NOT_CREATED = "write_not_created"
    WRITE_ACCEPTED = "write_accepted"
    WRITE_RESULT = "write_result"
    WRITE_FAILED = "write_failed"
    WRITE_IN_DOUBT = "write_in_doubt"
    WRITE_DELIVERED = "write_delivered"
    WRITE_ABANDONED = "write_abandoned"
    SEND_SUBMIT = "send_submit"
    SEND_POLL = "send_poll"
    REQUEUE = "requeue"
    PLAN_POLL = "plan_poll"
    FREE_TASK = "free_task"
    """Give the task's place in the account's window back."""
    TELL = "tell"
    """Wake whoever waits: there is a solution or an error."""


S, E, A = State, Event, Action
Step = tuple[State, tuple[Action, ...]]

TRANSITIONS: dict[State, dict[Event, Step]] = {
    S.QUEUED: {
        E.SLOT: (S.RECORDING, (A.WRITE_INTENT,)),
        E.REFUSED: (S.FAILED, (A.TELL,)),
        E.WITHDRAWN: (S.FAILED, (A.TELL,)),
        E.ABANDON: (S.FAILED, (A.TELL,)),
    },
    S.RECORDING: {
        E.STORED: (S.SUBMITTING, (A.SEND_SUBMIT,)),
        E.STORE_FAILED: (S.FAILED, (A.TELL,)),
        # The caller went away while the intent was being written: close it instead of paying for nobody.
        E.WITHDRAWN: (S.FAILED, (A.WRITE_NOT_CREATED, A.TELL)),
        E.ABANDON: (S.RECORDING, ()),
    },
    S.SUBMITTING: {
        E.ACCEPTED: (S.STORING, (A.WRITE_ACCEPTED,)),
        E.READY: (S.SAVING, (A.WRITE_ACCEPTED, A.WRITE_RESULT)),
        E.NOT_SENT: (S.QUEUED, (A.WRITE_NOT_CREATED, A.REQUEUE)),
        E.BUSY: (S.QUEUED, (A.WRITE_NOT_CREATED, A.REQUEUE)),
        E.REFUSED: (S.FAILED, (A.WRITE_NOT_CREATED, A.TELL)),
        E.DOUBTFUL: (S.IN_DOUBT, (A.WRITE_IN_DOUBT, A.TELL)),
        E.WITHDRAWN: (S.SUBMITTING, ()),
        E.ABANDON: (S.SUBMITTING, ()),
    },
    S.STORING: {
        E.STORED: (S.WAITING, (A.PLAN_POLL,)),
        # The task is paid and its id is in memory: a journal that fails now must not stop the polling.
        E.STORE_FAILED: (S.WAITING, (A.PLAN_POLL,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.FREE_TASK, A.TELL)),
    },
    S.WAITING: {
        E.DUE: (S.POLLING, (A.SEND_POLL,)),
        E.EXHAUSTED: (S.FAILED, (A.WRITE_FAILED, A.FREE_TASK, A.TELL)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.FREE_TASK, A.TELL)),
        E.WANTED: (S.WAITING, ()),
    },
    S.POLLING: {
        E.PROCESSING: (S.WAITING, (A.PLAN_POLL,)),
        E.POLL_LOST: (S.WAITING, (A.PLAN_POLL,)),
        E.READY: (S.SAVING, (A.WRITE_RESULT,)),
        E.ENDED: (S.FAILED, (A.WRITE_FAILED, A.FREE_TASK, A.TELL)),
        E.STUCK: (S.STALLED, (A.FREE_TASK, A.TELL)),
        E.WANTED: (S.POLLING, ()),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED, A.FREE_TASK, A.TELL)),
    },
    S.SAVING: {
        E.STORED: (S.SOLVED, (A.FREE_TASK, A.TELL)),
        # The solution is here and paid for: hand it over all the same.
        E.STORE_FAILED: (S.SOLVED, (A.FREE_TASK, A.TELL)),
        E.ABANDON: (S.SAVING, ()),
        E.WANTED: (S.SAVING, ()),
    },
    S.SOLVED: {
        E.HANDED_OVER: (S.DELIVERED, (A.WRITE_DELIVERED,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED,)),
        E.WANTED: (S.SOLVED, ()),
    },
    S.STALLED: {
        E.WANTED: (S.WAITING, (A.PLAN_POLL,)),
        E.ABANDON: (S.ABANDONED, (A.WRITE_ABANDONED,)),
    },
    # Ends. An answer may still come to a poll that was on its way when the task was abandoned: it is dropped.
    S.DELIVERED: {E.HANDED_OVER: (S.DELIVERED, ()), E.ABANDON: (S.DELIVERED, ()), E.WANTED: (S.DELIVERED, ())},
    S.FAILED: {E.ABANDON: (S.FAILED, ()), E.WITHDRAWN: (S.FAILED, ()), E.WANTED: (S.FAILED, ())},
    S.IN_DOUBT: {E.ABANDON: (S.IN_DOUBT, ()), E.WANTED: (S.IN_DOUBT, ())},
    S.ABANDONED: {
        E.PROCESSING: (S.ABANDONED, ()),
        E.POLL_LOST: (S.ABANDONED, ()),
        E.READY: (S.ABANDONED, ()),
        E.ENDED: (S.ABANDONED, ()),
        E.STUCK: (S.ABANDONED, ()),
        E.STORED: (S.ABANDONED, ()),
        E.STORE_FAILED: (S.ABANDONED, ()),
        E.ABANDON: (S.ABANDONED, ()),
        E.WANTED: (S.ABANDONED, ()),
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
