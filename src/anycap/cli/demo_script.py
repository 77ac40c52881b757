"""What `anycap demo` plays: the challenges per vendor, and the faults the emulated vendors are told to have.

Faults hit by count and task type, never by chance, so a seed gives the same outcomes every time. How it is played and
shown is in `demo.py`.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from attrs import frozen

from anycap.challenges import (
    Challenge,
    FunCaptcha,
    GeeTestV3,
    ImageToText,
    RecaptchaV2,
    RecaptchaV3,
    Turnstile,
)
from anycap.emulator import Fault
from anycap.results import Solution

VENDORS = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha")
TASKS_PER_VENDOR = 10
WRONG_KEY_ACCOUNT = "ezcaptcha, wrong key"
WRONG_KEY_TASKS = 6
PAGE = "https://shop.example/checkout"


@frozen
class Act:
    """One fault: what the vendor does, and what a client that keeps its promises makes of it."""

    fault: Fault
    happens: str
    survived: str


def _act(provider: str, action: str, happens: str, survived: str, **selector: object) -> Act:
    return Act(Fault.from_json({"action": action, "provider": provider, **selector}), happens, survived)


_POLL = {"method": "getTaskResult"}
_LIVES = "the task lives on and is asked for again"
ACTS = (
    _act("anti-captcha", "reset", "resets the connection while polled", _LIVES, **_POLL, every=5),
    _act(
        "anti-captcha", "drop_after_create", "takes a task, its answer is lost",
        "in doubt: you decide, never paid for twice", method="createTask", type="FunCaptchaTaskProxyless", nth=1,
    ),
    _act(
        "anti-captcha", "fail_task", "finds a captcha unsolvable, and charges", "a typed error; a new task is your decision",
        code="ERROR_CAPTCHA_UNSOLVABLE", type="GeeTestTaskProxyless", nth=1,
    ),
    _act("capmonster", "http", "answers polls with a 502 HTML page", _LIVES, **_POLL, every=5, status=502),
    _act(
        "capmonster", "error", "has no worker free", "nothing was created: sent again after a pause",
        method="createTask", code="ERROR_NO_SLOT_AVAILABLE", nth=3,
    ),
    _act("yescaptcha", "truncate", "breaks off its JSON while polled", _LIVES, **_POLL, every=4),
    _act(
        "yescaptcha", "fail_task", "finds a captcha unsolvable, free of charge", "a new task was sent at once",
        code="ERROR_CAPTCHA_UNSOLVABLE", type="FunCaptchaTaskProxylessM1", nth=1,
    ),
    _act(
        "ezcaptcha", "http", "answers polls with 429, Retry-After 1", "polling slows down, then goes on",
        **_POLL, every=5, count=2, status=429, headers={"Retry-After": "1"},
    ),
    _act("ezcaptcha", "wrong_types", "answers with every type wrong", _LIVES, **_POLL, every=7),
)  # fmt: skip


def challenges(provider: str, seed: int) -> list[Challenge[Solution]]:
    """The challenges for one vendor: mixed types, the first ones fixed so that every fault has its task."""
    rng = random.Random(f"{seed}/demo/{provider}")
    makers: list[Callable[[random.Random], Challenge[Solution]]] = [_recaptcha_v2, _recaptcha_v3, _turnstile]
    first: list[Callable[[random.Random], Challenge[Solution]]] = [_fun_captcha]
    if provider != "ezcaptcha":
        makers.append(_image)
    if provider in {"anti-captcha", "capmonster"}:
        first.append(_geetest)
    chosen = first + [rng.choice(makers) for _ in range(TASKS_PER_VENDOR - len(first))]
    rng.shuffle(chosen)
    return [make(rng) for make in chosen]


def _hex(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def _recaptcha_v2(rng: random.Random) -> Challenge[Solution]:
    return RecaptchaV2(PAGE, "6Lc" + _hex(rng, 37))


def _recaptcha_v3(rng: random.Random) -> Challenge[Solution]:
    return RecaptchaV3(PAGE, "6Lc" + _hex(rng, 37), min_score=0.3, action="checkout")


def _turnstile(rng: random.Random) -> Challenge[Solution]:
    return Turnstile(PAGE, "0x4AAA" + _hex(rng, 18))


def _fun_captcha(rng: random.Random) -> Challenge[Solution]:
    return FunCaptcha(PAGE, _hex(rng, 32))


def _geetest(rng: random.Random) -> Challenge[Solution]:
    return GeeTestV3(PAGE, _hex(rng, 32), _hex(rng, 32))


def _image(rng: random.Random) -> Challenge[Solution]:
    return ImageToText(png(rng, width=120, height=40))


def png(rng: random.Random, *, width: int, height: int) -> bytes:
    """A grey PNG full of noise: a real picture that shows nothing."""
    rows = b"".join(b"\0" + rng.randbytes(width) for _ in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
