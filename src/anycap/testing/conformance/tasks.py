"""Every task type of a provider: an example challenge is encoded, looked at as bytes, and a made-up solution read back."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import NOTHING, Attribute, fields

from anycap.challenges import KINDS, Altcha, Challenge, ComplexImage, Proxy, VendorTask
from anycap.challenges.images import AudioFile, Image
from anycap.credentials import Secret, encode_json
from anycap.errors import AnycapError
from anycap.providers.adapter import Adapter
from anycap.providers.tasks import ImageRule, Target, TaskSpec
from anycap.testing.conformance.finding import Finding

KEY = "key-that-must-not-show"
PASSWORD = "password-that-must-not-show"  # noqa: S105 - made up, and looked for in what must not hold it
SOFT_ID = 4711
_BY_NAME: Mapping[str, Any] = {
    "min_score": 0.3, "numeric": 1, "language_pool": "en", "mode": "points", "grid": "3x3", "cookies": {"a": "1"},
    "question": "/m/0k4j", "threshold": 50, "confidence": 0.5, "api_domain": "www.recaptcha.net",
}  # fmt: skip
_SAMPLES: Mapping[str, Any] = {
    "token": "TOKEN", "text": "TEXT", "coordinates": [[1, 2]], "cells": [1, 5], "angle": 90, "tencent": "VALUE",
    "geetest": "VALUE", "cookies": "TOKEN",
}  # fmt: skip
_PLACES: Mapping[str, tuple[str, ...]] = {
    "token": ("gRecaptchaResponse", "token"), "text": ("text",), "coordinates": ("coordinates",), "cells": ("objects",),
    "angle": ("rotate",), "tencent": ("ticket", "randstr"), "geetest": ("validate", "lot_number"),
    "cookies": ("token",), "raw": (),
}  # fmt: skip


def check_tasks(adapter: Adapter) -> Iterator[Finding]:
    """Every spec of the catalog, without and with a proxy, and a task that no spec knows."""
    for spec in adapter.catalog.tasks.tasks:
        for proxied in (False, True):
            if (spec.type_with_proxy if proxied else spec.type) is not None:
                yield from _check_spec(adapter, spec, proxied)
    unmodelled = VendorTask("NobodyKnowsThisTask", {"websiteURL": "https://example.com", "deep": {"n": 1}})
    yield from _check_request(adapter, "VendorTask", unmodelled, ("NobodyKnowsThisTask",))


def _check_spec(adapter: Adapter, spec: TaskSpec, proxied: bool) -> Iterator[Finding]:
    subject = f"{spec.challenge} as {spec.type_with_proxy if proxied else spec.type}"
    try:
        challenge = example(spec, proxied=proxied)
    except (AnycapError, TypeError) as error:
        yield Finding("tasks", subject, f"no example can be made from its required fields: {error}")
        return
    wanted = spec.type_with_proxy if proxied else spec.type
    yield from _check_request(adapter, subject, challenge, (str(wanted),), spec)
    yield from _check_solution(adapter, subject, spec)


def example(spec: TaskSpec, *, proxied: bool) -> Challenge[Any]:
    """A challenge that this spec takes: its required fields and what selects it, nothing else."""
    cls = KINDS[spec.challenge]
    given: dict[str, Any] = dict(spec.when)
    needed = {*spec.required, *spec.given}
    for attribute in fields(cls):
        name = attribute.name
        if name not in given and (attribute.default is NOTHING or name in needed):
            given[name] = _value(attribute, spec)
    if cls is Altcha and not given.keys() & {"challenge_url", "challenge"}:
        given["challenge_url"] = "https://example.com/altcha"
    if cls is ComplexImage and not given.keys() & {"images", "image_urls"}:
        given["images"] = [_picture(spec.images)]
    if proxied or "proxy" in needed:
        scheme = spec.proxy.schemes[0]
        given["proxy"] = Proxy(scheme, "198.51.100.7", 8080, "user", PASSWORD)
    return cls(**given)


def _value(attribute: Attribute[Any], spec: TaskSpec) -> Any:
    name, kind = attribute.name, str(attribute.type)
    if name in spec.allowed:
        return spec.allowed[name][0]
    if name in spec.ranges:
        return spec.ranges[name][0]
    if any(target.conversion == "words" for target in spec.fields.get(name, ())):
        return "cars"
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.endswith(("_url", "_lib", "_script")):
        return "https://example.com/page"
    if "AudioFile" in kind:
        return AudioFile(b"ID3" + bytes(max(100, spec.images.bytes_min)))
    if "Image" in kind:
        return [_picture(spec.images)] if "tuple" in kind else _picture(spec.images)
    for word, value in (
        ("Mapping", {"a": "1"}),
        ("Sequence", ["example.com"]),
        ("bool", True),
        ("float", 0.5),
        ("int", 1),
    ):
        if word in kind:
            return value
    return "sample"


def _picture(rule: ImageRule) -> Image:
    """A small grey PNG of a size that the rule takes."""
    side = rule.sides[0] if rule.sides else 100
    rows = b"".join(b"\0" + bytes([128]) * side for _ in range(side))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + b"x" * max(100, rule.bytes_min)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return Image(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _check_request(
    adapter: Adapter, subject: str, challenge: Challenge[Any], types: tuple[str, ...], spec: TaskSpec | None = None
) -> Iterator[Finding]:
    catalog = adapter.catalog
    try:
        prepared = adapter.prepare(challenge)
        body = adapter.submit_fields(prepared, soft_id=SOFT_ID)
        sent = json.loads(encode_json({"clientKey": Secret(KEY), **body}))
    except Exception as error:  # noqa: BLE001 - whatever a provider's code raises is what we are looking for
        yield Finding("tasks", subject, f"encoding an example fails: {error!r}")
        return
    task = sent.get("task")
    if not isinstance(task, dict) or task.get("type") not in types:
        yield Finding("tasks", subject, f"the task's type is {task.get('type') if isinstance(task, dict) else task!r}")
        return
    if "clientKey" in body or sent.get("clientKey") != KEY:
        yield Finding("tasks", subject, "the account's key is not the sender's to put in")
    if catalog.soft_id_field is not None and sent.get(catalog.soft_id_field) != SOFT_ID:
        yield Finding("tasks", subject, f"soft_id is not in {catalog.soft_id_field}")
    for name, shown in (("request", repr(body)), ("prepared task", repr(prepared)), ("summary", str(prepared.summary))):
        if PASSWORD in shown:
            yield Finding("tasks", subject, f"the proxy's password shows in the {name}")
    if challenge.proxy is not None and PASSWORD not in json.dumps(task):
        yield Finding("tasks", subject, "the proxy's password is not sent")
    timing = prepared.timing
    if timing.gap_s < timing.min_gap_s or (timing.gap_s <= 0 and not timing.sync):
        yield Finding("tasks", subject, f"asks every {timing.gap_s} s, the vendor's minimum is {timing.min_gap_s} s")
    if spec is not None:
        yield from _check_fields(subject, challenge, spec, sent)


def _check_fields(subject: str, challenge: Challenge[Any], spec: TaskSpec, sent: dict[str, Any]) -> Iterator[Finding]:
    for name, targets in spec.fields.items():
        value = getattr(challenge, name)
        if not isinstance(value, str) or value in ("", getattr(type(challenge), name, None)):
            continue
        attribute = next(each for each in fields(type(challenge)) if each.name == name)
        if value == attribute.default:
            continue
        for target in targets:
            if not target.conversion and _at(sent, target) != value:
                yield Finding("tasks", subject, f"{name} does not arrive in {'.'.join(target.path)}")


def _at(sent: dict[str, Any], target: Target) -> Any:
    value: Any = sent if target.top else sent["task"]
    for step in target.path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _check_solution(adapter: Adapter, subject: str, spec: TaskSpec) -> Iterator[Finding]:
    solution: dict[str, Any] = {"userAgent": "UA"}
    for place in spec.main_fields[:1] or _PLACES[spec.shape]:
        _put(solution, place.split("."), _SAMPLES.get(spec.shape, "VALUE"))
    if spec.shape == "cookies":
        solution["cookies"] = {"a": "1"}
    body = {"errorId": 0, "status": min(adapter.catalog.ready_statuses), "solution": solution}
    try:
        built = adapter.solution(spec.challenge, body, ticket=None, received_at=None)
    except Exception as error:  # noqa: BLE001 - whatever a provider's code raises is what we are looking for
        yield Finding("tasks", subject, f"a solution cannot be read: {error!r}")
        return
    wanted = KINDS[spec.challenge].solution_type
    if not isinstance(built, wanted):
        yield Finding("tasks", subject, f"its solution becomes a {type(built).__name__}, not a {wanted.__name__}")


def _put(solution: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        solution = solution.setdefault(step, {})
    solution[path[-1]] = value
