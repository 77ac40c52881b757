"""From a challenge to the task object of one vendor, by the vendor's catalog: `prepare`. Pure.

Here live the choice of the task's spec, the field names and conversions, and the proxy's form. Checks of images, user
agents and proxies are in `preflight.py`, what a journal may keep is in `summary.py`; the request around the task is built
in `adapter.py`.

Fields that are None or at their default are not sent. A field the vendor has no place for is refused, unless the catalog
says that leaving it out does no harm (`ignored`): then `Prepared.warnings` tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import field

from anycap.challenges import Challenge, Proxy, VendorTask
from anycap.challenges.base import is_object
from anycap.challenges.images import Image
from anycap.challenges.pictures import images_in
from anycap.core.vendor_limits import Timing
from anycap.credentials import Secret, compose
from anycap.errors import InvalidChallenge
from anycap.providers.preflight import check_image, check_proxy, check_user_agent
from anycap.providers.summary import Given, given, summarise
from anycap.providers.tasks import ProxyRule, Target, TaskSpec, TaskTables
from anycap.results import Solution
from anycap.values import statically_frozen

if TYPE_CHECKING:
    from anycap.providers.catalog import Catalog

_NOT_GIVEN: tuple[Any, ...] = (None, (), {})
_BY_FORM = ("id", "not_id")
"""Conversions of a field that has one place at the vendor for ids and another for words."""
_IN_LIST = ("last", "first")
"""Conversions that put a value, or several, at an end of the vendor's list, where two of our fields share one."""


@statically_frozen(kw_only=True)
class Prepared:
    """A challenge made ready for one vendor.

    `kind` names the challenge in tickets and journals, `vendor_type` the vendor's type. `task` is the task object for
    createTask (secrets still wrapped), `top_fields` go beside it. `timing` are the type's waits. `summary` is what a
    journal may keep: no credentials, no one-time values, images as SHA-256 and size. `shape` is how the answer is read,
    `solution_type` what it becomes. `warnings` are sentences about what the vendor may refuse or does not take.
    """

    kind: str
    provider: str
    vendor_type: str
    task: Mapping[str, Any] = field(repr=False)
    top_fields: Mapping[str, Any] = field(factory=dict, repr=False)
    timing: Timing
    summary: Mapping[str, Any] = field(factory=dict, repr=False)
    has_image: bool = False
    shape: str = "raw"
    solution_type: type[Solution]
    warnings: tuple[str, ...] = ()


def nobody() -> Iterable[Catalog]:
    """No other vendor to name."""
    return ()


def prepare(
    catalog: Catalog, challenge: Challenge[Any], *, others: Callable[[], Iterable[Catalog]] = nobody
) -> Prepared:
    """The task object for `challenge` at the vendor of `catalog`, checked as far as can be without sending it.

    Raises InvalidChallenge when the vendor lacks the type or a field (naming those of `others` that have it), when an image
    or proxy does not fit, and when an image has not been read yet (`challenge.load()`).

    >>> from anycap.challenges import RecaptchaV2
    >>> from anycap.providers.catalog import load_builtin
    >>> prepared = prepare(load_builtin("anti-captcha"), RecaptchaV2("https://example.com", "KEY"))
    >>> dict(prepared.task)
    {'type': 'RecaptchaV2TaskProxyless', 'websiteURL': 'https://example.com', 'websiteKey': 'KEY'}
    """
    if not isinstance(challenge, Challenge):
        raise InvalidChallenge(
            f"a challenge is needed (RecaptchaV2, ImageToText, ...), not {type(challenge).__name__}; "
            "for a vendor's own type use VendorTask(type, fields)"
        )
    try:
        return _prepare(catalog.name, catalog.tasks, challenge)
    except _Lacking as lacking:
        able = [other.name for other in others() if other.name != catalog.name and _can(other, challenge)]
        can = f"Providers that take it: {', '.join(able)}" if able else "No provider known here takes it as it is"
        raise InvalidChallenge(f"{lacking.message}. {can}.") from None


class _Lacking(InvalidChallenge):
    """The vendor has no such type or field; others may."""


def _can(catalog: Catalog, challenge: Challenge[Any]) -> bool:
    try:
        _prepare(catalog.name, catalog.tasks, challenge)
    except InvalidChallenge:
        return False
    return True


