"""`Client`: what users hold. START HERE as a user: solving, waiting, many at once, resuming, opening and closing.

How one call goes from account to account and waits is in `engine/solving.py`, the other vendor methods (balance, reports,
statistics) are in `engine/vendor_methods.py`; the loop that sends requests is `engine/engine.py`, which account a solve goes to
is in `engine/routing.py`, and what may be sent is decided in `core/`. A client of a fleet is joined to it in
`engine/fleet_wiring.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from anycap import providers
from anycap.accounts import Account
from anycap.callbacks import Callbacks
from anycap.challenges import KINDS, Challenge
from anycap.core.admission.guard import AddressGuard
from anycap.core.idempotency import hash_of_key
from anycap.credentials import attempt
from anycap.engine.account_session import AccountSession
from anycap.engine.budgets import Budgets
from anycap.engine.engine import Engine
from anycap.engine.event_log import EventLog
from anycap.engine.health import ClientHealth, health_of
from anycap.engine.keyed import KeyedSolving
from anycap.engine.lifecycle import Phase
from anycap.engine.recovery import Recovery
from anycap.engine.routing import Router, as_routing
from anycap.engine.runtime import Runtime
from anycap.engine.solve_many import HeldSolution, SolveMany
from anycap.engine.solving import OnCancel, PriorityName, ReuseWord
from anycap.engine.vendor_methods import VendorMethods
from anycap.errors import (
    ConfigurationError,
    UnsupportedMethod,
)
from anycap.events import Events, Hook
from anycap.journal import open_journal
from anycap.journal.budgets import read_budget, read_rates, start_of_day
from anycap.journal.port import Capability, EntryFilter, Journal, offers
from anycap.providers.adapter import Adapter
from anycap.results import Receipt, RouteStep, Solution, SpendingLine
from anycap.settings import Settings
from anycap.shared.settings import Shared
from anycap.tickets import Ticket, TicketInfo, TicketState
from anycap.transport import choose, requests_max_of
from anycap.transport.connections.target import is_loopback, parse_target
from anycap.transport.offline import check_offline
from anycap.transport.port import AiohttpSession, HttpxClient, Transport

if TYPE_CHECKING:
    import trio

    from anycap.engine.address_file import AddressFile
    from anycap.engine.fleet_wiring import FleetWiring

S = TypeVar("S", bound=Solution)


class Client(VendorMethods):
    """A client for one or more vendor accounts; an async context manager, on asyncio and on trio.

    accounts: `Account`s, or provider names whose key is in the environment.
    journal: None keeps tickets in memory; the path of a SQLite file, or a `Journal` of your own, keeps them for good.
    shared: the server of a fleet, which keeps the tickets of all its clients, the limits of their accounts and what they
        spend. See `Shared`.
    http: None for anycap's own connections, or an `httpx.AsyncClient`, an `aiohttp.ClientSession`, a `Transport` of yours;
        what you pass in is never closed.
    on_event: called with every `anycap.events.Event`; one function, or several in a list.
    routing: the order of several accounts for each solve: as given ("ordered"), at random in proportion to `Account.weight`
        ("weighted"), or by learned price ("cheapest").
    budget: the most that the tasks of one UTC day may cost, by currency, as in `{"USD": Decimal("5")}`: counted for all that
        use the journal. `Account(budget=)` limits one account.
    rates: what one unit of each currency is worth in a common one: "cheapest" and `max_cost` need it for accounts of two
        currencies, and without it a budget in USD does not count points.
    settings: limits and waits; see `Settings`.
    callback_url: your own address that vendors with callbacks may call when a task is done. Route what comes below it to
        `client.callbacks.feed`.
    runtime: clock, chance and threads, replaced in tests.

    Raises ConfigurationError for unknown providers, two accounts of one name, and wrong types.

    >>> client = Client(Account("anti-captcha", key="0123456789abcdef"))
    >>> client
    <Client anti-captcha, not open>
    """

    def __init__(
        self,
        *accounts: Account | str,
        journal: Journal | str | PathLike[str] | None = None,
        shared: Shared | None = None,
        http: Transport | HttpxClient | AiohttpSession | None = None,
        on_event: Hook | Sequence[Hook] | None = None,
        routing: Literal["ordered", "weighted", "cheapest"] = "ordered",
        budget: Mapping[str, Decimal] | None = None,
        rates: Mapping[str, Decimal] | None = None,
        settings: Settings | None = None,
        callback_url: str | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        given, error = attempt(_as_accounts, accounts)
        del accounts  # a key given in place of a name would show in this frame, should anything be raised below
        if given is None:
            assert error is not None  # noqa: S101 - `attempt` gives one of the two
            raise error
        self._settings = settings if settings is not None else Settings()
        self._runtime = runtime if runtime is not None else Runtime()
        self._sessions: dict[str, AccountSession] = {}
        # Blocks and the vendor's failures concern an address: accounts that share one share what is known of it.
        self._addresses: dict[tuple[str, str], AddressGuard] = {}
        self._requests_max = requests_max_of(http)
        self._sees_our_address = http is None and not self._settings.http.trust_env
        self._address_files: list[AddressFile] = []
        # Catalogs of the user's own are read in `open`, off the event loop: only then are these accounts' names known.
        self._given = list(given)
        for account in given:
            if isinstance(account.provider, str):
                self._add_session(account, providers.get(account.provider))
        fleet_journal = None
        if shared is not None:
            from anycap.engine.fleet_wiring import journal_in

            fleet_journal = journal_in(shared, journal, self._settings, self._runtime)
        self._journal = open_journal(journal if fleet_journal is None else fleet_journal, self._settings.journal)
        self._transport: Transport = choose(
            http,
            self._settings.http,
            allow_http=self._settings.allow_http,
            speaks_https=len(self._sessions) < len(given)  # those not read yet: assumed to, at worst it is of no use
            or any(session.target.is_https for session in self._sessions.values()),
            elapsed=self._runtime.elapsed,
            offload=self._runtime.offload,
        )
        self._engine = Engine(
            self._sessions,
            self._transport,
            self._journal,
            Events(on_event, log=EventLog()),
            wall=self._runtime.wall,
            offload=self._runtime.offload,
            delivered_max=self._settings.journal.closed_max,
        )
        worth = read_rates(rates)
        self._budgets = Budgets(read_budget(budget, "Client(budget=...)"), worth)
        self._router = Router(
            self._sessions,
            as_routing(routing),
            self._settings,
            rates=worth,
            chance=self._runtime.chance,
            wall=self._runtime.wall,
        )
        if len(self._sessions) == len(given):
            self._use_budgets()
        self._recovery = Recovery(self._engine, self._runtime)
        self._engine.journal_queue.on_housekeeping = self._recovery.forget_expired
        self._fleet: FleetWiring | None = None
        if fleet_journal is not None:
            from anycap.engine.fleet_wiring import FleetWiring

            self._fleet = FleetWiring(fleet_journal, self._engine, self._recovery, self._sessions, self._budgets)
        self.callbacks = Callbacks(self._engine.callback_received)
        self._solving = KeyedSolving(
            self._engine,
            self._router,
            self._recovery,
            self._settings,
            self._runtime,
            self.callbacks,
            callback_url=callback_url,
        )

    def __repr__(self) -> str:
        phase = self._engine.phase.value
        return f"<Client {', '.join(self._sessions)}, {'not open' if phase == 'new' else phase}>"

    # -- life

    async def open(self, nursery: trio.Nursery | None = None) -> None:
        """Open the client; any task of this event loop may close it again.

        nursery: on trio, the client's background task runs in it; without one, in a system task.

        Raises ConfigurationError (no key, a catalog of yours that cannot be read, an address that `ANYCAP_OFFLINE` rules
        out) and JournalError (the journal cannot be used). Nothing is sent to a vendor.
        """
        if await self._read_catalogs():
            self._use_budgets()
        check_offline(self._transport, (session.base_url() for session in self._sessions.values()))
        await self._meet_neighbours()
        if self._fleet is not None:
            self._fleet.opening()
        await self._engine.open(nursery)
        if self._fleet is not None:
            self._fleet.opened()
        self._engine.events.opened(self)

    def _use_budgets(self) -> None:
        """Once the currencies of all accounts are known."""
        if self._budgets.use(list(self._sessions.values()), self._journal):
            self._engine.use_budgets(self._budgets)
            self._router.budgets = self._budgets

    async def _read_catalogs(self) -> bool:
        """Read the catalogs of the user's own; whether there are any."""
        paths = dict.fromkeys(account.provider for account in self._given if isinstance(account.provider, Path))
        adapters = {path: await self._runtime.offload(providers.from_file, path) for path in paths}
        for place, account in enumerate(self._given):
            if isinstance(account.provider, Path):
                adapter = adapters[account.provider]
                self._given[place] = account.of_provider(adapter.catalog.name)
                self._add_session(self._given[place], adapter)
        for account in self._given:  # routing takes them in the order given
            self._sessions[account.name] = self._sessions.pop(account.name)
        return bool(paths)

    async def _meet_neighbours(self) -> None:
        """Share what a vendor counts per address and per key with the other processes of this machine."""
        wanted = self._settings.guard.address_dir
        if wanted is False:
            return
        from anycap.engine.address_file import meet

        sessions = list(self._sessions.values())
        if wanted is True:  # not where the vendor is an emulator, or sees another address than this machine's
            sessions = [each for each in sessions if self._sees_our_address and not is_loopback(each.target.host)]
        if sessions:
            folder = None if wanted is True else Path(wanted)
            self._address_files = await meet(sessions, folder, self._runtime, self._engine.clock_now)

    def _add_session(self, account: Account, adapter: Adapter) -> None:
        if account.name in self._sessions:
            raise ConfigurationError(
                f"two accounts are named {account.name!r}; give one another name: Account(..., name='second')"
            )
        catalog = adapter.catalog
        base_url = account.base_url or catalog.base_url
        if not base_url:
            raise ConfigurationError(
                f"{catalog.name} is whatever its address says: Account({catalog.name!r}, base_url='http://127.0.0.1:8080')"
            )
        target = parse_target(base_url, allow_http=self._settings.allow_http)
        place = (catalog.name, base_url)
        if place not in self._addresses:
            self._addresses[place] = AddressGuard(catalog.ban_rules, self._settings.guard)
        self._sessions[account.name] = AccountSession(
            account,
            adapter,
            target,
            self._addresses[place],
            self._settings,
            chance=self._runtime.chance,
            elapsed=self._runtime.elapsed,
            requests_max=self._requests_max,
        )

    async def aclose(self, grace: float | None = None) -> None:
        """Close the client; any task of its event loop may, and more than once. Callers that wait get ClientClosed.

        grace: seconds for what is in flight and for the journal. Default: `settings.journal.close_grace_s`.

        Tickets stay good: with a journal on disk a later client continues with `resume()`.
        """
        try:
            await self._engine.aclose(self._settings.journal.close_grace_s if grace is None else grace)
        finally:
            files, self._address_files = self._address_files, []
            for file in files:
                file.close()
        self._engine.events.closed(self)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- solving

    async def solve(
        self,
        challenge: Challenge[S],
        *,
        timeout: float = 300,
        account: str | None = None,
        accounts: Sequence[str] | None = None,
        max_attempts: int = 3,
        max_cost: Decimal | None = None,
        on_cancel: OnCancel = "keep",
        wait_for_capacity: bool | None = None,
        priority: PriorityName = "normal",
        callback_url: str | None = None,
        idempotency_key: str | None = None,
        reuse: ReuseWord = "unpaid",
        tag: str | None = None,
    ) -> S:
        """Submit `challenge`, wait, return its solution.

        timeout: seconds for the whole call, queueing included. `math.inf` waits for ever.
        account: the one account that pays; no other is asked.
        accounts: the accounts that may pay, in this order. Default: all that can solve this, ordered by the client's `routing`.
        max_attempts: how many tasks may be made for this call, all accounts together.
        max_cost: the most that this call may spend, failed attempts included. Default: `settings.max_cost`.
        on_cancel: "keep" lets a paid task go on when you cancel (its ticket stays good); "abandon" stops polling it.
        wait_for_capacity: whether to queue behind a busy, stopped or blocked account. Default: only behind a busy one.
        priority: "low", "normal" or "high": in which order this client's unsent tasks are sent. A minute of waiting is worth a
            step, so that none waits for ever.
        callback_url: as for the client, for this solve alone.
        idempotency_key: your name for this solve, 1 to 200 characters, unique in the journal. Who asks again with the same key,
            here, in another process or after a crash, gets what is paid for: a solution that is valid (`redelivered` when it
            was delivered before), the result of the task in work (`shared`), or the error it came to. In memory a key lives
            with the client; in a file for `settings.journal.keep_s`.
        reuse: which ends of the key's solve a new task may follow: "never", "unpaid" (those that cost nothing), or "expired"
            (also a solution that is of no use any more).
        tag: what the task is for, in clear, up to 64 printable characters: on its ticket, receipt, events and journal entry.

        Raises InvalidChallenge before anything is sent; a SolveError subclass for what the vendor said; InDoubtError
        when createTask's answer was lost; DeadlineError when `timeout` ran out, with the ticket to go on waiting for. With
        a key also KeyMismatch (it stands for another challenge) and SolutionExpired.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     solution = await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"), timeout=120)
        ...     return solution.cost
        >>> rehearse(scene)
        Decimal('0.002000')
        """
        call = self._solving.call(
            challenge, timeout=timeout, account=account, accounts=accounts, max_attempts=max_attempts, max_cost=max_cost,
            on_cancel=on_cancel, wait_for_capacity=wait_for_capacity, callback_url=callback_url, tag=tag,
            priority=priority, idempotency_key=idempotency_key, reuse=reuse,
        )  # fmt: skip
        return await self._solving.solve(call)

    async def submit(
        self,
        challenge: Challenge[Solution],
        *,
        timeout: float = 300,
        account: str | None = None,
        accounts: Sequence[str] | None = None,
        max_attempts: int = 3,
        max_cost: Decimal | None = None,
        wait_for_capacity: bool | None = None,
        priority: PriorityName = "normal",
        callback_url: str | None = None,
        idempotency_key: str | None = None,
        reuse: ReuseWord = "unpaid",
        tag: str | None = None,
    ) -> Ticket:
        """Submit `challenge` and return its ticket once the vendor has accepted it; `wait(ticket)` gets the solution.

        timeout: seconds for queueing and submitting. If you cancel while it is queued, nothing is sent.
        account, accounts, max_attempts, max_cost, wait_for_capacity, priority, callback_url, idempotency_key, reuse,
            tag: as for `solve`, which also says what is raised. Accounts are tried until one accepts.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     ticket = await client.submit(RecaptchaV2("https://example.com", "6Le-site-key"))
        ...     solution = await client.wait(ticket, timeout=120)
        ...     return ticket.state, solution.ticket.task_id == ticket.task_id
        >>> rehearse(scene)
        (<TicketState.PENDING: 'pending'>, True)
        """
        call = self._solving.call(
            challenge, timeout=timeout, account=account, accounts=accounts, max_attempts=max_attempts, max_cost=max_cost,
            on_cancel="keep", wait_for_capacity=wait_for_capacity, callback_url=callback_url, tag=tag,
            priority=priority, idempotency_key=idempotency_key, reuse=reuse,
        )  # fmt: skip
        return await self._solving.submit(call)

    async def wait(self, ticket: Ticket, *, timeout: float = 300, again: bool = False) -> Solution:
        """Wait for the solution of a ticket, of this client, an earlier process or another machine.

        timeout: seconds; the task goes on when they are over.
        again: also give a solution that this client has delivered before, until it expires (the last
            `settings.journal.closed_max` of them). Never starts a task.

        Raises InDoubtError at once for a ticket whose answer was lost, TicketError for one that is of no use here
        (unknown account, already delivered, abandoned), and what `solve` raises.
        """
        return await self._solving.wait(ticket, timeout=timeout, again=again)

    def solve_many(
        self,
        challenges: Iterable[Challenge[S]] | AsyncIterable[Challenge[S]],
        *,
        limit: int | None = None,
        timeout: float = 300,
        account: str | None = None,
        accounts: Sequence[str] | None = None,
        max_attempts: int = 3,
        max_cost: Decimal | None = None,
        on_cancel: OnCancel = "keep",
        wait_for_capacity: bool | None = None,
        priority: PriorityName = "normal",
        callback_url: str | None = None,
        idempotency_key: str | Callable[[Challenge[S]], str | None] | None = None,
        reuse: ReuseWord = "unpaid",
        tag: str | Callable[[Challenge[S]], str | None] | None = None,
    ) -> SolveMany[S]:
        """Solve many at once: `async with client.solve_many(...) as outcomes: async for outcome in outcomes: ...`.

        challenges: any iterable or async iterable, read lazily. What it raises is raised to the reader.
        limit: how far ahead of the outcomes you have taken it is read. Default: 1,000.
        timeout: seconds for each challenge.
        idempotency_key, tag: a text, or a function of the challenge that gives one.
        The other arguments are `solve`'s, for each challenge.

        Outcomes come in the order of completion, each with the `index` of its challenge. Failures are outcomes, too: `unwrap`
        raises them. Leaving early ends the waiting, not the paid tasks.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     pages = [RecaptchaV2("https://example.com", "6Le-site-key")] * 3
        ...     async with client.solve_many(pages, limit=2) as outcomes:
        ...         return sorted([outcome.index async for outcome in outcomes])
        >>> rehearse(scene)
        [0, 1, 2]
        """

        async def solve_one(challenge: Challenge[S], held: HeldSolution) -> S:
            key = idempotency_key(challenge) if callable(idempotency_key) else idempotency_key
            call = self._solving.call(
                challenge, timeout=timeout, account=account, accounts=accounts, max_attempts=max_attempts,
                max_cost=max_cost, on_cancel=on_cancel, wait_for_capacity=wait_for_capacity, callback_url=callback_url,
                priority=priority,
                tag=tag(challenge) if callable(tag) else tag, idempotency_key=key,
                reuse="unpaid" if key is None and callable(idempotency_key) else reuse,
            )  # fmt: skip
            return await self._solving.solve(call, held.hold)

        self._engine.check_home()
        return SolveMany(solve_one, challenges, limit=1_000 if limit is None else limit, deliver=self._engine.deliver)

    # -- what was left

    async def resume(self) -> list[Ticket]:
        """Continue with what a closed or crashed process left in the journal: its tasks are polled at once.

        Returns every ticket nobody waits for, those of cancelled callers of this client included. In-doubt tickets are among
        them until they are settled. May be called again, also after a `client_context(resume=True)` has: a ticket is in the
        list until somebody waits for it.
        """
        self._engine.check_open()
        return await self._recovery.resume()

    async def abandon(self, ticket: Ticket) -> None:
        """Stop polling a task for good; callers that wait for it get a TicketError. Money that was spent stays spent.

        Raises TicketError for a ticket that is of no use here.
        """
        self._engine.check_open()
        self._engine.abandon(await self._recovery.find(ticket, follow=False))

    async def settle(self, ticket: Ticket, *, charged: bool) -> None:
        """Close an in-doubt ticket after a look at the vendor's dashboard: was it `charged`, or lost before?

        Raises TicketError for a ticket that is not in doubt, or not in this client's journal.
        """
        self._engine.check_open()
        await self._recovery.settle(ticket, charged=charged)

    async def receipts(self) -> list[Receipt]:
        """What the tasks in the journal have cost, as far as the vendors say: one line per ticket.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
        ...     return [(line.amount, str(line.charged)) for line in await client.receipts()]
        >>> rehearse(scene)
        [(Decimal('0.002000'), 'yes')]
        """
        self._engine.check_open()
        return await self._recovery.receipts()

    async def tickets(
        self,
        *,
        state: TicketState | str | None = None,
        tag: str | None = None,
        account: str | None = None,
        idempotency_key: str | None = None,
        since: datetime | None = None,
    ) -> AsyncIterator[TicketInfo]:
        """The journal's tickets, newest first: of all that share it, closed ones while they are kept.

        state, tag, account, idempotency_key: only these. since: only those made at or after this (aware) time.

        Raises ConfigurationError for a word that is no state.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"), tag="page 7")
        ...     return [(info.ticket.tag, info.ticket.challenge["website_url"], info.cost) async for info in client.tickets()]
        >>> rehearse(scene)
        [('page 7', 'https://example.com', Decimal('0.002000'))]
        """
        self._engine.check_open()
        if state is not None and state not in set(TicketState):
            raise ConfigurationError(f"state is {', '.join(map(repr, map(str, TicketState)))}, not {state!r}")
        where = EntryFilter(
            tag=tag,
            account=account,
            key=None if idempotency_key is None else hash_of_key(idempotency_key),
            since=None if since is None else since.timestamp(),
        )
        for info in await self._recovery.tickets(None if state is None else TicketState(state), where):
            yield info

    async def spending(self, *, since: date | datetime | str | None = None) -> list[SpendingLine]:
        """What was spent, and is held back, by UTC day, account, type and tag: of all that use the journal, exact.

        since: the first day, as a date, an aware datetime or `"2026-11-01"`. Default: today. A journal file keeps 400 days,
            longer than it keeps the tickets.

        Raises ConfigurationError for a journal of yours that does not count, and for what is no day.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"), tag="crawl")
        ...     return [(line.account, line.tag, line.spent, line.currency) for line in await client.spending()]
        >>> rehearse(scene)
        [('anti-captcha', 'crawl', Decimal('0.002000'), 'USD')]
        """
        self._engine.check_open()
        if not offers(self._journal, Capability.BUDGETS):
            raise ConfigurationError("this client's journal does not count what is spent; see receipts()")
        # The day of a fleet is its server's.
        wall = self._runtime.wall() if self._fleet is None else self._fleet.journal.now()
        return await self._journal.spending(start_of_day(since, wall))

    def health(self) -> ClientHealth:
        """The state of every account, by name: readiness in one word, windows, queues, cool-downs with reason and end.

        Works from any thread, sends nothing and changes nothing. `to_dict()` gives plain values for JSON.

        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     return client.health()
        >>> rehearse(scene)
        {'anti-captcha': <AccountHealth anti-captcha: ready, 0 queued, 0 pending, 0 requests>}
        """
        is_open = self._engine.phase is Phase.OPEN
        now = self._engine.clock() if is_open else 0.0
        wall = self._runtime.wall()
        return ClientHealth(
            health_of(
                session, now, is_open=is_open, over_budget=self._budgets.passed_over(session.name, wall) is not None
            )
            for session in self._sessions.values()
        )

    def route(
        self, challenge: Challenge[Solution] | str, *, accounts: Sequence[str] | None = None
    ) -> tuple[RouteStep, ...]:
        """Which accounts a solve would ask now, in this order, with the state of each; sends nothing and changes nothing.

        challenge: what would be solved, or its type's name. accounts: as for `solve`. Those that are left out (their vendor
            lacks the type, their budget is used up) come last. By weight, each solve draws its own order: here it is that of
            the weights.

        Raises ConfigurationError for an unknown type or account.

        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     return [(step.account, step.state) for step in client.route("RecaptchaV2")]
        >>> rehearse(scene)
        [('anti-captcha', 'ready')]
        """
        kind = challenge if isinstance(challenge, str) else challenge.kind
        if kind not in KINDS and "/" not in kind:
            raise ConfigurationError(f"{kind!r} is no challenge type; they are {', '.join(sorted(KINDS))}")
        now = self._engine.clock() if self._engine.phase is Phase.OPEN else 0.0
        return self._router.steps(kind, accounts, now)

    def reset(self, account: str | None = None) -> None:
        """Lift every stop and cool-down of an account (None: of all), after you have mended the cause.

        Blocks of this address stay. Raises ClientClosed, and ConfigurationError for an unknown name.
        """
        self._engine.check_open()
        for session in self._sessions.values() if account is None else [self._session(account)]:
            session.scheduler.reset(self._engine.clock())
        self._engine.wake()

    # -- inside

    def _session(self, account: str) -> AccountSession:
        session = self._sessions.get(account)
        if session is None:
            raise ConfigurationError(f"no account is named {account!r}; this client has {', '.join(self._sessions)}")
        return session

    def _pick_for(self, method: str, account: str | None) -> AccountSession:
        if account is not None:
            return self._session(account)
        sessions = list(self._sessions.values())
        fits = (
            sessions
            if len(sessions) == 1
            else [session for session in sessions if method in session.catalog.tasks.methods]
        )
        if len(fits) == 1:
            return fits[0]
        if not fits:
            raise UnsupportedMethod(f"none of this client's vendors has the method {method}")
        raise ConfigurationError(
            f"several accounts have the method {method} ({', '.join(session.name for session in fits)}): name one with account="
        )


def _as_accounts(given: tuple[Account | str, ...]) -> list[Account]:
    if not given:
        raise ConfigurationError("a client needs at least one account: Client('anti-captcha') or Client(Account(...))")
    for item in given:
        if not isinstance(item, (str, Account)):
            raise ConfigurationError(f"an account is an Account or a provider's name, not {type(item).__name__}")
    return [Account(item) if isinstance(item, str) else item for item in given]
