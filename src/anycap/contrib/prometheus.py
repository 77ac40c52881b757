"""Metrics for Prometheus: counters and histograms from events, gauges from `client.health()` at each scrape.

    client = Client("anti-captcha", on_event=Prometheus())

`FleetMetrics` has gauges of all machines that share a server, and needs no client. Each registers with `prometheus_client`
(extra `anycap[prometheus]`); how the registry is shown is the program's own affair. `docs/guides/telemetry.md` and
`docs/guides/many-machines.md` list every metric with its labels, of which none varies without bound and none is a secret.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from anycap.contrib.extras import not_installed

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics import MetricWrapperBase
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "prometheus", missing) from None

from anycap.contrib.telemetry import (
    NOTICE_BUCKETS_S,
    OUTCOMES,
    QUEUE_BUCKETS_S,
    REQUEST_BUCKETS_S,
    SOLVE_BUCKETS_S,
    Watched,
    total_s,
    type_label,
)
from anycap.engine.health import Readiness
from anycap.errors import AnycapError
from anycap.events import ChargeEvent, Event, EventKind, FailoverEvent, RequestEvent, SolveEvent
from anycap.shared.connections import check_installed
from anycap.shared.settings import Shared
from anycap.shared.status import FleetStatus, connected, read_status

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["FleetMetrics", "Prometheus"]

logger = logging.getLogger("anycap.shared")

_ACCOUNT = ("provider", "account")
# A closed client has no accounts to show.
_SHOWN = tuple(each for each in Readiness if each is not Readiness.CLOSED)

M = TypeVar("M", bound=MetricWrapperBase)


class Prometheus(Watched, Collector):
    """A hook that counts events, and a collector of what the clients are doing: `Client(..., on_event=Prometheus())`.

    registry: where the metrics are registered. Default: the library's global registry. One hook may be given to several
        clients; a second hook on the same registry is refused by the library (ValueError: duplicated timeseries).

    >>> from anycap import RecaptchaV2
    >>> from anycap.emulator import Emulator
    >>> from anycap.testing import VirtualTime
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> virtual = VirtualTime(Emulator(), "yescaptcha", on_event=Prometheus(registry))
    >>> async def scene(client):
    ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    >>> virtual(scene)
    >>> labels = {"provider": "yescaptcha", "account": "yescaptcha", "type": "RecaptchaV2", "outcome": "solved"}
    >>> registry.get_sample_value("anycap_solves_total", labels)
    1.0
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"anycap_{name}", text, (*_ACCOUNT, *labels), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"anycap_{name}", text, (*_ACCOUNT, *labels), buckets=buckets, registry=registry)

        self._solves = counter("solves", "Tasks that ended, by outcome.", "type", "outcome")
        self._errors = counter("errors", "Solves that failed or are in doubt, by shared code.", "code")
        self._requests = counter("requests", "HTTP requests to vendors.", "method", "outcome", "status")
        self._failovers = counter("failovers", "Solves that left an account for another.", "code")
        self._cost = counter("cost", "What tasks have cost.", "currency")
        self._charges = counter("charges", "Tasks that were paid for, or may have been.", "charged")
        self._troubles = Counter("anycap_journal_troubles", "Failed writes to the journal.", registry=registry)
        self._duration = histogram(
            "solve_duration_seconds", "From the call to the solution or failure.", SOLVE_BUCKETS_S, "type", "outcome"
        )
        self._queue = histogram("queue_duration_seconds", "From the call to createTask.", QUEUE_BUCKETS_S)
        self._task = histogram("task_duration_seconds", "From the task id to the solution.", SOLVE_BUCKETS_S, "type")
        self._notice = histogram("notice_delay_seconds", "From the task's end to its notice.", NOTICE_BUCKETS_S)
        self._request = histogram("request_duration_seconds", "One HTTP request.", REQUEST_BUCKETS_S, "method")
        self._children: dict[tuple[object, ...], MetricWrapperBase] = {}
        # Only these are sent: an event that no hook asks for is not even made.
        self._on: Mapping[EventKind, Callable[..., None]] = {
            **dict.fromkeys(OUTCOMES, self._ended),
            EventKind.REQUEST: self._requested,
            EventKind.CHARGED: self._charged,
            EventKind.FAILOVER: self._failed_over,
            EventKind.JOURNAL_TROUBLE: self._journal_trouble,
        }
        self.kinds = frozenset(self._on)
        registry.register(self)

    def __call__(self, event: Event) -> None:
        """Called by the client."""
        self._on[event.kind](event)

    def _of(self, metric: M, event: Event, *labels: str) -> M:
        """The metric with its labels. The library looks them up with a lock and text: once for each is enough."""
        key = (metric, event.provider, event.account, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(event.provider, event.account, *labels)
        return child  # type: ignore[return-value] # `labels` gives the metric's own class

    def _ended(self, event: SolveEvent) -> None:
        outcome, name = OUTCOMES[event.kind], type_label(event.type)
        self._of(self._solves, event, name, outcome).inc()
        if event.kind is EventKind.FAILED or event.kind is EventKind.IN_DOUBT:
            self._of(self._errors, event, event.error or event.kind.value).inc()
        duration_s = total_s(event)
        if duration_s is not None:
            self._of(self._duration, event, name, outcome).observe(duration_s)
        if event.queued_s is not None:
            self._of(self._queue, event).observe(event.queued_s)
        if event.kind is EventKind.SOLVED:
            if event.solve_s is not None:
                self._of(self._task, event, name).observe(event.solve_s)
            if event.notice_s is not None:
                self._of(self._notice, event).observe(event.notice_s)

    def _requested(self, event: RequestEvent) -> None:
        status = "" if event.http_status is None else str(event.http_status)
        self._of(self._requests, event, event.method, event.outcome, status).inc()
        self._of(self._request, event, event.method).observe(event.duration_s)

    def _charged(self, event: ChargeEvent) -> None:
        self._of(self._charges, event, event.charged.value).inc()
        if event.amount is not None:
            # Prometheus knows only floats; exact sums are `client.spending()`.
            self._of(self._cost, event, event.currency).inc(float(event.amount))

    def _failed_over(self, event: FailoverEvent) -> None:
        self._of(self._failovers, event, event.error or "").inc()

    def _journal_trouble(self, event: Event) -> None:
        self._troubles.inc()

    # -- read at each scrape, in the scraper's thread

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges without values: the library asks for their names when this is registered."""
        # Without this the library would call `collect` for the names, from within the constructor.
        yield from _Gauges().families()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they are now."""
        gauges = _Gauges()
        for health in self.accounts():
            account, guard = (health.provider, health.account), health.guard
            gauges.add("queued_solves", account, health.queued)
            gauges.add("pending_tasks", account, guard.tasks)
            gauges.add("task_window", account, guard.task_window)
            gauges.add("active_requests", account, health.requests)
            for each in _SHOWN:
                gauges.add("account_readiness", (*account, each.value), each is health.readiness)
            for stop in guard.cooldowns:
                labels = (*account, type_label(stop.covers), stop.code.value)
                gauges.add("cooldown_seconds", labels, stop.remaining_s)
            for rule in guard.rules:
                gauges.add("ban_rule_answers", (*account, rule.name), rule.bad)
                gauges.add("ban_rule_limit", (*account, rule.name), rule.limit)
        yield from gauges.families()


_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "queued_solves": ("Solves that wait to be sent.", ()),
    "pending_tasks": ("Unfinished tasks at the vendor.", ()),
    "task_window": ("Unfinished tasks that the account may have.", ()),
    "active_requests": ("HTTP requests in progress.", ()),
    "account_readiness": ("1 for the state that the account is in.", ("readiness",)),
    "cooldown_seconds": ("What is left of a stop or cool-down; +Inf until it is mended.", ("covers", "code")),
    "ban_rule_answers": ("Bad answers in the window of a vendor's ban rule.", ("rule",)),
    "ban_rule_limit": ("Bad answers that anycap allows in it.", ("rule",)),
}
_ADD_UP = frozenset({"queued_solves", "pending_tasks", "task_window", "active_requests"})


