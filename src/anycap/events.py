"""Events for logs, metrics and traces: sent after the journal has the fact, and never able to hurt a solve.

Every kind has a class whose fields carry what a metric needs, so that no hook has to remember anything by ticket id. A hook
gets one event at a time, in order, on the client's event loop; what it raises is logged and dropped. Which events are made
is decided in `engine/event_emitter.py`; what is logged without any hook, in `engine/event_log.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from inspect import iscoroutinefunction
from typing import Any, Protocol, runtime_checkable

from attrs import fields

from anycap.errors import ConfigurationError
from anycap.taxonomy import Charged
from anycap.tickets import Ticket
from anycap.values import members, statically_frozen

logger = logging.getLogger("anycap.events")


class EventKind(StrEnum):
    """What happened. The class of each kind is `CLASS_OF[kind]`."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    """createTask is about to be sent."""
    ACCEPTED = "accepted"
    """The vendor made the task, and the journal has its id."""
    REQUEUED = "requeued"
    """Nothing was made (busy, or the request never left); the solve is in the queue again."""
    POLLED = "polled"
    """A poll was answered."""
    POLL_LOST = "poll_lost"
    """A poll came to nothing; the task lives on."""
    SOLVED = "solved"
    """The solution is here and in the journal."""
    DELIVERED = "delivered"
    """A caller has the solution."""
    FAILED = "failed"
    STALLED = "stalled"
    """Polling pauses until a caller asks again; the task is still paid for."""
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"
    RESUMED = "resumed"
    """The task of an earlier process is polled again."""
    ROUTED = "routed"
    """An account was chosen among several for an attempt; `ticket` is the attempt's."""
    FAILOVER = "failover"
    """The solve goes on at another account; `ticket` is the one that is left behind."""
    REQUEST = "request"
    """One HTTP request to a vendor came to its end, answered or not."""
    CHARGED = "charged"
    """Money was taken, or may have been: once for each task that was, or may have been, paid for."""
    REPORTED = "reported"
    REPORT_MAY_NOT_COUNT = "report_may_not_count"
    """The vendor ignores reports of accounts with too few tasks. Those of other processes, and of earlier ones, are not
    known here."""
    ACCOUNT_STATE = "account_state"
    """A stop or cool-down of an account began or ended."""
    JOURNAL_TROUBLE = "journal_trouble"
    """The journal could not be written; `error` is the exception's class. It is tried again."""
    WARNING = "warning"


EVENT_KINDS = members(EventKind)


@statically_frozen(slots=False)
class Event:
    """One thing that happened: the fields that every kind has.

    `error` is a shared code, the kind of a network failure, the name of an exception class of anycap's, or `cancelled`. It
    never holds a vendor's words. Nothing in an event is a secret.
    """

    kind: EventKind
    at: float
    """Wall seconds since the epoch. For people: measure with the durations, which come from a clock that nobody sets."""
    account: str
    """The account's name; empty where the whole client is concerned."""
    provider: str = ""
    ticket: Ticket | None = None
    error: str | None = None

    @property
    def type(self) -> str | None:
        """The challenge's type, such as `RecaptchaV2`; None without a ticket."""
        return None if self.ticket is None else self.ticket.type

    @property
    def tag(self) -> str | None:
        """The ticket's tag: what the caller said the task is for; None without one."""
        return None if self.ticket is None else self.ticket.tag

    @property
    def data(self) -> Mapping[str, object]:
        """The fields that only this kind of event has, by name."""
        return {each.name: getattr(self, each.name) for each in fields(type(self)) if each.name not in _COMMON}


_COMMON = frozenset(each.name for each in fields(Event))


@statically_frozen(slots=False)
class SolveEvent(Event):
    """A step in the life of one ticket: queued, submitting, accepted, requeued, polled, poll_lost, solved, delivered, failed,
    stalled, in_doubt, abandoned, resumed. Durations are seconds of the monotonic clock, None until known, and None for what
    an earlier process did.
    """

    attempts: int = 0
    """createTask requests sent for this ticket so far."""
    polls: int = 0
    """getTaskResult requests sent for it so far."""
    queued_s: float | None = None
    """From the call to the moment at which the last createTask was allowed to go; while it waits: so far."""
    submit_s: float | None = None
    """From then to the answer that brought the task id, the writing of the intent included."""
    solve_s: float | None = None
    """From that answer to the answer that brought the solution or the failure."""
    notice_s: float | None = None
    """How long after the task's end its solution was noticed, where the vendor says how long the task took."""
    http_status: int | None = None
    """Of the answer behind `error`, where it came by HTTP."""
    vendor_code: str | None = None
    """The vendor's own code behind `error`, as it came: of unbounded variety, and not printable for certain."""
    follows: str | None = None
    """The ticket id of the attempt before this one, where the same call of yours made one: a failover, or a new task."""
    cause: str | None = None
    """What a solve that ran out of time, or was cancelled in the queue, was waiting on, in the words of `error`; "journal" where
    that was being written."""


