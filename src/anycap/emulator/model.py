"""A vendor as a state machine without I/O: give it a request and the time, get the answer the vendor would send.

`Vendor.handle` speaks bytes, `Vendor.call` values; `create`, `result` and `balance` are its three main methods, the
others are in `methods.py`. Clock and random source come in as arguments; nothing here sleeps, prints or opens anything.
Its neighbours: `accounts.py` (keys and balances), `ledger.py` (the books), `bans.py`, `validation.py`, `answers.py`.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from attrs import frozen

from anycap.core.vendor_limits import BanRule
from anycap.credentials import Secret, fingerprint
from anycap.emulator import answers, methods
from anycap.emulator.accounts import DEFAULT_KEY, VendorAccount, book_name
from anycap.emulator.answers import Reply
from anycap.emulator.bans import Bans
from anycap.emulator.clock import Clock
from anycap.emulator.dialects import Trouble
from anycap.emulator.ledger import Ledger, Task, TaskState
from anycap.emulator.solutions import make_solution
from anycap.emulator.solve_times import SolveTime, solve_seconds
from anycap.emulator.third_party_dialects import dialect_of
from anycap.emulator.validation import check_task
from anycap.emulator.vendor_rules import TypeSpec, rulebook, type_spec
from anycap.taxonomy import Code, Scope

_TOO_MANY_POLLS = BanRule(
    "polls-per-task", 1, 1.0, 600.0, "ERROR_IP_BLOCKED", Scope.ADDRESS,
    source="docs/api/block-reason, WrongTaskId: more than 120 requests for a task; 10 minutes",
)  # fmt: skip
_EPSILON_S = 1e-6
WAITS = "_WAIT_FOR_IT_"


@frozen
class Callback:
    """A result that the vendor POSTs to the customer's own address, with contents like those of getTaskResult."""

    url: str
    body: bytes
    task_id: int | str
    at: float


