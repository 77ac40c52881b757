"""A vendor as a state machine without I/O: give it a request and the time, get the answer the vendor would send.

`Vendor.handle` speaks bytes, `Vendor.call` values. createTask, getTaskResult and getBalance are here, the vendors' other
methods in `methods.py`. Clock and random source come in as arguments; nothing here sleeps, prints or opens anything.
Its neighbours: `accounts.py` (keys and balances), `task_board.py` (tasks and time), `ledger.py`, `bans.py`,
`validation.py` (a task's fields), `answers.py` (the JSON).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Unpack

from attrs import frozen

from anycap.credentials import Secret
from anycap.emulator import answers, methods
from anycap.emulator.accounts import VendorAccount, ledger_name
from anycap.emulator.answers import Reply
from anycap.emulator.bans import Bans
from anycap.emulator.clock import Clock
from anycap.emulator.dialects import Trouble
from anycap.emulator.ledger import Ledger, Task, TaskState
from anycap.emulator.options import VendorKeywords, VendorOptions
from anycap.emulator.solutions import make_solution
from anycap.emulator.solve_times import solve_seconds
from anycap.emulator.task_board import TaskBoard
from anycap.emulator.third_party_dialects import dialect_of
from anycap.emulator.validation import Finding, check_task
from anycap.emulator.vendor_rules import TypeSpec, catalog_of, rules_of, type_spec
from anycap.providers.catalog import Catalog
from anycap.taxonomy import Code

# Two requests at "the same" moment differ by rounding after many additions of floats.
_EPSILON_S = 1e-6

# The id of an error that has no number in the vendor's list. No vendor counts this far, so that a client which reads
# ids alone meets an unknown error instead of somebody else's: 1 is a wrong key at anti-captcha.
UNNUMBERED_ERROR_ID = 999

WAITS = "_WAIT_FOR_IT_"
"""The value of an AntiGate variable that is pushed later."""


@frozen
class Callback:
    """A result that the vendor POSTs to the customer's own address, with contents like those of getTaskResult."""

    url: str
    body: bytes
    task_id: int | str
    at: float


@frozen
class _Request:
    """One request as the checks see it; `fields` None stands for a body that is not a JSON object."""

    method: str
    verb: str
    fields: Mapping[str, Any] | None
    account: VendorAccount | None
    address: str
    now: float


@frozen
class _Order:
    """A createTask that is well formed: what is to be made, and what it costs."""

    account: VendorAccount
    task: Mapping[str, Any]
    spec: TypeSpec
    price: Decimal
    now: float


