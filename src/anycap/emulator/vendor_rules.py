"""What the model takes from a vendor's catalog: error ids, ban rules, host names, and task types.

Types and fields beyond the catalog are in `documented.py`, the wire shapes in `dialects.py`; a task is looked over in
`validation.py`. Tests that compare client and emulator
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
from anycap.emulator.documented import FAMILIES, Names, Unmodelled, documented
from anycap.providers.catalog import Catalog, load
from anycap.providers.tasks import ImageRule, ProxyRule, TaskSpec
from anycap.taxonomy import Code

PROXY_FIELDS = ("proxyType", "proxyAddress", "proxyPort", "proxyLogin", "proxyPassword")


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
    input is an image; they are priced and timed as such. `instead` names a field that may stand for a required one.
    """

    name: str
    timing: Timing
    shapes: tuple[Shape, ...] = ()
    fields: frozenset[str] | None = None
    proxy: str = "optional"
    proxy_rule: ProxyRule = field(factory=ProxyRule)
    image: bool = False
    instead: Mapping[str, str] = {}


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
    more, tasks = documented(catalog.name, catalog.family), catalog.tasks
    listed = more.same_as.get(name, name)
    if more.any_case:
        alike = (known for spec in tasks.tasks for known in spec.types if known.lower() == name.lower())
        listed = next(alike, listed)
    specs = [spec for spec in tasks.tasks if listed in spec.types]
    unmodelled = more.unmodelled.get(name)
    if not specs:
        return _without_challenge(catalog, name, unmodelled)
    shapes = tuple(_shape(spec) for spec in specs)
    proxy = _proxy(specs, listed)
    rule = specs[0].proxy
    fields = _fields(specs, shapes, [extra for part, extra in more.fields if part in listed], proxy, rule)
    if unmodelled is not None:
        # The catalog's forms are recognised by their constants; what fits none of them passes as it is.
        shapes = (*(shape for shape in shapes if shape.constants), _loose(unmodelled))
    return TypeSpec(
        name, tasks.timing_of(listed), shapes, fields if unmodelled is None else None, proxy, rule, _is_image(name),
        more.instead.get(listed, {}),
    )  # fmt: skip


def _without_challenge(catalog: Catalog, name: str, unmodelled: Unmodelled | None) -> TypeSpec | None:
    timing = catalog.tasks.timing_of(name)
    if unmodelled is not None:
        timing = attrs.evolve(timing, sync=timing.sync or unmodelled.sync)
        return TypeSpec(name, timing, (_loose(unmodelled),), proxy_rule=unmodelled.proxy_rule, image=_is_image(name))
    if catalog.tasks.tasks or not any(part in name for part in FAMILIES):
        return None
    return TypeSpec(name, timing, image=_is_image(name))


def _fields(
    specs: list[TaskSpec], shapes: tuple[Shape, ...], more: list[Names], proxy: str, rule: ProxyRule
) -> frozenset[str]:
    fields = {"type"}.union(*more)
    for spec, shape in zip(specs, shapes, strict=True):
        fields.update(target.path[0] for targets in spec.fields.values() for target in targets if not target.top)
        fields.update(path[0] for path in shape.required)
        fields.update(constant.partition(".")[0] for constant in (*spec.constants, *spec.defaults))
    if proxy == "none":
        fields.discard("proxy")
    else:
        fields.update(_PROXY_FORMS.get(rule.form, ("proxy",)))
    return frozenset(fields)


_PROXY_FORMS: Mapping[str, tuple[str, ...]] = {
    "fields": PROXY_FIELDS,
    "fields_without_type": PROXY_FIELDS[1:],
    "colon": ("proxy", *PROXY_FIELDS),
}


def _loose(unmodelled: Unmodelled) -> Shape:
    return Shape({}, tuple((name,) for name in unmodelled.required), (), ImageRule(), {}, {})


def _is_image(name: str) -> bool:
    return any(part in name for part in ("ImageTo", "ComplexImage", "Classification", "VisionEngine", "GridTask"))


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

    return Shape(
        spec.constants,
        tuple(paths),
        tuple(images),
        spec.images,
        by_vendor_name(spec.allowed),
        by_vendor_name(spec.ranges),
    )