class Vendor:
    """One emulated vendor: its accounts, tasks, books and temper.

    `clock` gives seconds (any origin; `epoch_s` is added where the vendor shows Unix times), `rng` decides everything
    that chance decides. `slots` is how many unfinished tasks an account may have, `workers` how many the vendor can
    work on for all. `failure_rate` of the tasks end with the vendor's unsolvable code. `processing` is the flavour of
    "not ready" answers: plain, not_ready, http_500, http_503, or mixed (CapMonster only). `strict` refuses fields that
    the vendor does not document. `speed` divides every solve time; limits and bans keep their own.

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
        self,
        provider: str,
        *,
        clock: Clock,
        rng: random.Random,
        key: str | Secret = DEFAULT_KEY,
        balance: Decimal | float | str | None = None,
        solve_time: SolveTime | None = None,
        slots: int | None = None,
        workers: int | None = None,
        failure_rate: float = 0.0,
        processing: str = "plain",
        strict: bool = True,
        speed: float = 1.0,
        epoch_s: float = 0.0,
    ) -> None:
        self.provider = provider
        self.dialect = dialect_of(provider)
        self.clock = clock
        self.solve_time = solve_time
        self.workers = workers
        self.failure_rate = failure_rate
        self.processing = processing
        self.strict = strict
        self.speed = speed
        self.epoch_s = epoch_s
        self.ledger = Ledger()
        self.accounts: dict[str, VendorAccount] = {}
        self.gap_violations = 0
        self.poll_violations = 0
        self._book = rulebook(provider)
        self.bans = Bans(self._book.ban_rules, self._book.shared_codes, (_TOO_MANY_POLLS,))
        # One stream per concern: how often a client polls must not change how long its next task takes.
        self._task_rng, self._id_rng, self._flavour_rng = (_branch(rng) for _ in range(3))
        self.seed = rng.getrandbits(64)
        self._tasks: dict[int | str, Task] = {}
        self._unfinished = 0
        self._due: list[tuple[float, int, Task]] = []
        self._order = 0
        self._next_id = self.dialect.first_task_id
        self._outages: dict[str, float] = {}
        self._blocks: dict[str, tuple[float, str]] = {}
        self._callbacks: list[Callback] = []
        self.add_account(key, balance=balance, slots=slots)

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
        """The name in the books of whoever sends this key."""
        return book_name(key, options=self.provider == "capmonster")

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
        self.settle(now)
        key = None if fields is None else fields.get("clientKey")
        who = self.name_of(key) if isinstance(key, str) else "no key"
        reply = self._blocked(method, who, address, now)
        if reply is None:
            reply = self._dispatch(method, fields, verb, who, address, now)
        if reply.code is not None and self._book.shared_codes.get(reply.code) is not Code.NOT_READY:
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
        error_id = self._book.error_ids.get(vendor_code, 1) if self.dialect.numeric_error_ids else 1
        self._order += 1
        return answers.error(self.dialect, vendor_code, error_id, method, detail, self._order)

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

    def _dispatch(
        self, method: str, fields: Mapping[str, Any] | None, verb: str, who: str, address: str, now: float
    ) -> Reply:
        special = methods.without_key(self, method, fields, verb, now)
        if special is not None:
            return special
        known = methods.table(self.provider)
        if method not in ("createTask", "getTaskResult", "getBalance") and method not in known:
            return self._refused(Trouble.UNKNOWN_METHOD, method, 404)
        if verb != "POST":
            return self._refused(Trouble.WRONG_VERB, method, 405)
        if fields is None:
            return self.error(Trouble.BAD_JSON, method)
        account = self.accounts.get(who)
        if account is None or account.closed:
            return self.error(Trouble.UNKNOWN_KEY, method)
        if account.suspended:
            return self.error(Trouble.SUSPENDED, method)
        if account.allowed_addresses is not None and address not in account.allowed_addresses:
            return self.error(Trouble.ADDRESS_NOT_ALLOWED, method)
        if method == "getTaskResult":
            return self._result(account, fields, address, now)
        if method == "createTask":
            return self._create(account, fields, address, now)
        if method == "getBalance":
            return answers.balance(self.dialect, account.balance, account.captcha_credits)
        return known[method](self, account, fields, now)

    def _refused(self, trouble: Trouble, method: str, status: int) -> Reply:
        """CapMonster has no code for a wrong path or verb (ERROR_NO_SUCH_METHOD is a wrong task type there)."""
        if self.provider == "capmonster":
            return Reply({}, status, raw=b"<html><h1>%d</h1></html>" % status, headers=answers.HTML_HEADERS)
        return self.error(trouble, method)

    # -- createTask ----------------------------------------------------------------------------------------------------

    def _create(self, account: VendorAccount, fields: Mapping[str, Any], address: str, now: float) -> Reply:
        method = "createTask"
        task = fields.get("task")
        if not isinstance(task, Mapping) or not task:
            return self.error(Trouble.TASK_ABSENT, method, "task")
        name = task.get("type")
        spec = type_spec(self.provider, name) if isinstance(name, str) else None
        if spec is None:
            return self.error(Trouble.TASK_TYPE, method, "type")
        finding = check_task(self.dialect, spec, task, self.strict)
        if finding is not None:
            return self.error(finding.trouble, method, finding.detail)
        if name == "AntiGateTask" and task.get("templateName") in account.missing_templates:
            return self.error(Trouble.TEMPLATE, method)
        price = self.dialect.image_price if spec.image else self.dialect.price
        if account.balance < price:
            return self.error(Trouble.NO_FUNDS, method)
        if now < max(self._outages.get("*", 0.0), self._outages.get(spec.name, 0.0)):
            return self.error(Trouble.NO_WORKERS, method)
        if account.slots is not None and account.unfinished >= account.slots:
            return self.error(Trouble.SLOTS_FULL, method)
        if self.workers is not None and self._unfinished >= self.workers:
            return self.error(Trouble.NO_WORKERS, method)
        made = self._make_task(account, spec, task, fields, address, now, price)
        if not spec.timing.sync:
            return answers.accepted(self.dialect, made.id)
        self.settle(now)
        if made.state is TaskState.FAILED:
            return self.error(made.fail_code or Trouble.UNSOLVABLE, method)
        made.delivered = 1
        return answers.ready_at_once(self.dialect, made, self._solution(made))

    def _make_task(
        self, account: VendorAccount, spec: TypeSpec, task: Mapping[str, Any], fields: Mapping[str, Any], address: str,
        now: float, price: Decimal,
    ) -> Task:  # fmt: skip
        solve_s = solve_seconds(self.solve_time, self._task_rng, spec.name, spec.image) / self.speed
        fails = self._task_rng.random() < self.failure_rate
        seed = self._task_rng.getrandbits(64)
        limit = self.dialect.solve_limit_s
        code = self.dialect.codes[Trouble.UNSOLVABLE] if fails else None
        if limit is not None and solve_s > limit:
            solve_s, code = limit, self.dialect.codes[Trouble.TIMED_OUT]
        made = Task(
            id=self._new_id(), account=account.name, type=spec.name, timing=spec.timing,
            fields={name: _light(value) for name, value in task.items()}, address=address, created_at=now, amount=price,
            solve_s=0.0 if spec.timing.sync else solve_s, seed=seed, fail_code=code,
            callback_url=self._callback_url(fields), soft_id=fields.get("softId"),
        )  # fmt: skip
        variables = task.get("variables")
        if isinstance(variables, Mapping):
            made.waits_for = {key for key, value in variables.items() if value == WAITS}
        account.balance -= price
        account.unfinished += 1
        self._unfinished += 1
        self._tasks[made.id] = made
        self.ledger.add(made)
        if not made.waits_for:
            self.start(made, now)
        return made

    def start(self, task: Task, now: float) -> None:
        """Put a worker on the task: it is done after its solve time."""
        task.done_at = now + task.solve_s
        self._push(task.done_at, task)

    def _callback_url(self, fields: Mapping[str, Any]) -> str | None:
        url = fields.get("callbackUrl")
        return url if self.dialect.callbacks and isinstance(url, str) and url else None

    def _new_id(self) -> int | str:
        if self.dialect.uuid_ids:
            return str(uuid.UUID(int=self._id_rng.getrandbits(128), version=4))
        self._next_id += 1
        return self._next_id - 1

    def _push(self, at: float, task: Task) -> None:
        self._order += 1
        heapq.heappush(self._due, (at, self._order, task))

    # -- time ----------------------------------------------------------------------------------------------------------

    def settle(self, now: float | None = None) -> None:
        """Bring the books up to date: finish what is done, charge or refund, drop what has expired."""
        if now is None:
            now = self.clock()
        due = self._due
        while due and due[0][0] <= now:
            at, _, task = heapq.heappop(due)
            if task.state is TaskState.PENDING:
                self._finish(task, at)
            else:
                self._drop(task)

    def _finish(self, task: Task, at: float) -> None:
        account = self.accounts[task.account]
        account.unfinished -= 1
        self._unfinished -= 1
        task.settled_at = at
        if task.fail_code is None:
            task.state = TaskState.SOLVED
        else:
            task.state = TaskState.FAILED
            if task.fail_code not in self.dialect.charges_failures:
                task.refunded = task.amount
                account.balance += task.amount
        timing = task.timing
        kept_until = math.inf if timing.result_life_s is None else at + timing.result_life_s
        if timing.life_s is not None:
            kept_until = min(kept_until, max(at, task.created_at + timing.life_s))
        if kept_until < math.inf:
            self._push(kept_until, task)
        if task.callback_url is not None:
            body = self._finished(task, "getTaskResult").encode()
            self._callbacks.append(Callback(task.callback_url, body, task.id, at))

    def _drop(self, task: Task) -> None:
        task.gone = True
        if task.state is TaskState.SOLVED and not task.delivered:
            task.state = TaskState.EXPIRED

    def due_callbacks(self, now: float | None = None) -> list[Callback]:
        """The callbacks that the vendor sends now; each is handed out once. The doors deliver them, to loopback only."""
        self.settle(now)
        due, self._callbacks = self._callbacks, []
        return due

    def next_due_at(self) -> float | None:
        """When the next task is done or dropped; None when nothing is under way."""
        return self._due[0][0] if self._due else None

    # -- getTaskResult -------------------------------------------------------------------------------------------------

    def find(self, account: VendorAccount, task_id: object) -> Task | Trouble:
        """The account's living task with this id (a numeric string is taken for a number), or what is wrong with it."""
        if self.dialect.uuid_ids:
            if not isinstance(task_id, str):
                return Trouble.MALFORMED_ID
        elif isinstance(task_id, str) and task_id.isascii() and task_id.isdecimal() and len(task_id) < 20:
            task_id = int(task_id)
        elif isinstance(task_id, bool) or not isinstance(task_id, int):
            return Trouble.MALFORMED_ID
        task = self._tasks.get(task_id)
        if task is None or task.gone or task.account != account.name:
            return Trouble.UNKNOWN_ID
        return task

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
                task.gone = True
                if task.state is TaskState.SOLVED and not task.delivered:
                    task.state = TaskState.EXPIRED
                return self.error(Trouble.UNKNOWN_ID, method)
            self.bans.impose(_TOO_MANY_POLLS, account.name, address, now)
            return self.error("ERROR_IP_BLOCKED", method)
        if last is not None and now - last < task.timing.min_gap_s - _EPSILON_S:
            self.gap_violations += 1
            return self.error(Trouble.POLLED_TOO_FAST, method)
        if task.state is TaskState.PENDING:
            return answers.processing(self.dialect, task, self._flavour())
        if task.state is TaskState.SOLVED:
            task.delivered += 1
        return self._finished(task, method)

    def _finished(self, task: Task, method: str) -> Reply:
        if task.state is TaskState.FAILED:
            return self.error(task.fail_code or Trouble.UNSOLVABLE, method)
        return answers.ready(self.dialect, task, self._solution(task), self.epoch_s)

    def _solution(self, task: Task) -> dict[str, Any]:
        return make_solution(self.provider, task.fields, task.seed)

    def _flavour(self) -> str:
        if self.processing != "mixed":
            return self.processing
        return self._flavour_rng.choice(("plain", "plain", "plain", "not_ready", "http_500", "http_503"))

    # -- trouble on purpose --------------------------------------------------------------------------------------------

    def no_slots(self, seconds: float, task_type: str = "*") -> None:
        """From now on, and for so long, no worker is free (for one task type, or for all)."""
        self._outages[task_type] = self.clock() + seconds

    def block(self, seconds: float, *, address: str = "127.0.0.1", code: str = "ERROR_IP_BLOCKED") -> None:
        """Block an address for a while, whatever it did."""
        self._blocks[address] = (self.clock() + seconds, code)

    def fail_task(self, task_id: int | str, code: str) -> None:
        """Let a pending task end with this vendor code instead of a solution."""
        self._tasks[task_id].fail_code = code

    def known_task(self, task_id: object) -> Task | None:
        """The task that a request means by this id, whoever asks and however old it is; None when there is none."""
        if isinstance(task_id, str) and not self.dialect.uuid_ids and task_id.isdecimal() and len(task_id) < 20:
            task_id = int(task_id)
        return self._tasks.get(task_id) if isinstance(task_id, int | str) else None

    def task(self, task_id: int | str) -> Task:
        """The task with this id, dropped ones included. Raises KeyError for an id never given."""
        return self._tasks[task_id]


def _branch(rng: random.Random) -> random.Random:
    return random.Random(rng.getrandbits(64))


def _light(value: Any) -> Any:
    """A task field as the books keep it: images and pages are of no use after the check, their number may be."""
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


__all__ = ["DEFAULT_KEY", "Callback", "Vendor", "fingerprint", "parse_body"]
