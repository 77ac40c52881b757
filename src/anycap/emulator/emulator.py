"""Several emulated vendors with one clock: their models, the faults in force and a trace of what went on.

`Emulator.exchange` takes a request and says what to put on the wire; it does no I/O, so the same seed and the same
requests at the same times give the same trace, byte for byte. The doors are `in_process.py` and `server.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import urlsplit

import anyio
from attrs import frozen

from anycap.emulator.access import Access
from anycap.emulator.clock import Clock
from anycap.emulator.exchange import Ending, Exchange, http_fault, of_reply, spoil
from anycap.emulator.faults import ActiveFaults, Fault
from anycap.emulator.ledger import TaskState
from anycap.emulator.model import Callback, Vendor, parse_body
from anycap.emulator.options import VendorKeywords, VendorOptions
from anycap.emulator.vendor_rules import catalog_of, rules_of
from anycap.engine.runtime import Runtime

FOUR_VENDORS = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha")
EPOCH_S = 1_767_225_600.0
"""2026-01-01 00:00 UTC: where the vendors' Unix times start unless `epoch_s` is given."""


class LoopClock:
    """Seconds since the first look at the running event loop's clock, virtual or real; a new loop continues the count."""

    def __init__(self) -> None:
        self._origin: float | None = None
        self._last = 0.0

    def __call__(self) -> float:
        try:
            now = anyio.current_time()
        except RuntimeError:  # no event loop: someone looks at the ledgers afterwards
            return self._last
        if self._origin is None or now - self._origin < self._last:
            self._origin = now - self._last
        self._last = now - self._origin
        return self._last


@frozen
class TraceLine:
    """One exchange: when, who asked whom for what, and what came of it. Never a key, a field or a token.

    `about` is the task id or, for createTask, the type; `outcome` is the vendor's code, its status word, or how the
    exchange ended; `fault` names the injected fault, if any.
    """

    time: float
    provider: str
    method: str
    account: str
    about: str
    status: int
    outcome: str
    fault: str = ""

    def text(self) -> str:
        return (
            f"{self.time:.6f} {self.provider} {self.method} {self.account} {self.about} {self.status} {self.outcome}"
            + (f" [{self.fault}]" if self.fault else "")
        )


