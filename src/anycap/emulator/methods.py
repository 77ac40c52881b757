"""The vendors' other methods: reports, statistics, AntiGate variables, feedback and the rest.

Each is a function of (vendor, account, fields, time) to a `Reply`; `table` says which vendor has which. createTask,
getTaskResult and getBalance are in `model.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from anycap.emulator.accounts import VendorAccount
from anycap.emulator.answers import TEXT_HEADERS, Reply
from anycap.emulator.dialects import Trouble
from anycap.emulator.ledger import Ledger, Task, TaskState
from anycap.emulator.solutions import USER_AGENT
from anycap.providers.catalog import Catalog


class Vendor(Protocol):
    """What these methods need of the vendor in `model.py`, which imports this module."""

    provider: str
    seed: int
    epoch_s: float

    @property
    def ledger(self) -> Ledger: ...
    def error(self, code: Trouble | str, method: str, detail: str = "") -> Reply: ...
    def find(self, account: VendorAccount, task_id: object) -> Task | Trouble: ...
    def start(self, task: Task, now: float) -> None: ...


Method = Callable[[Vendor, VendorAccount, Mapping[str, Any], float], Reply]

_MAIN = frozenset({"createTask", "getTaskResult", "getBalance"})
_DAY_S = 86_400.0
_COUNTED_REPORTS_MIN = 100
"""anti-captcha counts reports of reCAPTCHA tokens from so many tasks a day on; its catalog has the source."""
_QUEUES = frozenset((1, 2, 5, 6, 7, 10, 12, 13, *range(18, 30)))
_SUCCESS: Mapping[str, Any] = {"errorId": 0, "status": "success"}

# Which tasks a report method takes, by a part of the type's name; anything else is an id the vendor does not find.
_IMAGES = ("ImageTo", "ComplexImage")
_RECAPTCHA = ("Recaptcha", "ReCaptcha", "NoCaptcha")
_TOKENS = ("Recaptcha", "ReCaptcha", "NoCaptcha", "GeeTest", "Turnstile")


def without_key(vendor: Vendor, method: str, fields: Mapping[str, Any] | None, verb: str, now: float) -> Reply | None:
    """The few methods that take no key: getQueueStats, and CapMonster's page with the current user agent."""
    if vendor.provider == "anti-captcha" and method == "getQueueStats" and verb == "POST":
        return _queue_stats(vendor, fields, now)
    if vendor.provider == "capmonster" and method == "api/useragent/actual":
        return Reply({}, raw=USER_AGENT.encode(), headers=TEXT_HEADERS)
    return None


def table(catalog: Catalog) -> Mapping[str, Method]:
    """The methods of this vendor that need a key, but for the main three (third parties: the reports of the catalog)."""
    return _TABLES[catalog.name] if catalog.name in _TABLES else _third_party(catalog)


def is_known(catalog: Catalog, method: str) -> bool:
    """Whether the vendor has a method of this name that takes a key."""
    return method in _MAIN or method in table(catalog)


@lru_cache(maxsize=100)
def _third_party(catalog: Catalog) -> Mapping[str, Method]:
    return {name: _report(spec.reports, ("",)) for name, spec in catalog.tasks.methods.items() if spec.reports}


