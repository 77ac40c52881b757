"""The JSON answers of each vendor family, spelled as the vendor spells them, down to the order of the keys.

One function per situation; the vendor's state is in `model.py`, its codes in `dialects.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, assert_never

from attrs import frozen

from anycap.emulator.dialects import Dialect, Style
from anycap.emulator.ledger import Task

JSON_HEADERS: tuple[tuple[str, str], ...] = (("Content-Type", "application/json; charset=utf-8"),)
HTML_HEADERS: tuple[tuple[str, str], ...] = (("Content-Type", "text/html; charset=utf-8"),)
TEXT_HEADERS: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)


@frozen
class Reply:
    """What a vendor answers: HTTP status and JSON fields (or `raw` text instead). `code` is set on an error answer."""

    fields: Mapping[str, Any]
    status: int = 200
    code: str | None = None
    raw: bytes | None = None
    headers: tuple[tuple[str, str], ...] = JSON_HEADERS

    def encode(self) -> bytes:
        """The body as bytes."""
        if self.raw is not None:
            return self.raw
        text = json.dumps(self.fields, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace")  # half a surrogate pair, sent by a client, goes back as \\udXXX


# YesCaptcha describes some errors in Chinese and some in English; the wording here is ours.
_CHINESE = {
    "ERROR_REQUIRED_FIELDS": "请检查字段",
    "ERROR_THREADS_MAXIMUM": "并发任务已达上限",
    "ERROR_NO_SLOT_AVAILABLE": "资源不足，请3秒后再试",
    "ERROR_NO_SLOT_AVAILABLE_BLOCK": "资源不足，请20秒后再试",
    "ERROR_ZERO_BALANCE": "余额不足",
    "ERROR_KEY_DOES_NOT_EXIST": "密钥错误",
    "ERROR_TASKID_INVALID": "任务编号无效或已过期",
    "ERROR_TASK_TIMEOUT": "任务超时",
}


def _describe(dialect: Dialect, code: str, detail: str) -> str:
    if dialect.provider == "yescaptcha" and code in _CHINESE:
        return f"{_CHINESE[code]}: {detail}" if detail else _CHINESE[code]
    words = code.removeprefix("ERROR_").replace("_", " ").lower()
    return f"{words}: {detail}" if detail else words


def error(dialect: Dialect, code: str, error_id: int, method: str, detail: str = "", number: int = 0) -> Reply:
    """An error answer with the vendor's own code. `detail` is what the description names (a field, say)."""
    description = _describe(dialect, code, detail)
    fields: dict[str, Any] = {"errorId": error_id, "errorCode": code}
    match dialect.style:
        case Style.ANTI_CAPTCHA:
            fields["errorDescription"] = description
        case Style.CAPMONSTER:
            if method == "createTask":
                fields["errorDescription"] = description
                fields["taskId"] = 0
        case Style.YESCAPTCHA:
            fields["errorDescription"] = description
            if code in dialect.statuses:
                fields["requestId"] = f"{number:08x}"
        case Style.CAPSOLVER:
            fields["errorDescription"] = description
        case _:
            assert_never(dialect.style)
    return Reply(fields, dialect.statuses.get(code, dialect.error_status), code)


def accepted(dialect: Dialect, task_id: int | str) -> Reply:
    """createTask made a task."""
    match dialect.style:
        case Style.YESCAPTCHA:
            return Reply({"errorId": 0, "errorCode": "", "errorDescription": "", "taskId": task_id})
        case Style.CAPSOLVER:
            return Reply({"errorId": 0, "status": "idle", "taskId": task_id})
        case Style.ANTI_CAPTCHA | Style.CAPMONSTER:
            return Reply({"errorId": 0, "taskId": task_id})
        case _:
            assert_never(dialect.style)