class Emulator:
    """Several vendors, their faults and their trace.

    Without a `clock` the event loop's is used, so virtual time works by itself. `providers` are names of vendors, or
    paths of catalogs. `allow_hosts` are names beside loopback ones under which the emulator may be asked over HTTP,
    `allow_callbacks` addresses such as `http://127.0.0.1:9000` that callbacks may be sent to; `access` takes more of
    both later. The other options given as keywords are those of `VendorOptions` and hold for every vendor;
    `emulator["capmonster"].solve_time = 2.0` changes one afterwards. Raises ConfigurationError for a vendor that nobody
    provides and for a wrong option.

    >>> emulator = Emulator(seed=1, key="test", solve_time=4.0)
    >>> emulator.base_url("capmonster")
    'http://127.0.0.1/capmonster'
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        providers: Iterable[str | Path] = FOUR_VENDORS,
        clock: Clock | None = None,
        faults: Iterable[Fault] = (),
        trace: bool = True,
        allow_hosts: Iterable[str] = (),
        allow_callbacks: Iterable[str] = (),
        **options: Unpack[VendorKeywords],
    ) -> None:
        self.seed = seed
        self.clock: Clock = LoopClock() if clock is None else clock
        self.faults = ActiveFaults(faults, seed=seed)
        self.trace: list[TraceLine] = []
        self.keeps_trace = trace
        self.requests = 0
        self.access = Access(allow_hosts, allow_callbacks)
        self.defects: list[str] = []
        """What went wrong in the emulator itself; `check` raises for it."""
        # Kept wrapped: a key that stood here as text would be shown by every traceback that prints its locals.
        options["key"] = VendorOptions(**options).key
        self._epoch_s = options.setdefault("epoch_s", EPOCH_S)
        self._options = options
        self.vendors: dict[str, Vendor] = {}
        self._catalogs = tuple(map(catalog_of, providers))
        self._make_vendors()
        self._routes: dict[str, tuple[str, str] | None] = {}
        self._hosts = {host: name for name, vendor in self.vendors.items() for host in rules_of(vendor.catalog).hosts}
        self._last_ids: dict[str, object] = {}
        """The latest task id that each vendor gave, for the fault `duplicate_id`."""

    def _make_vendors(self) -> None:
        for catalog in self._catalogs:
            # Seeded by its name, so that which others are emulated beside it changes nothing for a vendor.
            rng = random.Random(f"{self.seed}/{catalog.name}")
            self.vendors[catalog.name] = Vendor(catalog, clock=self.clock, rng=rng, **self._options)

    def __getitem__(self, provider: str) -> Vendor:
        return self.vendors[provider]

    def reset(self) -> None:
        """Start every vendor anew: accounts and balances as at first, empty ledgers, no faults, no trace."""
        self.faults.replace(())
        self.trace.clear()
        self.requests = 0
        self._last_ids.clear()
        self._make_vendors()

    def runtime(self) -> Runtime:
        """For `Client(runtime=...)`: chance and ids from this emulator's seed, wall time from its clock.

        So `received_at` and `expires_at` move with the vendors' own times, in virtual time, too.
        """
        return Runtime.seeded(self.seed, wall=lambda: self._epoch_s + self.clock())

    # -- addresses -----------------------------------------------------------------------------------------------------

    def base_url(self, provider: str) -> str:
        """The address to give an `Account(base_url=...)` that talks through `InProcess`."""
        if provider not in self.vendors:
            raise KeyError(f"this emulator has no vendor {provider!r}; it has {', '.join(self.vendors)}")
        return f"http://127.0.0.1/{provider}"

    @property
    def vendor_hosts(self) -> Collection[str]:
        """The real vendors' host names: a request that names one in Host finds its vendor."""
        return self._hosts.keys()

    def route(self, url: str) -> tuple[str, str] | None:
        """Vendor and method behind a URL: by the first part of the path, or by the vendor's real host name."""
        if url in self._routes:
            return self._routes[url]
        parts = urlsplit(url)
        path = parts.path.strip("/")
        first, _, rest = path.partition("/")
        found: tuple[str, str] | None = None
        if first in self.vendors:
            found = (first, rest)
        elif parts.hostname in self._hosts:
            found = (self._hosts[parts.hostname], path)
        if len(self._routes) < 10_000:
            self._routes[url] = found
        return found

    # -- requests ------------------------------------------------------------------------------------------------------

    def exchange(
        self, provider: str, method: str, body: bytes, *, verb: str = "POST", address: str = "127.0.0.1"
    ) -> Exchange:
        """What the vendor, and the faults in force, make of this request. Never raises for what a request holds."""
        vendor = self.vendors[provider]
        now = self.clock()
        self.requests += 1
        fields = parse_body(body)
        task = None if fields is None else fields.get("task")
        task_type = task.get("type") if isinstance(task, Mapping) else None
        fault = None
        if len(self.faults):
            known_type = task_type if isinstance(task_type, str) else None
            fault = self.faults.hit(provider, method, known_type, address, now)
        made, word = (
            self._act(vendor, method, fields, verb, address, None)
            if fault is None
            else self._act_under(fault, vendor, method, fields, verb, address)
        )
        if self.keeps_trace:
            about = task_type if method == "createTask" else (fields or {}).get("taskId")
            key = (fields or {}).get("clientKey")
            self.trace.append(
                TraceLine(
                    round(now, 6), provider, method[:60], vendor.name_of(key) if isinstance(key, str) else "-",
                    str(about)[:60] if isinstance(about, str | int) else "-", made.status,
                    word if made.ending is Ending.WHOLE else str(made.ending), "" if fault is None else fault.action,
                )
            )  # fmt: skip
        return made

    def _act_under(
        self, fault: Fault, vendor: Vendor, method: str, fields: dict[str, Any] | None, verb: str, address: str
    ) -> tuple[Exchange, str]:
        """Act under a fault, and put into the ledger what the client did not get to see."""
        made_before = len(vendor.ledger.tasks)
        polled = vendor.known_task((fields or {}).get("taskId")) if method == "getTaskResult" else None
        delivered_before = 0 if polled is None else polled.delivered
        result = self._act(vendor, method, fields, verb, address, fault)
        lost = fault.hides_outcome
        if polled is not None and lost:
            polled.delivered = delivered_before
        if method == "createTask":
            vendor.ledger.ambiguous_drops += lost
            if len(vendor.ledger.tasks) > made_before and (lost or fault.action == "duplicate_id"):
                vendor.ledger.tasks[-1].answer_lost = True
                vendor.ledger.tasks[-1].delivered = 0
        return result

    def _act(
        self, vendor: Vendor, method: str, fields: dict[str, Any] | None, verb: str, address: str, fault: Fault | None
    ) -> tuple[Exchange, str]:
        if fault is not None:
            instead = self._instead(vendor, method, fields, address, fault)
            if instead is not None:
                return instead
        reply = vendor.call(method, fields, verb=verb, address=address)
        word = reply.code or str(reply.fields.get("status", "ok"))
        exchange = of_reply(reply)
        if method == "createTask" and reply.code is None:
            task_id = reply.fields.get("taskId")
            before = self._last_ids.get(vendor.provider)
            self._last_ids[vendor.provider] = task_id
            if fault is not None and fault.action == "fail_task":
                vendor.fail_task(vendor.ledger.tasks[-1].id, fault.code or "")
            if fault is not None and fault.action == "duplicate_id" and before is not None:
                self._last_ids[vendor.provider] = before
                again = json.dumps({**reply.fields, "taskId": before}, separators=(",", ":")).encode()
                return Exchange(reply.status, reply.headers, again), word
        if fault is None:
            return exchange, word
        return spoil(exchange, fault, self.seed + self.requests), word

    def _instead(
        self, vendor: Vendor, method: str, fields: dict[str, Any] | None, address: str, fault: Fault
    ) -> tuple[Exchange, str] | None:
        """The exchange when the fault keeps the vendor from acting; None when the vendor acts after all."""
        match fault.action:
            case "refuse":
                return Exchange(status=0, ending=Ending.REFUSE), "refuse"
            case "reset" | "hang" if fault.when == "before":
                ending = Ending.RESET if fault.action == "reset" else Ending.HANG
                return Exchange(status=0, ending=ending), fault.action
            case "http" if fault.when == "before":
                return http_fault(fault), "http"
            case "redirect":
                return Exchange(302, (("Location", fault.location),)), "redirect"
            case "error":
                key = (fields or {}).get("clientKey")
                who = vendor.name_of(key) if isinstance(key, str) else "no key"
                return of_reply(vendor.inject(method, fault.code or "", who, address)), fault.code or ""
            case "no_slots":
                vendor.no_slots(fault.seconds, fault.task_type)
            case "block":
                vendor.block(fault.seconds, address=address, code=fault.code or "ERROR_IP_BLOCKED")
        return None

    # -- looking on ----------------------------------------------------------------------------------------------------

    def due_callbacks(self) -> list[Callback]:
        """Callbacks that any vendor sends now; each is handed out once."""
        return [callback for vendor in self.vendors.values() for callback in vendor.due_callbacks()]

    def ledgers(self) -> dict[str, Any]:
        """Every vendor's ledger as JSON values, with balances, bans and violations; keys appear as fingerprints."""
        ledgers: dict[str, Any] = {}
        for provider, vendor in self.vendors.items():
            vendor.advance_to()
            ledgers[provider] = {
                **vendor.ledger.to_json(),
                "balances": {name: str(account.balance) for name, account in vendor.accounts.items()},
                "bans": [ban.to_json() for ban in vendor.bans.imposed],
                "gap_violations": vendor.gap_violations,
                "poll_violations": vendor.poll_violations,
            }
        return ledgers

    def trace_bytes(self) -> bytes:
        """The whole trace as text, one exchange a line: the same bytes for the same seed and the same requests."""
        return "".join(line.text() + "\n" for line in self.trace).encode()

    def check(self) -> None:
        """Raise AssertionError when any vendor's ledger does not add up. A promise of the emulator, tested after storms."""
        if self.defects:
            raise AssertionError(f"defects of the emulator itself: {self.defects[:3]}")
        for vendor in self.vendors.values():
            vendor.advance_to()
            for account in vendor.accounts.values():
                tasks = vendor.ledger.of(account.name)
                taken = sum((task.paid for task in tasks), Decimal(0))
                held = account.opened_with + account.topped_up - taken
                if account.balance != held:
                    raise AssertionError(f"{vendor.provider}: balance {account.balance}, by the ledger {held}")
                pending = sum(1 for task in tasks if task.state is TaskState.PENDING)
                if account.unfinished != pending:
                    raise AssertionError(
                        f"{vendor.provider}: {account.unfinished} slots in use, {pending} pending tasks"
                    )