def _prepare(provider: str, tables: TaskTables, challenge: Challenge[Any]) -> Prepared:
    if isinstance(challenge, VendorTask):
        return _prepare_vendor_task(provider, tables, challenge)
    spec = _select(provider, tables, challenge)
    kind = spec.challenge
    vendor_type, timing = _type_of(provider, spec, challenge)
    for name in spec.required:
        if getattr(challenge, name) in _NOT_GIVEN:
            raise InvalidChallenge(f"{kind}: {provider} needs {name} for this")
    task: dict[str, Any] = {"type": vendor_type}
    top: dict[str, Any] = {}
    said = given(challenge)
    images, warnings = _place_fields(provider, tables, spec, said, task, top)
    for image in images:
        warnings += check_image(provider, f"{kind}: the {image.word}", spec.images, image)
    # After the challenge's own fields, so that what the user gave is never overwritten by the catalog.
    for path, value in spec.filled:
        if not _has(task, path):
            _put(kind, task, path, value)
    if challenge.proxy is not None:
        _put_proxy(kind, provider, spec.proxy, task, challenge.proxy)
    # Last, and never replacing anything: `extra` is for what we do not know of, not a way round what was checked.
    for name, value in challenge.extra.items():
        _put(kind, task, (name,), value)
    return Prepared(
        kind=kind,
        provider=provider,
        vendor_type=vendor_type,
        task=task,
        top_fields=top,
        timing=timing,
        summary=summarise(challenge, said),
        has_image=bool(images),
        shape=spec.shape,
        solution_type=challenge.solution_type,
        warnings=tuple(warnings),
    )


def _place_fields(
    provider: str, tables: TaskTables, spec: TaskSpec, said: Given, task: dict[str, Any], top: dict[str, Any]
) -> tuple[list[Image], list[str]]:
    """Put what the caller gave where this vendor wants it: into `task`, or beside it into `top`. Images met, and warnings."""
    kind = spec.challenge
    images: list[Image] = []
    warnings: list[str] = []
    for name, value, _ in said:
        if not isinstance(value, str):
            images += images_in((value,))
        targets = spec.fields.get(name)
        if targets is None:
            if name in spec.when:  # it chose the vendor's type, which says it
                continue
            # A field left out in silence would be a paid task without it. The catalog names those that do no harm.
            if name not in spec.ignored:
                raise _Lacking(f"{kind}: {provider} has no field for {name} in {task['type']}")
            warnings.append(f"{kind}: {provider} takes no {name} for {task['type']}; it is left out")
            continue
        if name in spec.allowed or name in spec.ranges:
            _check_value(provider, spec, name, value)
        if name == "user_agent":
            warnings += check_user_agent(provider, kind, tables.user_agent, value)
        for target in targets:
            # Vendors that take a question in words and as an id have a field for each: only one of them is meant.
            if target.conversion in _BY_FORM and _is_id(value) is not (target.conversion == "id"):
                continue
            written = _converted(kind, provider, name, value, target)
            if target.conversion in _IN_LIST:
                _put_in_list(kind, task, target, written)
            else:
                _put(kind, top if target.top else task, target.path, written)
    return images, warnings


def _prepare_vendor_task(provider: str, tables: TaskTables, challenge: VendorTask) -> Prepared:
    task: dict[str, Any] = {"type": challenge.type, **challenge.fields}
    if challenge.proxy is not None:
        _put_proxy("VendorTask", provider, tables.proxy or ProxyRule(), task, challenge.proxy)
    for name, value in challenge.extra.items():
        _put("VendorTask", task, (name,), value)
    return Prepared(
        kind=challenge.kind,
        provider=provider,
        vendor_type=challenge.variant or challenge.type,
        task={**task, "type": challenge.variant or challenge.type},
        timing=tables.timing_of(challenge.type),
        summary=summarise(challenge),
        solution_type=challenge.solution_type,
    )


def _specs_for(tables: TaskTables, challenge: Challenge[Any]) -> tuple[TaskSpec, ...]:
    """What the catalog says about the challenge; a user's subclass counts as the class it is derived from."""
    for cls in type(challenge).__mro__:
        specs = tables.specs_for(cls.__name__)
        if specs:
            return specs
    return ()


def _select(provider: str, tables: TaskTables, challenge: Challenge[Any]) -> TaskSpec:
    specs = _specs_for(tables, challenge)
    if not specs:
        raise _Lacking(f"{challenge.kind}: {provider} does not solve this")
    for spec in specs:
        if _fits(spec, challenge):
            return spec
    said = ", ".join(sorted({name for spec in specs for name in (*spec.when, *spec.given)}))
    raise _Lacking(f"{specs[0].challenge}: {provider} does not solve this form of it (see {said})")


def _fits(spec: TaskSpec, challenge: Challenge[Any]) -> bool:
    for name, value in spec.when.items():
        if getattr(challenge, name) != value:
            return False
    for name in spec.given:  # noqa: SIM110 - a generator for all() costs more than the whole loop
        if getattr(challenge, name) in _NOT_GIVEN:
            return False
    return True