class Vendor:
    """One emulated vendor: its accounts, tasks, ledger and bans.

    `provider` is the name of a vendor, the path of a catalog, or a catalog. `clock` gives seconds (any origin), `rng` decides
    everything that is left to chance. The other keywords are those of `VendorOptions`; what is not about the first
    account can also be changed later, as an attribute of the vendor: `vendor.solve_time = 2.0`.

    >>> from anycap.emulator.clock import ManualClock
    >>> clock = ManualClock()
    >>> vendor = Vendor("anti-captcha", clock=clock, rng=random.Random(1), key="k", solve_time=5.0)
    >>> task = {"type": "TurnstileTaskProxyless", "websiteURL": "https://example.com/", "websiteKey": "0x4"}
    >>> vendor.create("k", task).fields
    {'errorId': 0, 'taskId': 7654321}
    >>> vendor.result("k", 7654321).fields["status"]
    'processing'
    >>> clock.advance(5)
    >>> vendor.result("k", 7654321).fields["status"]
    'ready'
    """

    def __init__(
        self, provider: str | Path | Catalog, *, clock: Clock, rng: random.Random, **options: Unpack[VendorKeywords]
    ) -> None:
        given = VendorOptions(**options)
        self.catalog = catalog_of(provider)
        self.provider = self.catalog.name
        self.dialect = dialect_of(self.catalog)
        self.clock = clock
        self.solve_time = given.solve_time
        self.workers = given.workers
        self.failure_rate = given.failure_rate
        self.processing = given.processing
        self.strict = given.strict
        self.strict_pacing = given.strict_pacing
        self.speed = given.speed
        self.epoch_s = given.epoch_s
        self.accounts: dict[str, VendorAccount] = {}
        """By the fingerprint of their key."""
        self.gap_violations = 0
        """Polls that came sooner than the vendor allows: after the task was made, or after the poll before."""
        self.poll_violations = 0
        """Polls beyond the number that the vendor allows for a task."""
        self._rules = rules_of(self.catalog)
        self.bans = Bans(self._rules.ban_rules, self._rules.shared_codes, self._rules.poll_bans)
        # One stream per concern: how often a client polls must not change how long its next task takes.
        self._task_rng, id_rng, self._flavour_rng = (_branch(rng) for _ in range(3))
        self.seed = rng.getrandbits(64)
        self._tasks = TaskBoard(self.dialect, self.accounts, id_rng)
        self._errors = 0
        self._outages: dict[str, float] = {}
        """Until when no worker is free, by task type; "*" for all types."""
        self._blocks: dict[str, tuple[float, str]] = {}
        """Until when an address is blocked on purpose, and with which code."""
        self._callbacks: list[Callback] = []
        self.add_account(given.key, balance=given.balance, slots=given.slots)

    @property
    def ledger(self) -> Ledger:
        """Every task ever made here, with its money."""
        return self._tasks.ledger

    # -- accounts ------------------------------------------------------------------------------------------------------

    def add_account(
        self,
        key: str | Secret,
        *,
        balance: Decimal | float | str | None = None,
        slots: int | None = None,
        allowed_addresses: Iterable[str] | None = None,
        apps: Iterable[int] = (),
    ) -> VendorAccount:
        """Open another account; the key itself is not kept, only its fingerprint."""
        name = self.name_of(key)
        amount = self.dialect.balance if balance is None else Decimal(str(balance))
        allowed = None if allowed_addresses is None else frozenset(allowed_addresses)
        self.accounts[name] = VendorAccount(name, amount, amount, slots, allowed, frozenset(apps))
        return self.accounts[name]

    def account(self, key: str | Secret | None = None) -> VendorAccount:
        """The account of this key, or the first one. Raises KeyError when the vendor does not know the key."""
        if key is None:
            return next(iter(self.accounts.values()))
        return self.accounts[self.name_of(key)]

    def name_of(self, key: str | Secret) -> str:
        """The fingerprint under which the ledger knows the account of this key."""
        return ledger_name(key, options=self.provider == "capmonster")

    # -- requests ------------------------------------------------------------------------------------------------------

    def handle(
        self, method: str, body: bytes, *, verb: str = "POST", address: str = "127.0.0.1"
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """Answer one HTTP request: `method` is the path's last part. Returns status, headers and body. Never raises."""
        reply = self.call(method, parse_body(body), verb=verb, address=address)
        return reply.status, reply.headers, reply.encode()

    def call(
        self, method: str, fields: Mapping[str, Any] | None, *, verb: str = "POST", address: str = "127.0.0.1"
    ) -> Reply:
        """Answer one request given as values; `fields` None stands for a body that is not a JSON object."""
        now = self.clock()
        self.advance_to(now)
        key = None if fields is None else fields.get("clientKey")
        who = self.name_of(key) if isinstance(key, str) else "no key"
        reply = self._blocked(method, who, address, now)
        if reply is None:
            reply = self._answer(_Request(method, verb, fields, self.accounts.get(who), address, now))
        # A poll that comes before the end is nobody's mistake, even where the vendor answers it with an error code.
        if reply.code is not None and self._rules.shared_codes.get(reply.code) is not Code.NOT_READY:
            self.bans.note(method, reply.code, who, address, now)
        return reply

    def create(self, key: str, task: Mapping[str, Any] | None, *, address: str = "127.0.0.1", **top: Any) -> Reply:
        """createTask with values instead of bytes; ban rules and ledger work as ever."""
        return self.call("createTask", {"clientKey": key, "task": task, **top}, address=address)

    def result(self, key: str, task_id: int | str, *, address: str = "127.0.0.1") -> Reply:
        """getTaskResult with values instead of bytes."""
        return self.call("getTaskResult", {"clientKey": key, "taskId": task_id}, address=address)

    def error(self, code: Trouble | str, method: str, detail: str = "") -> Reply:
        """This vendor's answer for a trouble, or with a code given by name."""
        vendor_code = self.dialect.codes[code] if isinstance(code, Trouble) else code
        error_id = self._rules.error_ids.get(vendor_code, UNNUMBERED_ERROR_ID) if self.dialect.numeric_error_ids else 1
        self._errors += 1
        return answers.error(self.dialect, vendor_code, error_id, method, detail, self._errors)

    def inject(self, method: str, code: str, who: str, address: str) -> Reply:
        """An error that a fault asks for; it counts like one of the vendor's own. Digits stand for a bare errorId."""
        if code.isdecimal():
            return Reply({"errorId": int(code)}, code=code)
        self.bans.note(method, code, who, address, self.clock())
        return self.error(code, method, "injected fault")

    def _blocked(self, method: str, who: str, address: str, now: float) -> Reply | None:
        until, code = self._blocks.get(address, (float("-inf"), ""))
        if now < until:
            return self.error(code, method)
        rule = self.bans.standing(method, who, address, now)
        return None if rule is None else self.error(rule.vendor_code, method)

    def _answer(self, request: _Request) -> Reply:
        method, fields, account = request.method, request.fields, request.account
        special = methods.without_key(self, method, fields, request.verb, request.now)
        if special is not None:
            return special
        for trouble, applies in _REQUEST_CHECKS:
            if applies(self, request):
                return self._refused(trouble, method)
        assert fields is not None and account is not None  # noqa: S101, PT018 - two of the checks above, for type checkers
        match method:
            case "createTask":
                return self._create(account, fields, request.address, request.now)
            case "getTaskResult":
                return self._result(account, fields, request.address, request.now)
            case "getBalance":
                return answers.balance(self.dialect, account.balance, account.captcha_credits)
            case _:
                return methods.table(self.catalog)[method](self, account, fields, request.now)

    def _refused(self, trouble: Trouble, method: str) -> Reply:
        # CapMonster has no code for a wrong path or verb (ERROR_NO_SUCH_METHOD is a wrong task type there), so its web
        # server answers.
        status = _WEB_SERVER_STATUS.get(trouble)
        if self.provider == "capmonster" and status is not None:
            return Reply({}, status, raw=b"<html><h1>%d</h1></html>" % status, headers=answers.HTML_HEADERS)
        return self.error(trouble, method)

    # -- createTask ----------------------------------------------------------------------------------------------------

    def _create(self, account: VendorAccount, fields: Mapping[str, Any], address: str, now: float) -> Reply:
        method = "createTask"
        order = self._read_order(account, fields, now)
        if isinstance(order, Finding):
            return self.error(order.trouble, method, order.detail)
        for trouble, applies in _CREATE_CHECKS:
            if applies(self, order):
                return self.error(trouble, method)
        made = self._make_task(order, fields, address)
        if not order.spec.timing.sync:
            return answers.accepted(self.dialect, made.id)
        self.advance_to(now)
        if made.state is TaskState.FAILED:
            return self.error(made.fail_code or Trouble.UNSOLVABLE, method)
        made.delivered = 1
        return answers.ready_at_once(self.dialect, made, self._solution(made))

    def _read_order(self, account: VendorAccount, fields: Mapping[str, Any], now: float) -> _Order | Finding:
        task = fields.get("task")
        if not isinstance(task, Mapping) or not task:
            return Finding(Trouble.TASK_ABSENT, "task")
        name = task.get("type")
        spec = type_spec(self.catalog, name) if isinstance(name, str) else None
        if spec is None:
            return Finding(Trouble.TASK_TYPE, "type")
        finding = check_task(self.dialect, spec, task, self.strict)
        if finding is not None:
            return finding
        price = self.dialect.image_price if spec.image else self.dialect.price
        return _Order(account, task, spec, price, now)

    def _make_task(self, order: _Order, fields: Mapping[str, Any], address: str) -> Task:
        spec, now = order.spec, order.now
        solve_s = solve_seconds(self.solve_time, self._task_rng, spec.name, spec.image) / self.speed
        fails = self._task_rng.random() < self.failure_rate
        # Drawn in any case and in this order, so that a setting that changes one of them leaves the others as they were.
        seed = self._task_rng.getrandbits(64)
        limit = self.dialect.solve_limit_s
        code = self.dialect.codes[Trouble.UNSOLVABLE] if fails else None
        if limit is not None and solve_s > limit:
            solve_s, code = limit, self.dialect.codes[Trouble.TIMED_OUT]
        made = Task(
            id=self._tasks.new_id(), account=order.account.name, type=spec.name, timing=spec.timing,
            fields={name: _light(value) for name, value in order.task.items()}, address=address, created_at=now,
            amount=order.price, solve_s=0.0 if spec.timing.sync else solve_s, seed=seed, fail_code=code,
            callback_url=self._callback_url(fields), soft_id=fields.get("softId"),
        )  # fmt: skip
        variables = order.task.get("variables")
        if isinstance(variables, Mapping):
            made.waits_for = {key for key, value in variables.items() if value == WAITS}
        self._tasks.add(made, now)
        return made

    def _callback_url(self, fields: Mapping[str, Any]) -> str | None:
        url = fields.get("callbackUrl")
        return url if self.dialect.callbacks and isinstance(url, str) and url else None

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance_to(self, now: float | None = None) -> None:
        """Bring ledger and balances up to date: finish what is done, charge or refund, drop what has expired."""
        if now is None:
            now = self.clock()
        for task in self._tasks.advance_to(now):
            if task.callback_url is not None:
                body = self._finished(task, "getTaskResult").encode()
                at = now if task.settled_at is None else task.settled_at
                self._callbacks.append(Callback(task.callback_url, body, task.id, at))

    def due_callbacks(self, now: float | None = None) -> list[Callback]:
        """The callbacks that the vendor sends now; each is handed out once. The doors deliver them, to loopback only."""
        self.advance_to(now)
        due, self._callbacks = self._callbacks, []
        return due

    def next_due_at(self) -> float | None:
        """When the next task is finished or dropped; None when nothing is under way."""
        return self._tasks.next_due_at()

    def start(self, task: Task, now: float) -> None:
        """Put a worker on a task that waited for a variable."""
        self._tasks.start(task, now)

    # -- getTaskResult -------------------------------------------------------------------------------------------------

    def find(self, account: VendorAccount, task_id: object) -> Task | Trouble:
        """The account's living task with this id (a numeric string is taken for a number), or what is wrong with it."""
        return self._tasks.find(account, task_id)

    def _result(self, account: VendorAccount, fields: Mapping[str, Any], address: str, now: float) -> Reply:
        method = "getTaskResult"
        task = self.find(account, fields.get("taskId"))
        if isinstance(task, Trouble):
            return self.error(task, method)
        task.polls += 1
        last, task.last_poll_at = task.last_poll_at, now
        if task.timing.polls_max is not None and task.polls > task.timing.polls_max:
            self.poll_violations += 1
            if self.dialect.polls_end_task:
                self._tasks.drop(task)
                return self.error(Trouble.UNKNOWN_ID, method)
            rules = self._rules.poll_bans
            for rule in rules:
                self.bans.impose(rule, account.name, address, now)
            return self.error(rules[0].vendor_code if rules else Trouble.UNKNOWN_ID, method)
        floor_s = task.timing.min_first_s if last is None else task.timing.min_gap_s
        if now - (task.created_at if last is None else last) < floor_s - _EPSILON_S:
            self.gap_violations += 1
            if self.strict_pacing:
                return self._too_early(task, method)
        if task.state is TaskState.PENDING:
            return answers.processing(self.dialect, task, self._flavour())
        if task.state is TaskState.SOLVED:
            task.delivered += 1
        return self._finished(task, method)

    def _too_early(self, task: Task, method: str) -> Reply:
        """The answer to an early poll in strict mode: the vendor's code for it, or "processing" where it has none."""
        if Trouble.POLLED_TOO_FAST in self.dialect.codes:
            return self.error(Trouble.POLLED_TOO_FAST, method)
        return answers.processing(self.dialect, task, self._flavour())

    def _finished(self, task: Task, method: str) -> Reply:
        if task.state is TaskState.FAILED:
            return self.error(task.fail_code or Trouble.UNSOLVABLE, method)
        return answers.ready(self.dialect, task, self._solution(task), self.epoch_s)

    def _solution(self, task: Task) -> dict[str, Any]:
        return make_solution(self.catalog.family, task.fields, task.seed)

    def _flavour(self) -> str:
        if self.processing != "mixed":
            return self.processing
        # Mostly the usual answer: an account that got 5xx for every second poll would look like a failing vendor.
        return self._flavour_rng.choice(("plain", "plain", "plain", "not_ready", "http_500", "http_503"))

    # -- trouble on purpose --------------------------------------------------------------------------------------------

    def no_slots(self, seconds: float, task_type: str = "*") -> None:
        """From now on, and for so long, no worker is free (for one task type, or for all)."""
        self._outages[task_type] = self.clock() + seconds

    def block(self, seconds: float, *, address: str = "127.0.0.1", code: str = "ERROR_IP_BLOCKED") -> None:
        """Block an address for a while, whatever it did."""
        self._blocks[address] = (self.clock() + seconds, code)

    def has_outage(self, task_type: str, now: float) -> bool:
        """Whether `no_slots` holds for this task type at this time."""
        return now < max(self._outages.get("*", 0.0), self._outages.get(task_type, 0.0))

    @property
    def unfinished(self) -> int:
        """Tasks of all accounts that are not finished."""
        return self._tasks.unfinished

    def fail_task(self, task_id: int | str, code: str) -> None:
        """Let a pending task end with this vendor code instead of a solution."""
        self.task(task_id).fail_code = code

    def known_task(self, task_id: object) -> Task | None:
        """The task that a request means by this id, whoever asks and however old it is; None when there is none."""
        return self._tasks.known(task_id)

    def task(self, task_id: int | str) -> Task:
        """The task with this id, dropped ones included. Raises KeyError for an id never given."""
        task = self._tasks.known(task_id)
        if task is None:
            raise KeyError(task_id)
        return task


# No vendor documents in which order it looks when several things are wrong. Ours is that of a server which knows the
# path before it reads a body, and the key before it looks at an account.
_REQUEST_CHECKS: tuple[tuple[Trouble, Callable[[Vendor, _Request], bool]], ...] = (
    (Trouble.UNKNOWN_METHOD, lambda vendor, request: not methods.is_known(vendor.catalog, request.method)),
    (Trouble.WRONG_VERB, lambda vendor, request: request.verb != "POST"),
    (Trouble.BAD_JSON, lambda vendor, request: request.fields is None),
    (Trouble.UNKNOWN_KEY, lambda vendor, request: request.account is None or request.account.closed),
    (Trouble.SUSPENDED, lambda vendor, request: request.account is not None and request.account.suspended),
    (Trouble.ADDRESS_NOT_ALLOWED, lambda vendor, request: not _is_allowed_from(request.account, request.address)),
)

# What the caller can put right comes first, the vendor's own capacity last: a task that could never be solved must not
# wait for a worker to hear of it.
_CREATE_CHECKS: tuple[tuple[Trouble, Callable[[Vendor, _Order], bool]], ...] = (
    (Trouble.TEMPLATE, lambda vendor, order: order.account.lacks_template(order.task.get("templateName"))),
    (Trouble.NO_FUNDS, lambda vendor, order: order.account.balance < order.price),
    (Trouble.NO_WORKERS, lambda vendor, order: vendor.has_outage(order.spec.name, order.now)),
    (Trouble.SLOTS_FULL, lambda vendor, order: order.account.has_full_slots),
    (Trouble.NO_WORKERS, lambda vendor, order: vendor.workers is not None and vendor.unfinished >= vendor.workers),
)

_WEB_SERVER_STATUS: Mapping[Trouble, int] = {Trouble.UNKNOWN_METHOD: 404, Trouble.WRONG_VERB: 405}


def _is_allowed_from(account: VendorAccount | None, address: str) -> bool:
    return account is None or account.allowed_addresses is None or address in account.allowed_addresses


def _branch(rng: random.Random) -> random.Random:
    return random.Random(rng.getrandbits(64))


def _light(value: Any) -> Any:
    """A task field as it is kept: an image is of no use after the check, but how many there were may be."""
    if isinstance(value, str):
        return value if len(value) <= 500 else ""
    return [_light(item) for item in value[:100]] if isinstance(value, list) else value


def parse_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object in a request body; None for anything else. A byte order mark is taken away, as servers do."""
    try:
        fields = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
