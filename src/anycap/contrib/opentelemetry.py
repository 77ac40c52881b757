"""Traces and metrics for OpenTelemetry: a span for each solve with its stages as children, histograms and counters.

    client = Client("anti-captcha", on_event=OpenTelemetry())

Where they go is decided by the program's own SDK; only the API package is needed here (extra `anycap[opentelemetry]`),
and without an SDK everything is a no-op. Names follow OpenTelemetry's semantic conventions, which have none for captcha
services: `captcha.client.operation.duration` beside their `db.client.operation.duration`. `docs/guides/telemetry.md` lists
them all. Nothing in a span or a metric is a secret, and what varies without bound (ticket, tag, the vendor's own code) is an
attribute of spans only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from attrs import define, field

from anycap.contrib.extras import not_installed

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "opentelemetry", missing) from None

import anycap
from anycap.client import Client
from anycap.contrib.telemetry import (
    NOTICE_BUCKETS_S,
    OUTCOMES,
    QUEUE_BUCKETS_S,
    SOLVE_BUCKETS_S,
    Watched,
    total_s,
    type_label,
)
from anycap.events import ChargeEvent, Event, EventKind, FailoverEvent, RequestEvent, SolveEvent
from anycap.vendor_text import printable

__all__ = ["OpenTelemetry"]

PROVIDER, ACCOUNT, TYPE = "captcha.provider.name", "captcha.account.name", "captcha.challenge.type"
METHOD = "captcha.request.method"
ERROR, STATUS = "error.type", "http.response.status_code"

UNDELIVERED_S = 60.0
"""A solved task whose solution nobody takes for so long gets no delivery: its span ends where it was solved. A caller who
waits is woken at once, so only readers of `solve_many` that lag behind, and callers that have gone, come to this."""
OPEN_MAX = 100_000
"""Spans open at once; beyond it the oldest is ended as it is. Above what one client can have in flight."""
ENDED_MAX = 1_000
"""Span contexts of solves that failed, kept for the link from the attempt that follows at once."""
VENDOR_CODE_CHARS_MAX = 80
"""Vendors' longest code has 42; what is longer is no code, and backends charge by size."""


@define
class _OpenSpan:
    """The span of a solve that has not ended."""

    span: Span
    context: Context | None
    """For its children; None where the trace is not sampled."""
    started_ns: int
    account: str
    resumed: bool
    solved_ns: int | None = None
    """The end of the task; what follows is the delivery."""
    solved_at: float = 0.0
    attributes: dict[str, str | int | float] = field(factory=dict)
    """Set when it ends, all at once: each call of the SDK costs more than an attribute."""


