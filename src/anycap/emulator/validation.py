"""Looks a task object over as the vendor would: documented fields, usable image, page address and proxy.

Answers with a `Finding` (what is wrong, and the field's name for the description) or None. What is documented comes from
`vendor_rules.py`; which code the vendor uses for a finding is in `dialects.py`.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from anycap.emulator.dialects import Dialect, Trouble
from anycap.emulator.vendor_rules import PROXY_FIELDS, Shape, TypeSpec
from anycap.providers.tasks import ImageRule

_LOCAL = tuple(
    ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7")
)
_MAGIC: Mapping[str, tuple[bytes, ...]] = {
    "jpg": (b"\xff\xd8\xff",),
    "png": (b"\x89PNG\r\n\x1a\n",),
    "gif": (b"GIF87a", b"GIF89a"),
}


@frozen
class Finding:
    """What is wrong with a task, and the name of the field to put into the description."""

    trouble: Trouble
    detail: str = ""


def check_task(dialect: Dialect, spec: TypeSpec, task: Mapping[str, Any], strict: bool = True) -> Finding | None:
    """The first thing the vendor would object to. JSON nulls and empty proxy fields count as absent."""
    # anti-captcha's own client sends "" and 0 for a proxy it does not have.
    given = {name for name, value in task.items() if value is not None and not (name in PROXY_FIELDS and not value)}
    shape = _fitting(spec, task)
    if shape is not None:
        found = _check_required(spec, shape, task) or (_check_values(shape, task) if strict else None)
        if found is not None:
            return found
    if strict and spec.fields is not None:
        surplus = sorted(given - spec.fields)
        if surplus:
            trouble = Trouble.PROXY if surplus[0] in PROXY_FIELDS and spec.proxy == "none" else Trouble.FIELDS
            return Finding(trouble, surplus[0])
    if shape is not None:
        for name in _image_fields(spec, shape):
            found = _check_images(dialect, shape.image_rule, name, task.get(name)) if name in given else None
            if found is not None:
                return found
    found = _check_address(task)
    if found is not None:
        return found
    question = task.get("question")
    if spec.name == "ReCaptchaV2Classification" and not str(question).startswith("/m/"):
        return Finding(Trouble.QUESTION, "question")
    return _check_proxy(spec, task, given)


def _fitting(spec: TypeSpec, task: Mapping[str, Any]) -> Shape | None:
    """The documented form that the task's constants select; the one with the most constants wins, then a complete one."""
    best: Shape | None = None
    best_rank = (-1, False)
    for shape in spec.shapes:
        if all(_is_same(_at(task, name), value) or value in ("", None) for name, value in shape.constants.items()):
            rank = (len(shape.constants), _check_required(spec, shape, task) is None)
            if rank > best_rank:
                best, best_rank = shape, rank
    if best is None and spec.shapes:
        # GeeTest v3 may leave `version` out; a wrong value still gets the checks of the first form.
        return spec.shapes[0]
    return best


def _at(task: Mapping[str, Any], path: str) -> Any:
    value: Any = task
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _image_fields(spec: TypeSpec, shape: Shape) -> list[str]:
    instead = [spec.instead[image] for image in shape.images if image in spec.instead]
    return [*shape.images, *(name for name in instead if not name.endswith("Urls"))]  # addresses are not fetched


def _is_same(given: object, constant: object) -> bool:
    """Whether a constant is given; a number may come as text, as `"version": "4"` does from several clients."""
    return given == constant or (isinstance(constant, int) and isinstance(given, str) and given == str(constant))


def _check_required(spec: TypeSpec, shape: Shape, task: Mapping[str, Any]) -> Finding | None:
    for path in shape.required:
        if task.get(spec.instead.get(path[0], "")):
            continue
        if _at(task, ".".join(path)) in (None, "", []):
            return Finding(Trouble.IMAGE_SMALL if path[0] in shape.images else Trouble.FIELDS, ".".join(path))
    for name, constant in shape.constants.items():
        if _at(task, name) is None and constant not in ("", None) and name != "version":
            return Finding(Trouble.FIELDS, name)
    return None


def _check_values(shape: Shape, task: Mapping[str, Any]) -> Finding | None:
    for name, choices in shape.allowed.items():
        value = task.get(name)
        if value is not None and value not in choices:
            return Finding(Trouble.FIELDS, name)
    for name, (low, high) in shape.ranges.items():
        value = task.get(name)
        if value is not None and (isinstance(value, bool | str) or not low <= value <= high):
            return Finding(Trouble.FIELDS, name)
    return None


