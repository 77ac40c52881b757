"""What the model takes from a vendor's catalog: error ids, ban rules, host names, and the documented task types.

The wire shapes are in `dialects.py`; a task is looked over in `validation.py`. Tests that compare client and emulator
write their expectations by hand, because both sides read the same catalog.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from anycap import providers
from anycap.challenges import KINDS
from anycap.core.vendor_limits import BanRule, Timing
from anycap.providers.catalog import Catalog, load
from anycap.providers.tasks import ImageRule, ProxyRule, TaskSpec
from anycap.taxonomy import Code

PROXY_FIELDS = ("proxyType", "proxyAddress", "proxyPort", "proxyLogin", "proxyPassword")

# Documented types that no challenge of ours models; and what a type may be called where the catalog lists no types.
_UNMODELLED: Mapping[str, tuple[str, ...]] = {
    "anti-captcha": ("AntiBotCookieTask", "NoCaptchaTask", "NoCaptchaTaskProxyless"),  # the last two: older names
    "capmonster": ("BinanceTask", "CustomTask", "ComplexImageTask", "HCaptchaTask", "HCaptchaTaskProxyless"),
    "yescaptcha": ("CloudFlareTaskS2", "CloudFlareTaskS3", "HCaptchaTaskProxylessE1", "HCaptchaTaskProxylessM1"),
}
_FAMILIES = (
    "ImageToText", "Coordinates", "Captcha", "Turnstile", "GeeTest", "Amazon", "AwsWaf", "Prosopo", "Altcha", "Yidun",
    "Datadome", "DataDome", "VisionEngine", "CloudFlare", "Classification", "Binance",
)  # fmt: skip

# Fields that the vendor's pages or own clients have beyond what the challenges carry, by a part of the type's name.
_MORE_FIELDS: Mapping[str, tuple[tuple[str, frozenset[str]], ...]] = {
    "anti-captcha": (("RecaptchaV2", frozenset(("websiteSToken",))), ("GeeTest", frozenset(("version",)))),
    "capmonster": (
        ("RecaptchaV", frozenset(("nocache",))),
        ("RecaptchaV3TaskProxyless", frozenset(("isEnterprise",))),
        ("TurnstileTask", frozenset(("cloudflareTaskType", "htmlPageBase64", "userAgent"))),
    ),
    "yescaptcha": (("RecaptchaV3", frozenset(("minScore",))), ("HCaptchaTask", frozenset(("rqdata",)))),
}


@frozen
class VendorRules:
    """One vendor's catalog as the emulator needs it: ids and shared codes by vendor code, ban rules, host names."""

    provider: str
    error_ids: Mapping[str, int]
    shared_codes: Mapping[str, Code]
    ban_rules: tuple[BanRule, ...]
    poll_bans: tuple[BanRule, ...]
    hosts: frozenset[str]


@frozen
class Shape:
    """One documented form of a task type: `constants` tell it from others of the same type.

    `required` are paths into the task. `images` are the fields that hold base64 images.
    """

    constants: Mapping[str, Any]
    required: tuple[tuple[str, ...], ...]
    images: tuple[str, ...]
    image_rule: ImageRule
    allowed: Mapping[str, tuple[Any, ...]]
    ranges: Mapping[str, tuple[float, float]]


@frozen
class TypeSpec:
    """One task type of a vendor, with its waits. `fields` is every documented field (None: not known, any goes).

    `proxy` says what becomes of proxy fields: `none`, `optional` or `required`. `image` is True for types whose main
    input is an image; they are priced and timed as such.
    """

    name: str
    timing: Timing
    shapes: tuple[Shape, ...] = ()
    fields: frozenset[str] | None = None
    proxy: str = "optional"
    proxy_rule: ProxyRule = field(factory=ProxyRule)
    image: bool = False


def catalog_of(provider: str | Path | Catalog) -> Catalog:
    """The catalog of a vendor, by name (built in, or a third party's entry point) or by the path of its file.

    Raises ConfigurationError when nobody provides the name, or the file is none.
    """
    match provider:
        case Catalog():
            return provider
        case Path():
            return load(provider)
        case str():
            return providers.get(provider).catalog