def _report(kind: str, types: tuple[str, ...], *, english_only: bool = False, counted: bool = False) -> Method:
    def report(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
        task = _reportable(vendor, account, fields, now)
        fits = task is not None and any(part in task.type for part in types)
        if task is None or not fits or (english_only and task.fields.get("languagePool") == "rn"):
            return vendor.error(Trouble.UNKNOWN_ID, "report")
        task.report = kind
        task.report_counted = not counted or _tasks_in_a_day(vendor, account, now) >= _COUNTED_REPORTS_MIN
        return Reply(_SUCCESS)

    return report


def _reportable(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Task | None:
    """The finished task that may still be reported: as long as its result is kept (60 s at anti-captcha), and once."""
    task = vendor.find(account, fields.get("taskId"))
    if isinstance(task, Trouble) or task.state is not TaskState.SOLVED or task.report:
        return None
    return task


def _tasks_in_a_day(vendor: Vendor, account: VendorAccount, now: float) -> int:
    count = 0
    for task in reversed(vendor.ledger.tasks):
        if now - task.created_at > _DAY_S or count >= _COUNTED_REPORTS_MIN:
            break
        count += task.account == account.name and any(part in task.type for part in _RECAPTCHA)
    return count


def _feedback(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    verdict = fields.get("result")
    if not isinstance(verdict, Mapping) or not isinstance(verdict.get("invalid"), bool):
        return vendor.error("ERROR_INVALID_TASK_DATA", "feedbackTask", "result.invalid")
    task = _reportable(vendor, account, fields, now)
    if task is None:
        return vendor.error(Trouble.UNKNOWN_ID, "feedbackTask")
    task.report = "incorrect" if verdict["invalid"] else "correct"
    return Reply({"errorId": 0, "message": "okay"})


def _queue_stats(vendor: Vendor, fields: Mapping[str, Any] | None, now: float) -> Reply:
    queue = None if fields is None else fields.get("queueId")
    if isinstance(queue, str) and queue.isdecimal():
        queue = int(queue)
    if isinstance(queue, bool) or queue not in _QUEUES:
        return vendor.error(Trouble.FIELDS, "getQueueStats", "queueId")
    # The vendor caches the answer for 10 seconds; so the same ten seconds give the same numbers.
    rng = random.Random(f"{vendor.seed}/{queue}/{int(now // 10)}")
    total = rng.randrange(100, 1000)
    waiting = rng.randrange(total)
    return Reply(
        {
            "waiting": waiting,
            "load": round(100 * (total - waiting) / total, 2),
            "bid": f"{rng.uniform(0.0005, 0.003):.10f}",
            "speed": round(rng.uniform(3, 30), 2),
            "total": total,
        }
    )


def _spending_stats(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    start = fields.get("date")
    if start is None:
        start = vendor.epoch_s + now - 23 * 3600  # the running hour is the last of the 24
    elif isinstance(start, bool) or not isinstance(start, int):
        return vendor.error(Trouble.FIELDS, "getSpendingStats", "date")
    begin = int(start) // 3600 * 3600
    volume, money = [0] * 24, [Decimal(0)] * 24
    for task in vendor.ledger.of(account.name):
        hour = int((vendor.epoch_s + task.created_at - begin) // 3600)
        if 0 <= hour < 24 and _wanted(task, fields):
            volume[hour] += 1
            money[hour] += task.paid
    rows = [
        {
            "dateFrom": begin + 3600 * hour,
            "dateTill": begin + 3600 * hour + 3599,
            "volume": volume[hour],
            "money": float(money[hour]),
        }
        for hour in range(24)
        if volume[hour]
    ]
    return Reply({"errorId": 0, "data": rows})


def _wanted(task: Task, fields: Mapping[str, Any]) -> bool:
    queue, soft_id, address = fields.get("queue"), fields.get("softId"), fields.get("ip")
    if soft_id is not None and soft_id != task.soft_id:
        return False
    if address is not None and address != task.address:
        return False
    if not isinstance(queue, str):
        return True
    name, wanted = task.type.lower(), queue.lower()
    if "imagetotext" in wanted:
        return "imagetotext" in name and (task.fields.get("languagePool") == "rn") == ("russian" in wanted)
    return wanted.split()[0] in name and ("proxyless" in wanted) == ("proxyless" in name)


def _app_stats(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    mode = fields.get("mode", "errors")
    if mode not in ("errors", "views", "downloads", "users", "money"):
        return vendor.error(Trouble.FIELDS, "getAppStats", "mode")
    app = fields.get("softId")
    if app not in account.apps:
        return vendor.error(Trouble.ACCESS_DENIED, "getAppStats")
    tasks = [task for task in vendor.ledger.tasks if task.soft_id == app]
    count = sum(1 for t in tasks if t.state is TaskState.FAILED) if mode == "errors" else len(tasks)
    today = int(vendor.epoch_s + now) // 86_400 * 86_400
    series = [{"name": mode, "data": [[today * 1000, count]]}]
    return Reply({"errorId": 0, "chartData": series, "fromDate": today, "toDate": today + 86_399})


def _push_variable(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    method = "pushAntiGateVariable"
    task = vendor.find(account, fields.get("taskId"))
    if isinstance(task, Trouble):
        return vendor.error(task, method)
    name = fields.get("name")
    if not isinstance(name, str) or "value" not in fields or name not in task.waits_for:
        return vendor.error(Trouble.FIELDS, method, "name")
    task.waits_for.discard(name)
    if not task.waits_for:
        vendor.start(task, now)
    return Reply(_SUCCESS)


def _soft_id(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    return Reply({"errorId": 0, "softID": 1000 + vendor.seed % 9000, "balance": 36.0098})


def _test(vendor: Vendor, account: VendorAccount, fields: Mapping[str, Any], now: float) -> Reply:
    return Reply(_SUCCESS)


_TABLES: Mapping[str, Mapping[str, Method]] = {
    "anti-captcha": {
        "reportIncorrectImageCaptcha": _report("incorrect", _IMAGES, english_only=True),
        "reportIncorrectRecaptcha": _report("incorrect", _RECAPTCHA, counted=True),
        "reportCorrectRecaptcha": _report("correct", _RECAPTCHA, counted=True),
        "reportIncorrectHcaptcha": _report("incorrect", ("HCaptcha",)),
        "getSpendingStats": _spending_stats,
        "getAppStats": _app_stats,
        "pushAntiGateVariable": _push_variable,
        "test": _test,
    },
    "capmonster": {
        "reportIncorrectImageCaptcha": _report("incorrect", _IMAGES),
        "reportIncorrectTokenCaptcha": _report("incorrect", _TOKENS),
        "reportIncorrectRecaptcha": _report("incorrect", _TOKENS),
    },
    "yescaptcha": {"getSoftID": _soft_id},
    "ezcaptcha": {},
    "2captcha": {
        "reportCorrect": _report("correct", ("",)),
        "reportIncorrect": _report("incorrect", ("",)),
        "test": _test,
    },
    "capsolver": {"feedbackTask": _feedback},
}