class OpenTelemetry(Watched):
    """A hook that turns events into spans and metrics: `Client(..., on_event=OpenTelemetry())`.

    tracer_provider, meter_provider: those of your SDK. Default: the global ones.
    stages: whether queue, submit, waiting and delivery are spans of their own. With False a solve is one span, which has their
        seconds as attributes (`captcha.queue.duration` and so on): half the CPU where every trace is sampled.

    The span of a solve is a child of the span in which `solve`, `submit` or `wait` was called. One hook may be given to
    several clients.

    >>> from anycap import RecaptchaV2
    >>> from anycap.emulator import Emulator
    >>> from anycap.testing import VirtualTime
    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    >>> spans, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    >>> provider.add_span_processor(SimpleSpanProcessor(spans))
    >>> virtual = VirtualTime(Emulator(), "yescaptcha", on_event=OpenTelemetry(tracer_provider=provider))
    >>> async def scene(client):
    ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    >>> virtual(scene)
    >>> [span.name for span in spans.get_finished_spans()]
    ['queue', 'submit', 'waiting', 'delivery', 'solve RecaptchaV2']
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        stages: bool = True,
    ) -> None:
        super().__init__()
        self._stages_are_spans = stages
        self._tracer = trace.get_tracer("anycap", anycap.__version__, tracer_provider)
        self._spans: OrderedDict[str, _OpenSpan] = OrderedDict()
        """By ticket id, oldest first."""
        self._undelivered: OrderedDict[str, _OpenSpan] = OrderedDict()
        """Of these, those that are solved."""
        self._ended: OrderedDict[str, SpanContext] = OrderedDict()
        self._labels: dict[tuple[str, str, str, str | None], dict[str, str]] = {}
        self._make_instruments(metrics.get_meter("anycap", anycap.__version__, meter_provider))
        self._on: Mapping[EventKind, Callable[..., None]] = {
            EventKind.QUEUED: self._begun,
            EventKind.RESUMED: self._begun,
            EventKind.REQUEUED: self._noted,
            EventKind.POLL_LOST: self._noted,
            EventKind.SOLVED: self._solved,
            EventKind.DELIVERED: self._delivered,
            EventKind.FAILED: self._not_solved,
            EventKind.IN_DOUBT: self._not_solved,
            EventKind.ABANDONED: self._not_solved,
            EventKind.STALLED: self._stalled,
            EventKind.FAILOVER: self._failed_over,
            EventKind.REQUEST: self._requested,
            EventKind.CHARGED: self._charged,
        }
        self.kinds = frozenset(self._on)

    def __call__(self, event: Event) -> None:
        """Called by the client."""
        self._on[event.kind](event)

    def client_closed(self, client: Client, /) -> None:
        """Called by the client: the spans of what it leaves behind end here, without an outcome."""
        super().client_closed(client)
        elsewhere = {each.account for each in self.accounts()}
        for ticket_id, open_span in tuple(self._spans.items()):
            if open_span.account not in elsewhere:
                self._end(ticket_id, open_span.solved_ns)

    # -- spans

    def _begun(self, event: SolveEvent) -> None:
        """Here, and only here, the caller's context is the current one: these events are sent in the caller's task."""
        ticket = event.ticket
        assert ticket is not None  # noqa: S101 - events of solves have one
        resumed = event.kind is EventKind.RESUMED
        started_ns = _ns(event.at)
        attributes: dict[str, str | bool] = {
            "captcha.operation.name": "solve",
            PROVIDER: event.provider,
            ACCOUNT: event.account,
            TYPE: ticket.type,
            "captcha.ticket.id": ticket.id,
        }
        if ticket.tag is not None:
            attributes["captcha.tag"] = ticket.tag
        if resumed:
            attributes["captcha.resumed"] = True
        # Resumed in the client that began it: the trace of the new caller gets a span of its own.
        if ticket.id in self._spans:
            self._end(ticket.id, started_ns)
        before = self._ended.get(event.follows) if event.follows is not None else None
        span = self._tracer.start_span(
            f"solve {type_label(ticket.type)}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=() if before is None else (Link(before),),
            start_time=started_ns,
        )
        context = trace.set_span_in_context(span, Context()) if span.is_recording() else None
        self._spans[ticket.id] = _OpenSpan(span, context, started_ns, event.account, resumed)
        if len(self._spans) > OPEN_MAX:
            self._end(next(iter(self._spans)), None)

    def _noted(self, event: SolveEvent) -> None:
        """Something went wrong and the solve goes on: an event of its span."""
        found = self._span_of(event)
        if found is not None and found.context is not None:
            found.span.add_event(event.kind.value, _error_of(event), _ns(event.at))

    def _stalled(self, event: SolveEvent) -> None:
        found = self._span_of(event)
        if found is not None:
            self._stages(found, event, "stalled")
            self._end(_id_of(event), _ns(event.at))

    def _solved(self, event: SolveEvent) -> None:
        self._measure(event)
        found = self._span_of(event)
        if found is not None:
            found.solved_ns, found.solved_at = self._stages(found, event, "solved"), event.at
            self._undelivered[_id_of(event)] = found
        # Oldest first, so a look ends at the first that is young enough; there is no timer in a hook.
        while self._undelivered:
            oldest = next(iter(self._undelivered))
            waiting = self._undelivered[oldest]
            if event.at - waiting.solved_at < UNDELIVERED_S:
                break
            self._end(oldest, waiting.solved_ns)

    def _delivered(self, event: SolveEvent) -> None:
        found = self._span_of(event)
        if found is not None and found.solved_ns is not None:
            # The wall clock may have been set meanwhile.
            until_ns = max(found.solved_ns + _ns(event.at - found.solved_at), found.solved_ns)
            self._stage(found, "delivery", found.solved_ns, until_ns)
            self._end(_id_of(event), until_ns)

    def _not_solved(self, event: SolveEvent) -> None:
        found = self._span_of(event)
        if found is None or found.solved_ns is None:  # a solution that was abandoned is measured already
            self._measure(event)
        if found is None:
            return
        outcome, span = OUTCOMES[event.kind], found.span
        if found.solved_ns is None:
            ended_ns = self._stages(found, event, outcome)
        else:  # solved, and its solution abandoned
            ended_ns = found.solved_ns
            found.attributes["captcha.outcome"] = outcome
        if event.kind is not EventKind.ABANDONED:
            error = event.error or event.kind.value
            found.attributes |= {ERROR: error, **_error_of(event)}
            span.set_status(StatusCode.ERROR, error)
        self._end(_id_of(event), ended_ns)

    def _stages(self, found: _OpenSpan, event: SolveEvent, outcome: str) -> int:
        """Make the children of what is over, from the durations that the event carries; gives the end of the last one.

        They are made in one go at the end, because the event's durations are exact and nothing need be remembered.
        """
        at_ns = found.started_ns
        if found.context is None:
            return at_ns
        now_ns = max(_ns(event.at), at_ns)
        if event.queued_s is not None:
            queued_ns = at_ns + _ns(event.queued_s)
            self._stage(found, "queue", at_ns, queued_ns)
            at_ns = queued_ns
            if event.submit_s is not None:
                submitted_ns = at_ns + _ns(event.submit_s)
                self._stage(found, "submit", at_ns, submitted_ns)
                at_ns = submitted_ns
            elif event.attempts:
                now_ns = max(now_ns, at_ns)
                self._stage(found, "submit", at_ns, now_ns)
                at_ns = now_ns
        if event.submit_s is not None or found.resumed:
            # The age of a resumed task began in another process: here it waits from the moment it was taken up.
            waited = event.solve_s is not None and not found.resumed
            waited_ns = at_ns + _ns(event.solve_s or 0.0) if waited else max(now_ns, at_ns)
            self._stage(found, "waiting", at_ns, waited_ns)
            at_ns = waited_ns
        attributes = found.attributes
        attributes["captcha.outcome"] = outcome
        attributes["captcha.attempts"] = event.attempts
        attributes["captcha.polls"] = event.polls
        task_id = None if event.ticket is None else event.ticket.task_id
        if task_id is not None:
            attributes["captcha.task.id"] = printable(str(task_id), VENDOR_CODE_CHARS_MAX)
        return at_ns

    def _stage(self, found: _OpenSpan, name: str, start_ns: int, end_ns: int) -> None:
        if found.context is None:
            return
        if self._stages_are_spans:
            self._tracer.start_span(name, found.context, start_time=start_ns).end(end_ns)
        else:
            found.attributes[f"captcha.{name}.duration"] = (end_ns - start_ns) / 1e9

    def _span_of(self, event: Event) -> _OpenSpan | None:
        return None if event.ticket is None else self._spans.get(event.ticket.id)

    def _end(self, ticket_id: str, ended_ns: int | None) -> None:
        found = self._spans.pop(ticket_id)
        self._undelivered.pop(ticket_id, None)
        if found.context is not None and found.attributes:
            found.span.set_attributes(found.attributes)
        found.span.end(ended_ns)
        # Of every solve, not only of failed ones: which of them an attempt follows is known only when that begins.
        self._ended[ticket_id] = found.span.get_span_context()
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    # -- metrics

    def _make_instruments(self, meter: metrics.Meter) -> None:
        def seconds(name: str, description: str, buckets: tuple[float, ...]) -> metrics.Histogram:
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)

        self._operation = seconds(
            "captcha.client.operation.duration", "From the call to the solution or failure.", SOLVE_BUCKETS_S
        )
        self._queue = seconds(
            "captcha.client.queue.duration", "From the call until createTask was allowed to go.", QUEUE_BUCKETS_S
        )
        self._task = seconds(
            "captcha.client.task.duration", "From the vendor's task id to the solution.", SOLVE_BUCKETS_S
        )
        self._notice = seconds(
            "captcha.client.notice.delay", "From the task's end to the poll that noticed it.", NOTICE_BUCKETS_S
        )
        self._requests = _Totals(PROVIDER, ACCOUNT, METHOD, "captcha.request.outcome", STATUS, ERROR)
        self._errors = _Totals(PROVIDER, ACCOUNT, TYPE, ERROR)
        self._failovers = _Totals(PROVIDER, ACCOUNT, TYPE, ERROR)
        self._cost = _Totals(PROVIDER, ACCOUNT, TYPE, "captcha.cost.currency")
        self._charges = _Totals(PROVIDER, ACCOUNT, TYPE, "captcha.charged")
        for name, totals, unit, description in (
            ("requests", self._requests, "{request}", "HTTP requests to vendors."),
            ("errors", self._errors, "{error}", "Solves that failed or are in doubt, by shared code."),
            ("failovers", self._failovers, "{failover}", "Solves that left an account for another."),
            ("cost", self._cost, "{currency}", "What tasks have cost, by currency."),
            ("charges", self._charges, "{charge}", "Tasks that were paid for, or may have been."),
        ):
            meter.create_observable_counter(f"captcha.client.{name}", [totals.read], unit, description)
        meter.create_observable_up_down_counter(
            "captcha.client.solves.in_flight", [self._solves_now], "{solve}", "Solves that have not ended, by state."
        )
        meter.create_observable_up_down_counter(
            "captcha.client.active_requests", [self._requests_now], "{request}", "HTTP requests in progress."
        )
        meter.create_observable_up_down_counter(
            "captcha.client.task.limit", [self._limits_now], "{task}", "Unfinished tasks that the account may have."
        )
        meter.create_observable_up_down_counter(
            "captcha.client.account.readiness",
            [self._readiness_now],
            "{account}",
            "1 for the account's state, by state.",
        )

    def _labels_of(self, event: Event, error: str | None = None) -> dict[str, str]:
        """Provider, account, type and error: few, so one mapping is kept for each."""
        name = type_label(event.type)
        key = (event.provider, event.account, name, error)
        labels = self._labels.get(key)
        if labels is None:
            labels = {PROVIDER: event.provider, ACCOUNT: event.account, TYPE: name}
            if error is not None:
                labels[ERROR] = error
            self._labels[key] = labels
        return labels

    def _measure(self, event: SolveEvent) -> None:
        error = None if event.kind is EventKind.SOLVED else event.error or event.kind.value
        if error is not None and event.kind is not EventKind.ABANDONED:
            self._errors.add(1, event.provider, event.account, type_label(event.type), error)
        labels, duration_s = self._labels_of(event, error), total_s(event)
        if duration_s is not None:
            self._operation.record(duration_s, labels)
        if event.queued_s is not None:
            self._queue.record(event.queued_s, self._labels_of(event))
        if event.kind is EventKind.SOLVED and event.solve_s is not None:
            self._task.record(event.solve_s, labels)
            if event.notice_s is not None:
                self._notice.record(event.notice_s, labels)

    def _requested(self, event: RequestEvent) -> None:
        self._requests.add(
            1, event.provider, event.account, event.method, event.outcome, event.http_status, event.error
        )

    def _charged(self, event: ChargeEvent) -> None:
        name = type_label(event.type)
        self._charges.add(1, event.provider, event.account, name, event.charged.value)
        if event.amount is not None:
            self._cost.add(float(event.amount), event.provider, event.account, name, event.currency)

    def _failed_over(self, event: FailoverEvent) -> None:
        self._failovers.add(1, event.provider, event.account, type_label(event.type), event.error)
        found = self._span_of(event)
        if found is not None:  # still queued: it goes to another account without having failed here
            ended_ns = found.started_ns + _ns(event.waited_s or 0.0)
            found.attributes["captcha.outcome"] = "failover"
            self._stage(found, "queue", found.started_ns, ended_ns)
            self._end(_id_of(event), ended_ns)

    # -- read when metrics are collected, in the reader's thread

    def _solves_now(self, options: CallbackOptions) -> Iterable[Observation]:
        for health in self.accounts():
            labels = {PROVIDER: health.provider, ACCOUNT: health.account}
            yield Observation(health.queued, {**labels, "captcha.solve.state": "queued"})
            yield Observation(health.guard.tasks, {**labels, "captcha.solve.state": "pending"})

    def _requests_now(self, options: CallbackOptions) -> Iterable[Observation]:
        for health in self.accounts():
            yield Observation(health.requests, {PROVIDER: health.provider, ACCOUNT: health.account})

    def _limits_now(self, options: CallbackOptions) -> Iterable[Observation]:
        for health in self.accounts():
            yield Observation(health.guard.task_window, {PROVIDER: health.provider, ACCOUNT: health.account})

    def _readiness_now(self, options: CallbackOptions) -> Iterable[Observation]:
        for health in self.accounts():
            labels = {PROVIDER: health.provider, ACCOUNT: health.account}
            yield Observation(1, {**labels, "captcha.account.readiness": health.readiness.value})


class _Totals:
    """A counter by labels, read when metrics are collected. The SDK's own counters cost ten times as much to add to."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._values: dict[tuple[str | int | None, ...], float] = {}

    def add(self, amount: float, *labels: str | int | None) -> None:
        """Add `amount` under these labels; None leaves a label out."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def read(self, options: CallbackOptions) -> Iterable[Observation]:
        """All of them, in the reader's thread."""
        # A copy made in one step of the interpreter: the loop goes on counting in its own thread.
        for labels, value in tuple(self._values.items()):
            named = zip(self._names, labels, strict=True)
            yield Observation(value, {name: label for name, label in named if label is not None})


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _id_of(event: Event) -> str:
    assert event.ticket is not None  # noqa: S101 - the span was found by it
    return event.ticket.id


def _error_of(event: SolveEvent) -> dict[str, str | int]:
    """What a span says of an error: the shared code, and what came from the vendor, made printable."""
    found: dict[str, str | int] = {}
    if event.error is not None:
        found[ERROR] = event.error
    if event.http_status is not None:
        found[STATUS] = event.http_status
    if event.vendor_code is not None:
        found["captcha.vendor.code"] = printable(event.vendor_code, VENDOR_CODE_CHARS_MAX)
    if event.cause is not None:
        found["captcha.waited_for"] = event.cause
    return found
