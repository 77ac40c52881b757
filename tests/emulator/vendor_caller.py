"""Small shared pieces of the emulator's tests: tasks each vendor documents, and a vendor on a clock moved by hand."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from anycap.emulator.clock import ManualClock
from anycap.emulator.model import Vendor

PAGE = {"websiteURL": "https://example.com/login", "websiteKey": "SITEKEY"}
TOKEN_TASKS: dict[str, dict[str, Any]] = {
    "anti-captcha": {"type": "RecaptchaV2TaskProxyless", **PAGE},
    "capmonster": {"type": "RecaptchaV2Task", **PAGE},
    "yescaptcha": {"type": "NoCaptchaTaskProxyless", **PAGE},
    "ezcaptcha": {"type": "ReCaptchaV2TaskProxyless", **PAGE},
    "2captcha": {"type": "RecaptchaV2TaskProxyless", **PAGE},
    "capsolver": {"type": "ReCaptchaV2TaskProxyLess", **PAGE},
    "rucaptcha": {"type": "RecaptchaV2TaskProxyless", **PAGE},
}


def png(length: int = 200, width: int = 100, height: int = 100) -> bytes:
    """Bytes that begin like a PNG of this size in pixels and are `length` long."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return head + b"\x00" * (length - len(head))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Caller:
    """One vendor, one key, one clock: requests as bytes in, the body's bytes out."""

    def __init__(self, provider: str, **options: Any) -> None:
        self.clock = ManualClock()
        options.setdefault("solve_time", 10.0)
        self.vendor = Vendor(provider, clock=self.clock, rng=random.Random(7), key="KEY", **options)
        self.task = TOKEN_TASKS[provider]

    def ask(self, method: str, text: str | bytes = b"", **more: Any) -> bytes:
        return self.full(method, text, **more)[2]

    def full(self, method: str, text: str | bytes = b"", **more: Any) -> tuple[int, Any, bytes]:
        return self.vendor.handle(method, text.encode() if isinstance(text, str) else text, **more)

    def call(self, method: str, key: str = "KEY", **fields: Any) -> dict[str, Any]:
        value = json.loads(self.ask(method, json.dumps({"clientKey": key, **fields})))
        assert isinstance(value, dict)
        return value

    def create(self, task: dict[str, Any] | None = None, key: str = "KEY", **top: Any) -> dict[str, Any]:
        return self.call("createTask", key, task=self.task if task is None else task, **top)

    def result(self, task_id: Any, key: str = "KEY") -> dict[str, Any]:
        return self.call("getTaskResult", key, taskId=task_id)

    def solved(self) -> Any:
        """The id of a task that has just been solved."""
        task_id = self.create()["taskId"]
        self.clock.advance(10)
        return task_id