class _Gauges:
    """The gauges of one scrape. Two clients may have accounts of one name: their tasks add up, of all else the most counts."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _GAUGES}

    def add(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """One value of one account."""
        values = self._values[name]
        before = values.get(labels)
        if before is not None:
            value = before + value if name in _ADD_UP else max(before, value)
        values[labels] = value

    def families(self) -> Iterator[GaugeMetricFamily]:
        """All of them for the library."""
        for name, (text, labels) in _GAUGES.items():
            family = GaugeMetricFamily(f"anycap_{name}", text, labels=(*_ACCOUNT, *labels))
            for values, value in self._values[name].items():
                family.add_metric(values, float(value))
            yield family


_FLEET_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "up": ("1 if the shared server answered when it was asked last.", ()),
    "members": ("Clients that are members, by whether their lease runs.", ("lease",)),
    "open_tickets": (
        "Tickets that are not closed, by state and by whether their owner's lease runs.",
        ("state", "lease"),
    ),
    "slots": ("Unfinished tasks of all members.", ("vendor", "account", "type")),
    "submitting": ("createTask requests on their way.", ("vendor", "account")),
    "task_window": (
        "Unfinished tasks that the vendor takes, as found; none while it was never full.",
        ("vendor", "account"),
    ),
    "submit_window": ("createTask requests at once.", ("vendor", "account")),
    "stop_seconds": ("What is left of a stop; +Inf until it is mended.", ("vendor", "account", "covers", "code")),
    "spent_today": ("What tasks of this UTC day have cost.", ("account", "currency")),
    "reserved_today": ("What is held back for unfinished tasks.", ("account", "currency")),
}


class FleetMetrics(Collector):
    """Gauges of everything that shares a server, read there: members, tickets, slots, windows, stops, spending.

    One process for a fleet is enough, and it needs no client. A thread of its own asks the server every `every_s` seconds, with
    a few short scripts that read; a scrape shows the last answer and never waits. `close()`, or leaving `with`, ends that.

    shared: the server and namespace.
    registry: where the metrics are registered. Default: the library's global registry.
    every_s: seconds between two looks.

    Raises ConfigurationError where coredis is missing (`anycap[redis]`). A server that does not answer, or does not let us in,
    shows as `anycap_fleet_up 0`, and as a warning in the log.

    >>> from anycap import Shared
    >>> with FleetMetrics(Shared("redis://127.0.0.1:1"), CollectorRegistry()) as metrics:
    ...     up = next(family for family in metrics.collect() if family.name == "anycap_fleet_up")
    >>> up.samples[0].labels, up.samples[0].value
    ({'namespace': 'anycap'}, 0.0)
    """

    def __init__(self, shared: Shared, registry: CollectorRegistry = REGISTRY, *, every_s: float = 15.0) -> None:
        check_installed()
        self._shared = shared
        self._registry: CollectorRegistry | None = registry
        self._every_s = every_s
        self._seen: FleetStatus | None = None
        """Replaced as a whole, never changed: other threads read it."""
        self._thread = ExitStack()
        registry.register(self)
        portal = self._thread.enter_context(start_blocking_portal(name="anycap fleet metrics"))
        watching = portal.start_task_soon(self._watch)
        self._thread.callback(watching.cancel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and take the metrics out of the registry. Safe to call twice."""
        thread, self._thread = self._thread.pop_all(), ExitStack()
        with thread:
            if self._registry is not None:
                self._registry.unregister(self)
                self._registry = None

    async def _watch(self) -> None:
        silent = False
        while True:
            try:
                async with connected(self._shared) as link:
                    while True:
                        self._seen = await read_status(link, self._shared.namespace)
                        silent = False
                        await anyio.sleep(self._every_s)
            except AnycapError as error:
                # No numbers rather than old ones: a dashboard would show a fleet that may be gone.
                self._seen = None
                # Once for a silence: a server that is down for a night must not fill the log.
                if not silent:
                    logger.warning("no metrics of the fleet: %s", error)
                silent = True
            await anyio.sleep(self._every_s)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges without values: the library asks for their names when this is registered."""
        yield from self._families({})

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as the server had them when it was asked last."""
        status = self._seen
        values: dict[str, dict[tuple[str, ...], float]] = {"up": {(): float(status is not None)}}
        if status is not None:
            for name, labels, value in _fleet_samples(status):
                of_name = values.setdefault(name, {})
                of_name[labels] = of_name.get(labels, 0.0) + value
        yield from self._families(values)

    def _families(self, values: Mapping[str, Mapping[tuple[str, ...], float]]) -> Iterator[GaugeMetricFamily]:
        for name, (text, labels) in _FLEET_GAUGES.items():
            family = GaugeMetricFamily(f"anycap_fleet_{name}", text, labels=("namespace", *labels))
            for of, value in values.get(name, {}).items():
                family.add_metric((self._shared.namespace, *of), value)
            yield family


def _fleet_samples(status: FleetStatus) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Name, labels and value; what has the same labels adds up."""
    for lease, alive in (("runs", True), ("over", False)):
        members = [member for member in status.members if member.alive is alive]
        yield "members", (lease,), sum(member.lease_s is not None for member in members)
        for member in members:
            for state, count in member.tickets.items():
                yield "open_tickets", (state, lease), count
    for state, count in status.unowned.items():
        yield "open_tickets", (state, "none"), count
    for account in status.accounts:
        of = (account.vendor, account.name)
        for name, of_type in account.types.items():
            yield "slots", (*of, type_label(name)), of_type.slots
        yield "submitting", of, account.submitting
        if account.task_window is not None:
            yield "task_window", of, account.task_window
        if account.submit_window is not None:
            yield "submit_window", of, account.submit_window
        for stop in account.stops:
            left_s = math.inf if stop.ends_in_s is None else max(0.0, stop.ends_in_s)
            yield "stop_seconds", (*of, type_label(stop.covers), stop.code), left_s
    for line in status.spending:
        yield "spent_today", (line.account, line.currency), float(line.spent)
        yield "reserved_today", (line.account, line.currency), float(line.reserved)