@statically_frozen(slots=False)
class RequestEvent(Event):
    """One HTTP request: createTask, getTaskResult, getBalance or any other method. `error` where there was one."""

    method: str = ""
    outcome: str = ""
    """`accepted`, `ready`, `processing`, `done`, `error`, `lost` or `redirect`."""
    duration_s: float = 0.0
    """From handing it to the transport to the end of the answer, by the monotonic clock."""
    delivery: str = "answered"
    """`answered`, `not_sent`, or `maybe_sent`: how far the request got."""
    http_status: int | None = None
    """None when no answer came."""
    vendor_code: str | None = None
    """As in `SolveEvent`."""


@statically_frozen(kw_only=True, slots=False)
class ChargeEvent(Event):
    """charged: what one task cost."""

    charged: Charged
    """`yes`, or `unknown` where nobody says."""
    amount: Decimal | None = None
    """None where the vendor does not say."""
    currency: str
    """`USD`, `points`, ..."""


@statically_frozen(kw_only=True, slots=False)
class RoutedEvent(Event):
    """routed: which account was chosen where there was a choice, and why the ones before it were not."""

    passed_over: tuple[str, ...] = ()
    """Each written `account: why`, as in `anti-captcha: no_funds`: the shared code of a stop, `busy`, or why routing left it
    out (`cannot_encode`, `over_budget`, `over_max_cost`, `same_vendor`, `tried`)."""


@statically_frozen(kw_only=True, slots=False)
class FailoverEvent(Event):
    """failover: `error` is what the account that is left behind came to."""

    waited_s: float | None = None
    """Where that account was only busy: how long it was waited for."""


@statically_frozen(kw_only=True, slots=False)
class ReportEvent(Event):
    """reported: the vendor has taken a report about a solution."""

    correct: bool


@statically_frozen(kw_only=True, slots=False)
class ReportVolumeEvent(Event):
    """report_may_not_count: reports count only from accounts with `needed` tasks in `window_s` seconds."""

    tasks: int
    """Tasks of these types that this client was given in that time."""
    needed: int
    window_s: float


@statically_frozen(kw_only=True, slots=False)
class AccountEvent(Event):
    """account_state: each stop is written `what it covers: shared code`, as in `account: invalid_key`."""

    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    """All that hold now."""
    found_here: bool = True
    """Whether an answer to a request of this account in this process is behind it. False: another process of the machine or
    the fleet has found it, or another account at the same address; or it was lifted (by `reset`, with another key), or is long
    over."""


@statically_frozen(kw_only=True, slots=False)
class WarningEvent(Event):
    """warning: something that the user should know and that is no error."""

    warning: str


CLASS_OF: Mapping[EventKind, type[Event]] = {
    EventKind.QUEUED: SolveEvent,
    EventKind.SUBMITTING: SolveEvent,
    EventKind.ACCEPTED: SolveEvent,
    EventKind.REQUEUED: SolveEvent,
    EventKind.POLLED: SolveEvent,
    EventKind.POLL_LOST: SolveEvent,
    EventKind.SOLVED: SolveEvent,
    EventKind.DELIVERED: SolveEvent,
    EventKind.FAILED: SolveEvent,
    EventKind.STALLED: SolveEvent,
    EventKind.IN_DOUBT: SolveEvent,
    EventKind.ABANDONED: SolveEvent,
    EventKind.RESUMED: SolveEvent,
    EventKind.ROUTED: RoutedEvent,
    EventKind.FAILOVER: FailoverEvent,
    EventKind.REQUEST: RequestEvent,
    EventKind.CHARGED: ChargeEvent,
    EventKind.REPORTED: ReportEvent,
    EventKind.REPORT_MAY_NOT_COUNT: ReportVolumeEvent,
    EventKind.ACCOUNT_STATE: AccountEvent,
    EventKind.JOURNAL_TROUBLE: Event,
    EventKind.WARNING: WarningEvent,
}
"""The class of the events of each kind."""

