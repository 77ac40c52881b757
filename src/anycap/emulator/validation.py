"""Looks a task object over as the vendor would: known type, documented fields, usable image, page address and proxy.

Answers with a `Finding` (what is wrong, and the field's name for the description) or None. Which code the vendor uses
for a finding is in `dialects.py`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from typing import Any

from attrs import frozen

from anycap.emulator.dialects import Dialect, Trouble

PROXY_FIELDS = ("proxyType", "proxyAddress", "proxyPort", "proxyLogin", "proxyPassword")


@frozen
class Finding:
    """What is wrong with a task, and the name of the field to put into the description."""

    trouble: Trouble
    detail: str = ""


@frozen
class TypeSpec:
    """One documented task type: fields, whether it is answered at once, and what becomes of proxy fields.

    `proxy` is none (not documented), optional or required. `fields` None means that the list of fields is not known,
    so any is taken. `image` names the field that holds a base64 image.
    """

    name: str
    required: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None
    proxy: str = "none"
    image: str | None = None
    sync: bool = False


_KNOWN = (
    "ImageToText", "ImageToCoordinates", "NoCaptcha", "Recaptcha", "ReCaptcha", "HCaptcha", "Hcaptcha", "FunCaptcha",
    "Funcaptcha", "GeeTest", "Turnstile", "CloudFlare", "Amazon", "AntiAwsWaf", "FriendlyCaptcha", "Prosopo", "Altcha",
    "AntiGate", "AntiBotCookie", "MTCaptcha", "MtCaptcha", "Yidun", "Binance", "ComplexImage", "Custom", "Datadome",
)  # fmt: skip
_SYNC = ("ImageToTextTaskMuggle", "ImageToTextTaskTest", "Classification")


@cache
def type_spec(provider: str, name: str) -> TypeSpec | None:
    """What the vendor documents about this task type; None when it has no such type."""
    if not any(fragment in name for fragment in _KNOWN):
        return None
    if "ImageToText" in name or "Coordinates" in name:
        sync = provider == "yescaptcha" and (name == "ImageToTextTask" or any(part in name for part in _SYNC))
        return TypeSpec(name, required=frozenset({"body"}), image="body", sync=sync)
    if "Classification" in name:
        field = "image" if "ReCaptcha" in name else None
        return TypeSpec(name, required=frozenset({field} if field else ()), image=field, sync=True)
    if name == "ComplexImageTask":
        return TypeSpec(name, required=frozenset({"class"}))
    lenient = provider != "anti-captcha" or "ProxyLess" in name or "Proxyless" in name or "AntiGate" in name
    return TypeSpec(name, required=frozenset({"websiteURL"}), proxy="optional" if lenient else "required")


def check_task(dialect: Dialect, spec: TypeSpec, task: Mapping[str, Any], strict: bool = True) -> Finding | None:
    """The first thing the vendor would object to. JSON nulls count as absent fields."""
    given = {name for name, value in task.items() if value is not None and name != "type"}
    for name in sorted(spec.required):
        if name not in given or task[name] == "":
            if name == spec.image:
                return Finding(Trouble.IMAGE_SMALL, name)
            return Finding(Trouble.PROXY if name in PROXY_FIELDS else Trouble.FIELDS, name)
    if strict and spec.fields is not None:
        surplus = sorted(given - spec.fields)
        if surplus:
            return Finding(Trouble.FIELDS, surplus[0])
    if spec.image is not None and spec.image in given:
        found = check_image(dialect, spec, task[spec.image])
        if found is not None:
            return found
    url = task.get("websiteURL")
    if url is not None and not (isinstance(url, str) and url.startswith(("http://", "https://")) and len(url) > 8):
        return Finding(Trouble.PAGE_URL, "websiteURL")
    if "Classification" in spec.name and "question" in given:
        question = task["question"]
        if spec.name.startswith("ReCaptcha") and not str(question).startswith("/m/"):
            return Finding(Trouble.QUESTION, "question")
    return check_proxy(dialect, spec, task, given)


def check_proxy(dialect: Dialect, spec: TypeSpec, task: Mapping[str, Any], given: set[str]) -> Finding | None:
    """Proxy fields: all or nothing, a known type, a port in range, and an address literal where the vendor wants one."""
    present = [name for name in PROXY_FIELDS if name in given]
    if not present:
        return Finding(Trouble.PROXY, "proxyAddress") if spec.proxy == "required" else None
    for name in ("proxyAddress", "proxyPort"):
        if name not in given:
            return Finding(Trouble.PROXY, name)
    kind = task.get("proxyType", "http" if "AntiGate" in spec.name or "AntiBot" in spec.name else None)
    if kind not in ("http", "https", "socks4", "socks5"):
        return Finding(Trouble.PROXY, "proxyType")
    port = task["proxyPort"]
    if isinstance(port, str) and port.isdecimal():
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        return Finding(Trouble.PROXY, "proxyPort")
    if dialect.proxy_needs_ip:
        try:
            ip_address(task["proxyAddress"])
        except ValueError:
            return Finding(Trouble.PROXY, "proxyAddress")
    return None


def check_image(dialect: Dialect, spec: TypeSpec, body: object) -> Finding | None:
    """Size, base64 and format of an image in the vendor's own limits."""
    name = spec.image or "body"
    if not isinstance(body, str):
        return Finding(Trouble.FIELDS, name)
    try:
        image = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return Finding(Trouble.IMAGE_FORMAT, name)
    low, high = dialect.image_bytes
    if len(image) < low:
        return Finding(Trouble.IMAGE_SMALL, name)
    if len(image) > high:
        return Finding(Trouble.IMAGE_LARGE, name)
    if dialect.checks_image_format and not image.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return Finding(Trouble.IMAGE_FORMAT, name)
    if "Classification" in spec.name and dialect.provider == "yescaptcha":
        pixels = image_pixels(image)
        if pixels is None:
            return Finding(Trouble.IMAGE_FORMAT, name)
        if pixels not in ((450, 450), (300, 300), (100, 100)):
            return Finding(Trouble.IMAGE_PIXELS, name)
    return None


def image_pixels(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF or JPEG; None for anything else."""
    if image.startswith(b"\x89PNG\r\n\x1a\n") and len(image) >= 24:
        width, height = struct.unpack(">II", image[16:24])
        return width, height
    if image.startswith((b"GIF87a", b"GIF89a")) and len(image) >= 10:
        width, height = struct.unpack("<HH", image[6:10])
        return width, height
    if not image.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 < len(image) and image[at] == 0xFF:
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", image[at + 5 : at + 9])
            return width, height
        at += 2 + max(length, 2)
    return None