@lru_cache(maxsize=100)
def rules_of(catalog: Catalog) -> VendorRules:
    """What the emulator takes from a catalog, beside the task types."""
    ids: dict[str, int] = {}
    for number, codes in catalog.ids.items():
        for code in codes:
            ids.setdefault(code, number)
    urls = (catalog.base_url, *catalog.mirrors.values(), catalog.user_agent_url)
    names = (urlsplit(url).hostname for url in urls if url)
    return VendorRules(
        catalog.name,
        ids,
        {code: row.code for code, row in catalog.errors.items()},
        catalog.ban_rules,
        catalog.poll_bans,
        frozenset(name for name in names if name),
    )


@lru_cache(maxsize=10_000)
def type_spec(catalog: Catalog, name: str) -> TypeSpec | None:
    """What the vendor documents about this task type; None when it has no such type."""
    provider, book = catalog.name, catalog.tasks
    specs = [spec for spec in book.tasks if name in spec.types]
    if not specs:
        known = name in _UNMODELLED.get(provider, ()) if book.tasks else any(part in name for part in _FAMILIES)
        return TypeSpec(name, book.timing_of(name), image=_is_image(name)) if known else None
    shapes = tuple(_shape(spec) for spec in specs)
    fields = {"type"}
    fields.update(*(more for part, more in _MORE_FIELDS.get(provider, ()) if part in name))
    for spec, shape in zip(specs, shapes, strict=True):
        fields.update(target.path[0] for targets in spec.fields.values() for target in targets if not target.top)
        fields.update(path[0] for path in shape.required)
        fields.update(constant.partition(".")[0] for constant in (*spec.constants, *spec.defaults))
    proxy = _proxy(specs, name)
    rule = specs[0].proxy
    if proxy != "none":
        forms = {"fields": PROXY_FIELDS, "fields_without_type": PROXY_FIELDS[1:]}
        fields.update(forms.get(rule.form, ("proxy",)))
    if name in _UNMODELLED.get(provider, ()):
        shapes = (*(shape for shape in shapes if shape.constants), _ANY)
        return TypeSpec(name, book.timing_of(name), shapes, None, proxy, rule, _is_image(name))
    return TypeSpec(name, book.timing_of(name), shapes, frozenset(fields), proxy, rule, _is_image(name))


_ANY = Shape({}, (), (), ImageRule(), {}, {})


def _is_image(name: str) -> bool:
    return any(part in name for part in ("ImageTo", "ComplexImage", "Classification", "VisionEngine"))


def _proxy(specs: list[TaskSpec], name: str) -> str:
    takes = any(name == spec.type_with_proxy or _variant_with_proxy(spec, name) for spec in specs)
    needs = all(name != spec.type and name not in spec.variants for spec in specs)
    return "none" if not takes else "required" if needs else "optional"


def _variant_with_proxy(spec: TaskSpec, name: str) -> bool:
    # A variant of a type that takes proxies in the same name takes them too (CapMonster's older "Proxyless" names).
    return name in spec.variants and (spec.variants[name].with_proxy or spec.type_with_proxy == spec.type)


def _shape(spec: TaskSpec) -> Shape:
    kind = KINDS[spec.challenge]
    needed = {field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING} | set(spec.required)
    targets = [target for name in sorted(needed) for target in spec.fields.get(name, ())]
    # A field with one place for ids and another for words needs one of the two.
    paths = [target.path for target in targets if not target.top and target.conversion not in ("id", "not_id")]
    images = [t.path[0] for name in ("image", "images") for t in spec.fields.get(name, ())]

    def by_vendor_name(values: Mapping[str, Any]) -> dict[str, Any]:
        named = {name: spec.fields.get(name, ()) for name in values}
        return {t.path[0]: values[name] for name, targets in named.items() for t in targets if len(t.path) == 1}

    constants = {name: value for name, value in spec.constants.items() if "." not in name}
    return Shape(
        constants, tuple(paths), tuple(images), spec.images, by_vendor_name(spec.allowed), by_vendor_name(spec.ranges)
    )