Hook = Callable[[Event], None]
"""What `Client(on_event=...)` takes. A hook may have an attribute `kinds`, the `EventKind`s that it wants: an event that no hook
wants is not made, and so costs nothing."""


@runtime_checkable
class ClientWatcher(Protocol):
    """A hook that also wants the client itself, to read `health()` when somebody looks at a metric or a page.

    Both are called on the client's event loop: `client_opened` when it is open, `client_closed` when nothing more will be
    sent. What they raise is logged and dropped, as with events.
    """

    # Any: the client stands above this module, and no import goes upwards.
    def client_opened(self, client: Any, /) -> None:
        """`client` is an open `anycap.Client`."""

    def client_closed(self, client: Any, /) -> None:
        """The same client is closed; solves that had no end by then will get no further event."""


class EventSink(Protocol):
    """A consumer of anycap's own, such as the log, that says which kinds it wants."""

    @property
    def is_enabled(self) -> Mapping[EventKind, Callable[[], bool]]:
        """For each kind that it may want: whether it wants it now."""
        ...

    def __call__(self, event: Event) -> None: ...


class Events:
    """Hands events to the user's hooks and to `log`. A hook that raises is reported once per kind of exception."""

    def __init__(self, hooks: Hook | Sequence[Hook] | None, log: EventSink | None = None) -> None:
        given: tuple[object, ...] = (
            () if hooks is None else tuple(hooks) if isinstance(hooks, (list, tuple)) else (hooks,)
        )
        for each in given:
            if not callable(each) or iscoroutinefunction(each):
                raise ConfigurationError(
                    "on_event is a plain function of one Event, or several in a list; an async one would never be awaited. Put "
                    "events into a queue of yours and await there."
                )
        hooks_given: tuple[Hook, ...] = given  # type: ignore[assignment] # just looked at
        self._hooks = hooks_given
        kinds_of = [(hook, frozenset(getattr(hook, "kinds", EventKind))) for hook in hooks_given]
        wanted = {kind: tuple(hook for hook, kinds in kinds_of if kind in kinds) for kind in EventKind}
        # For each kind: who gets it, whether the log wants it now, and who gets it then.
        is_logged: Mapping[EventKind, Callable[[], bool]] = {} if log is None else log.is_enabled
        logs = () if log is None else (log,)
        self._receivers = {kind: (wanted[kind], is_logged.get(kind), (*logs, *wanted[kind])) for kind in EventKind}
        self._reported: set[type[BaseException]] = set()

    def wants(self, kind: EventKind) -> bool:
        """Whether anybody wants events of this kind."""
        return bool(self.receivers(kind))

    def receivers(self, kind: EventKind) -> tuple[Hook, ...]:
        """Who wants events of this kind now, the log first. Without anybody an event is not made: it must cost nothing."""
        hooks, is_logged, with_log = self._receivers[kind]
        return hooks if is_logged is None or not is_logged() else with_log

    def send(self, event: Event) -> None:
        """`tell` all who want it."""
        self.tell(self.receivers(event.kind), event)

    def tell(self, receivers: tuple[Hook, ...], event: Event) -> None:
        """Log it and call the hooks. Raises nothing but KeyboardInterrupt and SystemExit.

        Not a CancelledError either: `future.result()` of a cancelled future raises one, and it would end the engine's worker.
        """
        for hook in receivers:
            try:
                hook(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a hook is synchronous: a cancellation out of it is not ours
                self._raised(error)

    def opened(self, client: object) -> None:
        """Tell those hooks that want to know the client."""
        self._tell_watchers(lambda watcher: watcher.client_opened(client))

    def closed(self, client: object) -> None:
        """Tell them that it is closed."""
        self._tell_watchers(lambda watcher: watcher.client_closed(client))

    def _tell_watchers(self, tell: Callable[[ClientWatcher], None]) -> None:
        for hook in self._hooks:
            if isinstance(hook, ClientWatcher):
                try:
                    tell(hook)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException as error:  # noqa: BLE001 - as for events
                    self._raised(error)

    def _raised(self, error: BaseException) -> None:
        if type(error) not in self._reported:
            self._reported.add(type(error))
            logger.warning("an on_event hook raised %s; the solve goes on", type(error).__name__)