def ready_at_once(dialect: Dialect, task: Task, solution: Mapping[str, Any]) -> Reply:
    """createTask of a synchronous type: the solution is in the answer (YesCaptcha in two spellings, after its wiki)."""
    if dialect.style is Style.CAPSOLVER:
        return Reply({"errorId": 0, "status": "ready", "solution": solution, "taskId": task.id})
    if "Classification" in task.type:
        return Reply(
            {
                "errorId": 0, "errorCode": "", "errorDescription": "null", "status": "ready", "taskId": task.id,
                "solution": solution,
            }
        )  # fmt: skip
    return Reply(
        {
            "errorId": 0,
            "errorCode": "",
            "errorDescription": "",
            "status": "ready",
            "solution": solution,
            "taskId": task.id,
        }
    )


def processing(dialect: Dialect, task: Task, flavour: str) -> Reply:
    """Not solved yet. `flavour`: plain, not_ready (an error code that is none), http_500 or http_503 (CapMonster)."""
    match dialect.style:
        case Style.CAPMONSTER:
            if flavour == "not_ready":
                return Reply({"errorId": 1, "errorCode": "CAPTCHA_NOT_READY"})
            if flavour in ("http_500", "http_503"):
                return Reply({}, int(flavour[5:]), raw=b"", headers=TEXT_HEADERS)
            return Reply({"errorCode": None, "errorDescription": None, "errorId": 0, "status": "processing"})
        case Style.YESCAPTCHA:
            return Reply(
                {"errorId": 0, "errorCode": None, "errorDescription": None, "solution": None, "status": "processing"}
            )
        case Style.CAPSOLVER:
            return Reply({"errorId": 0, "status": "idle" if task.polls <= 1 else "processing", "taskId": task.id})
        case Style.ANTI_CAPTCHA:
            return Reply({"errorId": 0, "status": "processing"})


def ready(dialect: Dialect, task: Task, solution: Mapping[str, Any], epoch_s: float) -> Reply:
    """The solution of a finished task."""
    match dialect.style:
        case Style.CAPMONSTER:
            if task.type in ("ComplexImageTask", "ImageToTextTask"):
                return Reply(
                    {
                        "solution": solution, "cost": float(task.amount), "status": "ready", "errorId": 0,
                        "errorCode": None, "errorDescription": None,
                    }
                )  # fmt: skip
            return Reply({"errorId": 0, "status": "ready", "solution": solution})
        case Style.YESCAPTCHA:
            return Reply(
                {"errorId": 0, "errorCode": None, "errorDescription": None, "solution": solution, "status": "ready"}
            )
        case Style.CAPSOLVER:
            return Reply({"errorId": 0, "status": "ready", "solution": solution, "taskId": task.id})
        case Style.ANTI_CAPTCHA:
            ended = task.done_at if task.done_at is not None else task.created_at
            return Reply(
                {
                    "errorId": 0, "status": "ready", "solution": solution, "cost": f"{task.amount:.6f}", "ip": task.address,
                    "createTime": int(epoch_s + task.created_at), "endTime": int(epoch_s + ended),
                    "solveCount": "0" if dialect.provider == "anti-captcha" else 1,
                }
            )  # fmt: skip


def balance(dialect: Dialect, amount: Decimal, captcha_credits: int | None = None) -> Reply:
    """getBalance: USD or points; YesCaptcha adds the balances of its referral and developer schemes."""
    number: int | float = int(amount) if amount == amount.to_integral_value() else float(amount)
    match dialect.style:
        case Style.YESCAPTCHA if dialect.provider == "yescaptcha":
            return Reply({"errorId": 0, "balance": number, "softBalance": 36.0098, "inviteBalance": 0, "inviteBy": "3"})
        case Style.YESCAPTCHA:
            return Reply({"errorId": 0, "balance": number})
        case Style.CAPSOLVER:
            return Reply({"errorId": 0, "balance": float(amount), "packages": []})
        case Style.ANTI_CAPTCHA | Style.CAPMONSTER:
            more = {} if captcha_credits is None else {"captchaCredits": captcha_credits}
            return Reply({"errorId": 0, "balance": float(amount), **more})
        case _:
            assert_never(dialect.style)
