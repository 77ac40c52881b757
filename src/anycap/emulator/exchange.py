"""What a door has to put on the wire for one request: an answer, or a part of one, or nothing.

Made by `emulator.py` from the vendor's reply and the fault that hit; played by `in_process.py` and `server.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import evolve, frozen

from anycap.emulator.answers import HTML_HEADERS, JSON_HEADERS, Reply
from anycap.emulator.faults import Fault

Headers = tuple[tuple[str, str], ...]


class Ending(StrEnum):
    """How the exchange ends: with the whole answer, part of it, or none; REFUSE stands for no connection at all."""

    WHOLE = "whole"
    CUT = "cut"
    DROP = "drop"
    RESET = "reset"
    REFUSE = "refuse"
    HANG = "hang"


@frozen
class Exchange:
    """Status, headers and body, and how they travel: after `delay_s`, `drip_bytes` every `drip_s`, as far as `ending` says.

    With CUT the head promises `len(body)` bytes and only `sent_bytes` of them come.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    ending: Ending = Ending.WHOLE
    sent_bytes: int = 0
    delay_s: float = 0.0
    drip_bytes: int | None = None
    drip_s: float = 0.0

    def header(self, name: str) -> str | None:
        """The value of a header, by its lower-case name."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


def of_reply(reply: Reply) -> Exchange:
    """The vendor's own answer, untouched."""
    return Exchange(reply.status, reply.headers, reply.encode())


def http_fault(fault: Fault) -> Exchange:
    """The answer of whatever stands before the vendor: HTML unless the fault brings a body; JSON for a mapping or list."""
    headers, body = HTML_HEADERS, _html(fault.status)
    if isinstance(fault.body, str):
        body = fault.body.encode("utf-8", "surrogatepass")
    elif fault.body is not None:
        headers, body = JSON_HEADERS, json.dumps(fault.body, separators=(",", ":")).encode()
    own = tuple(fault.headers.items())
    names = {name.lower() for name, _ in own}
    return Exchange(fault.status, (*(pair for pair in headers if pair[0].lower() not in names), *own), body)


def spoil(exchange: Exchange, fault: Fault, seed: int) -> Exchange:
    """The vendor's answer after a fault that lets it act and then damages what comes back."""
    body = exchange.body
    match fault.action:
        case "reset":
            return Exchange(ending=Ending.RESET)
        case "drop_after_create":
            return Exchange(ending=Ending.DROP)
        case "hang":
            return Exchange(ending=Ending.HANG)
        case "truncate":
            keep = len(body) // 2 if fault.keep_bytes is None else min(fault.keep_bytes, max(0, len(body) - 1))
            return evolve(exchange, ending=Ending.CUT, sent_bytes=keep)
        case "slow":
            return evolve(exchange, delay_s=fault.delay_s, drip_bytes=fault.drip_bytes, drip_s=fault.drip_s)
        case "oversized":
            return evolve(exchange, body=body + b" " * max(0, fault.bytes_total - len(body)))
        case "wrong_types":
            return evolve(exchange, body=_with_wrong_types(body))
        case "odd":
            return evolve(exchange, body=_oddly_spelled(body))
        case "garbage":
            return evolve(exchange, body=_noise(seed, len(body)))
        case "http":
            return http_fault(fault)
        case _:
            return exchange


def _noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(max(64, length))


def _html(status: int) -> bytes:
    return (
        f"<html><head><title>{status}</title></head><body><h1>{status}</h1><p>emulated fault</p></body></html>".encode()
    )


def _with_wrong_types(body: bytes) -> bytes:
    try:
        value = json.loads(body)
    except ValueError:
        return b"[]"
    if not isinstance(value, Mapping):
        return b"0"
    return json.dumps({name: _other_type(item) for name, item in value.items()}, separators=(",", ":")).encode()


def _oddly_spelled(body: bytes) -> bytes:
    """The same answer as sloppier servers send it; a client has to take it for what it is."""
    try:
        value = json.loads(body)
    except ValueError:
        return body
    if not isinstance(value, dict):
        return body
    texts = {
        name: str(item)
        for name, item in value.items()
        if name != "errorId" and isinstance(item, int | float) and not isinstance(item, bool)
    }
    code = value.get("errorCode") or "null"
    return json.dumps({**value, **texts, "errorCode": code, "serverTime": 1}, separators=(",", ":")).encode()


def _other_type(value: Any) -> Any:
    match value:
        case bool() | None:
            return {"was": "scalar"}
        case int() | float():
            return [value]
        case str():
            return {"value": value}
        case _:
            return "wrong"