def _check_address(task: Mapping[str, Any]) -> Finding | None:
    url = task.get("websiteURL")
    if url is None:
        return None
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    return None if usable else Finding(Trouble.PAGE_URL, "websiteURL")


def _check_proxy(spec: TypeSpec, task: Mapping[str, Any], given: set[str]) -> Finding | None:
    """A whole proxy or none: known type, port in range, and an address literal where the vendor wants one."""
    form = spec.proxy_rule.form
    proxy = task.get("proxy")
    if proxy is not None and (form in ("url", "colon") or (spec.fields is not None and "proxy" in spec.fields)):
        return _check_proxy_text(spec, "url" if form == "url" else "colon", proxy)
    if form == "url":
        return Finding(Trouble.PROXY, "proxy") if spec.proxy == "required" else None
    if not given.intersection(PROXY_FIELDS):
        return Finding(Trouble.PROXY, "proxyAddress") if spec.proxy == "required" else None
    for name in ("proxyAddress", "proxyPort"):
        if name not in given:
            return Finding(Trouble.PROXY, name)
    if form != "fields_without_type" and task.get("proxyType") not in spec.proxy_rule.schemes:
        return Finding(Trouble.PROXY, "proxyType")
    if spec.proxy_rule.login_required and not (task.get("proxyLogin") and task.get("proxyPassword")):
        return Finding(Trouble.PROXY, "proxyLogin")
    port = task["proxyPort"]
    if isinstance(port, str) and port.isascii() and port.isdecimal() and len(port) < 6:
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        return Finding(Trouble.PROXY, "proxyPort")
    return _check_host(spec, task["proxyAddress"], "proxyAddress")


def _check_proxy_text(spec: TypeSpec, form: str, proxy: object) -> Finding | None:
    wrong = Finding(Trouble.PROXY, "proxy")
    if not isinstance(proxy, str):
        return wrong
    try:
        if form == "colon":
            scheme, host, port = [*proxy.split(":"), "", ""][:3]
            number = int(port)
        else:
            parts = urlsplit(proxy)
            scheme, host, number = parts.scheme, parts.hostname or "", parts.port or 0
    except ValueError:
        return wrong
    if scheme not in spec.proxy_rule.schemes or not host or not 0 < number < 65536:
        return wrong
    return _check_host(spec, host, "proxy")


def _check_host(spec: TypeSpec, host: object, name: str) -> Finding | None:
    try:
        address = ip_address(host) if isinstance(host, str) else None
    except ValueError:
        return Finding(Trouble.PROXY, name) if spec.proxy_rule.ip_only else None
    if address is None or (
        spec.proxy_rule.private_refused and any(address.version == net.version and address in net for net in _LOCAL)
    ):
        return Finding(Trouble.PROXY, name)
    return None


def _check_images(dialect: Dialect, rule: ImageRule, name: str, value: object) -> Finding | None:
    """Size, base64, format and pixels of one image, or of each in a list."""
    images = value if isinstance(value, list) else [value]
    for image in images:
        found = _check_image(dialect, rule, name, image)
        if found is not None:
            return found
    return None


def _check_image(dialect: Dialect, rule: ImageRule, name: str, text: object) -> Finding | None:
    if not isinstance(text, str):
        return Finding(Trouble.FIELDS, name)
    try:
        image = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Finding(Trouble.IMAGE_FORMAT, name)
    if len(image) < rule.bytes_min:
        return Finding(Trouble.IMAGE_SMALL, name)
    if rule.bytes_max is not None and len(image) > rule.bytes_max:
        return Finding(Trouble.IMAGE_LARGE, name)
    magic = tuple(mark for form in rule.formats for mark in _MAGIC.get(form, ()))
    if dialect.checks_image_format and magic and not image.startswith(magic):
        return Finding(Trouble.IMAGE_FORMAT, name)
    if rule.sides:
        pixels = image_pixels(image)
        if pixels is None:
            return Finding(Trouble.IMAGE_FORMAT, name)
        if pixels[0] != pixels[1] or pixels[0] not in rule.sides:
            return Finding(Trouble.IMAGE_PIXELS, name)
    return None


def image_pixels(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF or JPEG; None for anything else."""
    if image.startswith(_MAGIC["png"]) and len(image) >= 24:
        width, height = struct.unpack(">II", image[16:24])
        return width, height
    if image.startswith(_MAGIC["gif"]) and len(image) >= 10:
        width, height = struct.unpack("<HH", image[6:10])
        return width, height
    if not image.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(image) and image[at] == 0xFF:
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", image[at + 5 : at + 9])
            return width, height
        at += 2 + max(length, 2)
    return None
