"""The strict reader of a catalog's task tables: `load_tasks` makes `TaskTables` of them, or says which key is wrong.

Here live the names of the tables and keys; the values they become are in `tasks.py`, the reader of the other tables in
`catalog.py`, the tools for one table in `section.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve
from attrs import fields as attributes_of

from anycap.challenges import KINDS
from anycap.core.vendor_limits import Timing
from anycap.providers.section import Section
from anycap.providers.tasks import (
    ImageRule,
    MethodSpec,
    ProxyRule,
    Target,
    TaskSpec,
    TaskTables,
    UserAgentRule,
    Variant,
)

SECTIONS = ("timing", "tasks", "proxy", "images", "user_agent", "methods")
"""The tables of a catalog that are read here."""

PROXY_FORMS = ("fields", "fields_without_type", "url", "colon")
CONVERSIONS = (
    "", "one", "int", "text", "json", "cookie_text", "cookie_list", "grid_rows", "grid_columns", "id", "not_id", "words",
    "first", "last",
)  # fmt: skip
"""How a value is rewritten: see `encode.py`. Without one, images become base64 and everything else goes as it is."""

SHAPES = ("token", "text", "coordinates", "cells", "angle", "geetest", "tencent", "cookies", "raw")


def load_tasks(raw: Mapping[str, Any], *, file: str | None = None) -> TaskTables:
    """The task tables of a parsed catalog; only the tables named in `SECTIONS` are read.

    `file` is what error messages call the catalog. Raises ConfigurationError naming table and key for anything
    unknown, missing or of the wrong type.

    >>> tables = load_tasks({"provider": {"name": "toy"}, "tasks": [{"challenge": "Prosopo", "type": "ProsopoTask",
    ...     "fields": {"website_url": "websiteURL", "website_key": "websiteKey"}}]})
    >>> tables.tasks[0].type
    'ProsopoTask'
    """
    header = raw.get("provider", {})
    provider = str(header.get("name", "catalog")) if isinstance(header, Mapping) else "catalog"
    top = Section(file or f"{provider}.toml", "", {key: raw[key] for key in SECTIONS if key in raw})
    timings = {name: _timing(section) for name, section in top.table("timing").items()}
    proxy = _proxy(top.section("proxy")) if "proxy" in top else None
    images = _images(top.section("images"))
    tasks = tuple(_task(section, timings, proxy, images) for section in top.sections("tasks"))
    methods = {name: _method(name, section) for name, section in top.table("methods").items()}
    return TaskTables(
        provider=provider,
        tasks=tasks,
        timings=timings,
        proxy=proxy,
        images=images,
        user_agent=_user_agent(top.section("user_agent")),
        methods=methods,
    )


def _timing(section: Section) -> Timing:
    # Waits that are not given follow the floors: a vendor that asks for 5 s is not asked every 3 by default.
    usual = Timing()
    min_first_s = section.number("min_first_s", None) or usual.min_first_s
    min_gap_s = section.number("min_gap_s", None) or usual.min_gap_s
    first_s, gap_s = section.number("first_s", None), section.number("gap_s", None)
    timing = Timing(
        first_s=max(usual.first_s, min_first_s) if first_s is None else first_s,
        gap_s=max(usual.gap_s, min_gap_s) if gap_s is None else gap_s,
        min_first_s=min_first_s,
        min_gap_s=min_gap_s,
        polls_max=section.count("polls_max", None),
        life_s=section.number("life_s", None),
        assumed_life_s=section.number("assumed_life_s", None) or usual.assumed_life_s,
        result_life_s=section.number("result_life_s", None),
        token_life_s=section.number("token_life_s", None),
        sync=section.flag("sync", False),
    )
    section.source()
    section.done()
    return timing


def _images(section: Section) -> ImageRule:
    rule = ImageRule(
        bytes_min=section.count("bytes_min", None) or 1,
        bytes_max=section.count("bytes_max", None),
        bytes_warn=section.count("bytes_warn", None),
        formats=section.texts("formats"),
        animated=section.flag("animated", True),
        sides=section.integers("sides"),
        side_max=section.count("side_max", None),
        source=section.source(),
    )
    section.done()
    return rule


def _user_agent(section: Section) -> UserAgentRule:
    rule = UserAgentRule(contains=section.texts("contains"), source=section.source())
    section.done()
    return rule


def _proxy(section: Section) -> ProxyRule:
    rule = ProxyRule(
        form=section.one_of("form", PROXY_FORMS),
        schemes=section.texts("schemes") or ProxyRule().schemes,
        ip_only=section.flag("ip_only", False),
        private_refused=section.flag("private_refused", False),
        login_required=section.flag("login_required", False),
        source=section.source(),
    )
    section.done()
    return rule


def _task(section: Section, timings: Mapping[str, Timing], proxy: ProxyRule | None, images: ImageRule) -> TaskSpec:
    kind = section.one_of("challenge", tuple(KINDS))
    # A list of tables has only numbers for names: with the challenge a message can be found again in the file.
    section.path = f"{section.path} ({kind})"
    timing = _named_timing(section, timings, timings.get("default") or timings.get("token") or Timing())
    token_life_s = section.number("token_life_s", None)
    if token_life_s is not None:
        timing = evolve(timing, token_life_s=token_life_s)
    plain, with_proxy = section.text("type", None), section.text("with_proxy", None)
    if plain is None and with_proxy is None:
        raise section.fail("type", "is missing")
    spec = TaskSpec(
        challenge=kind,
        type=plain,
        type_with_proxy=plain if with_proxy == "same" else with_proxy,
        timing=timing,
        shape=section.one_of("solution", SHAPES) if "solution" in section else "token",
        fields={name: _targets(section, text) for name, text in _plain(section, "fields").items()},
        when=_plain(section, "when"),
        given=section.texts("given"),
        required=section.texts("required"),
        ignored=section.texts("ignored"),
        allowed={
            name: _listed(section, "allowed", name, values) for name, values in _plain(section, "allowed").items()
        },
        ranges={name: _range(section, name, ends) for name, ends in _plain(section, "ranges").items()},
        constants=_plain(section, "constants"),
        defaults=_plain(section, "defaults"),
        variants={name: _variant(name, inner, timings, timing) for name, inner in section.table("variants").items()},
        images=_images(section.section("images")) if "images" in section else images,
        proxy=_proxy(section.section("proxy")) if "proxy" in section else proxy or ProxyRule(),
        main_fields=section.texts("main_fields"),
        cells_from=section.integer("cells_from", (0, 1), 0),
        confirmed=section.flag("confirmed", True),
        source=section.source(),
    )
    _refuse_strange_fields(section, spec)
    section.done()
    return spec


def _refuse_strange_fields(section: Section, spec: TaskSpec) -> None:
    # A misspelt field would silently never be sent: it would be a paid task without it.
    known = {each.name for each in attributes_of(KINDS[spec.challenge])}
    strange = {
        *spec.fields,
        *spec.when,
        *spec.given,
        *spec.required,
        *spec.ignored,
        *spec.allowed,
        *spec.ranges,
    } - known
    if strange:
        theirs = ", ".join(sorted(known - {"proxy", "variant", "extra"}))
        raise section.fail("fields", f"{spec.challenge} has no field {', '.join(sorted(strange))}; it has {theirs}")


def _plain(section: Section, key: str) -> dict[str, Any]:
    value = section.take(key, {})
    if not isinstance(value, Mapping):
        raise section.fail(key, f"must be a table, not {value!r}")
    return dict(value)


def _listed(section: Section, key: str, name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise section.fail(f"{key}.{name}", f"must be a list of values, not {values!r}")
    return tuple(values)


def _range(section: Section, name: str, ends: Any) -> tuple[float, float]:
    numbers = _listed(section, "ranges", name, ends)
    if len(numbers) != 2 or not all(type(end) in (int, float) for end in numbers) or numbers[0] > numbers[1]:
        raise section.fail(f"ranges.{name}", f"must be two numbers, the smaller first, not {ends!r}")
    return float(numbers[0]), float(numbers[1])


def _named_timing(section: Section, timings: Mapping[str, Timing], default: Timing) -> Timing:
    return timings[section.one_of("timing", tuple(timings))] if "timing" in section else default


def _targets(section: Section, text: Any) -> tuple[Target, ...]:
    if isinstance(text, list):
        return tuple(target for item in text for target in _targets(section, item))
    if not isinstance(text, str) or not text.strip("^:."):
        raise section.fail("fields", f"where a field goes must be text, not {text!r}")
    path, _, conversion = text.partition(":")
    if conversion not in CONVERSIONS:
        raise section.fail("fields", f"unknown conversion in {text!r}; known: {', '.join(CONVERSIONS[1:])}")
    return (Target(tuple(path.lstrip("^").split(".")), conversion, path.startswith("^")),)


def _variant(name: str, section: Section, timings: Mapping[str, Timing], default: Timing) -> Variant:
    variant = Variant(
        type=name, timing=_named_timing(section, timings, default), with_proxy=section.flag("with_proxy", False)
    )
    section.source()
    section.done()
    return variant


def _method(name: str, section: Section) -> MethodSpec:
    required = section.texts("required")
    kinds = section.texts("kinds")
    if strange := set(kinds) - set(KINDS):
        raise section.fail("kinds", f"these are no challenges: {', '.join(sorted(strange))}")
    window_s = section.number("volume_window_s", None)
    method = MethodSpec(
        name=name,
        path=section.text("path", name),
        keyed=section.flag("keyed", True),
        fields=(*required, *section.texts("fields")),
        required=required,
        read_only=section.flag("read_only", True),
        costs=section.flag("costs", False),
        min_interval_s=section.number("min_interval_s", None),
        verb=section.one_of("verb", ("POST", "GET")) if "verb" in section else "POST",
        url=section.text("url", None),
        reports=section.one_of("reports", ("correct", "incorrect")) if "reports" in section else None,
        kinds=kinds,
        window_s=section.number("window_s", None),
        volume_min=section.count("volume_min", None),
        volume_window_s=86_400.0 if window_s is None else window_s,
        languages=section.texts("languages"),
        constants=_plain(section, "constants"),
        confirmed=section.flag("confirmed", True),
        source=section.source(),
    )
    section.done()
    return method