def _type_of(provider: str, spec: TaskSpec, challenge: Challenge[Any]) -> tuple[str, Timing]:
    kind, wanted, proxied = spec.challenge, challenge.variant, challenge.proxy is not None
    if wanted is not None and wanted not in spec.types:
        known = ", ".join(spec.types)
        raise _Lacking(f"{kind}: {provider} has no variant {wanted!r} for this; it has {known}")
    if wanted is not None and wanted in spec.variants:
        variant = spec.variants[wanted]
        # Vendors that have one type for both tell by the proxy's fields; only elsewhere does the variant decide.
        either_way = spec.type == spec.type_with_proxy
        if not either_way and variant.with_proxy is not proxied:
            raise InvalidChallenge(f"{kind}: {wanted} is {provider}'s type {'without' if proxied else 'with'} a proxy")
        return variant.type, variant.timing
    name = spec.type_with_proxy if proxied else spec.type
    # A proxy that the vendor has no place for is another vendor's business; one that is missing is the caller's.
    if name is None and proxied:
        raise _Lacking(f"{kind}: {provider} takes no proxy for {spec.type}")
    if name is None:
        raise InvalidChallenge(f"{kind}: {provider} needs a proxy for {spec.type_with_proxy}")
    if wanted is not None and wanted != name:
        raise InvalidChallenge(f"{kind}: {wanted} is {provider}'s type {'without' if proxied else 'with'} a proxy")
    return name, spec.timing


def _check_value(provider: str, spec: TaskSpec, name: str, value: Any) -> None:
    allowed = spec.allowed.get(name)
    if allowed is not None and value not in allowed:
        raise _Lacking(f"{spec.challenge}: {provider} takes {', '.join(map(str, allowed))} for {name}, not {value}")
    low, high = spec.ranges.get(name, (None, None))
    if low is not None and high is not None and not low <= value <= high:
        raise _Lacking(f"{spec.challenge}: {provider} takes {low:g} to {high:g} for {name}, not {value}")


def _converted(kind: str, provider: str, name: str, value: Any, target: Target) -> Any:
    if not target.conversion and isinstance(value, str):  # nearly every field of every task
        return value
    match target.conversion:
        case "one":
            if len(value) != 1:
                raise _Lacking(f"{kind}: {provider} takes one picture for {name}, not {len(value)}")
            value = value[0]
        case "int":
            return int(value)
        case "text":
            return str(value)
        case "words" if _is_id(value):
            raise _Lacking(
                f"{kind}: {provider} takes {name} in English words, such as 'cars', not the id {value!r}: give the "
                "words of the instruction on the page"
            )
        case "json":
            return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        case "cookie_text":
            return "; ".join(f"{key}={text}" for key, text in value.items())
        case "cookie_list":
            return [{"name": key, "value": text} for key, text in value.items()]
        case "grid_rows" | "grid_columns":
            return int(value.split("x")[target.conversion == "grid_columns"])
    if isinstance(value, Image):
        return value.to_base64()
    if isinstance(value, tuple):
        return [item.to_base64() if isinstance(item, Image) else item for item in value]
    return value


def _is_id(question: str) -> bool:
    """Whether what is asked for in a picture is named by Google's id (`/m/0k4j`) and not in words."""
    return question.startswith("/")


def _has(task: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    at: Any = task
    for step in path:
        if not is_object(at) or step not in at:
            return False
        at = at[step]
    return True


def _put(kind: str, task: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in the task; objects are merged, nothing is ever replaced."""
    # "Nothing is replaced": two of our fields in one place of the vendor's would be a paid task with one of them lost.
    for step in path[:-1]:
        inner = task.setdefault(step, {})
        if not isinstance(inner, dict):
            raise InvalidChallenge(f"{kind}: the vendor field {step!r} is set twice, once as an object")
        task = inner
    name = path[-1]
    if name not in task:
        task[name] = dict(value) if is_object(value) else value
    elif isinstance(task[name], dict) and is_object(value):
        for key, inner_value in value.items():
            _put(kind, task[name], (key,), inner_value)
    else:
        raise InvalidChallenge(
            f"{kind}: the vendor field {name!r} is set twice; extra may add fields, not replace them"
        )


def _put_in_list(kind: str, task: dict[str, Any], target: Target, value: Any) -> None:
    if not _has(task, target.path):
        _put(kind, task, target.path, [])
    at: Any = task
    for step in target.path:
        at = at[step]
    place = 0 if target.conversion == "first" else len(at)
    at[place:place] = value if isinstance(value, list) else [value]


def _put_proxy(kind: str, provider: str, rule: ProxyRule, task: dict[str, Any], proxy: Proxy) -> None:
    check_proxy(provider, rule, proxy)
    # An IPv6 address in a URL needs brackets, or its colons would be taken for the port's.
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    written: dict[str, Any]
    login: list[Secret | str]
    match rule.form:
        case "url":
            login = [] if proxy.login is None else [proxy.login, ":", proxy.password or "", "@"]
            written = {"proxy": compose(f"{proxy.scheme}://", *login, f"{host}:{proxy.port}", quote=True)}
        case "colon":
            login = [] if proxy.login is None else [":", proxy.login, ":", proxy.password or ""]
            written = {"proxy": compose(f"{proxy.scheme}:{proxy.host}:{proxy.port}", *login)}
        case _:
            written = {"proxyType": proxy.scheme, "proxyAddress": proxy.host, "proxyPort": proxy.port}
            if rule.form == "fields_without_type":
                del written["proxyType"]
            if proxy.login is not None:
                written["proxyLogin"] = proxy.login
                written["proxyPassword"] = proxy.password or ""
    for name, value in written.items():
        _put(kind, task, (name,), value)
