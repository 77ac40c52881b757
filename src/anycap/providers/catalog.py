"""Loads a provider's TOML into a frozen `Catalog`, strictly: a wrong file is refused with its name and the key.

Here live the header, the ban rules and the error rows. The task types are read by `task_tables.py`, the meaning of an answer by
`adapter.py`, the look-up of an error row by `rows.py`. To add a vendor, add a file to `data/`: nothing here changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from anycap.challenges import KINDS
from anycap.core.vendor_limits import BanRule
from anycap.errors import ConfigurationError
from anycap.journal.budgets import amount_of
from anycap.providers.extending import extended
from anycap.providers.section import Section
from anycap.providers.toml_text import parse_toml
from anycap.taxonomy import CODES, Charged, Code, ErrorRow, Retry, Scope

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from anycap.providers.tasks import TaskTables

SCHEMA = 1
"""Raised when a catalog written for this reader would mean something else to the next."""
BUILT_IN_FILES = frozenset({
    "anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver", "rucaptcha", "nextcaptcha",
    "compatible", "compatible-capmonster", "compatible-yescaptcha",
})  # fmt: skip
"""The catalogs in `data/`: what `extends` may name."""


class Style(StrEnum):
    """Which adapter speaks with the vendor."""

    ANTI_CAPTCHA = "anti-captcha"
    CAPMONSTER = "capmonster"
    CHINESE = "chinese"


class Confidence(StrEnum):
    """How well an error row is founded; `low` rows drive nothing beyond a default."""

    NORMAL = "normal"
    LOW = "low"


@frozen(eq=False, kw_only=True)
class Catalog:
    """Everything known about one vendor. Made by `load`, never changed; compared by identity.

    `family` is the name that providers of one company share (RuCaptcha is of 2Captcha's): their bans and blocks go together.
    `base_url` is empty for a provider that is whatever the account's `base_url` says (`compatible`).

    `errors` holds the rows by vendor code, `aliases` other spellings, `ids` the codes behind a numeric error id (empty when the
    vendor's ids are only a flag). `charges_failures`: a task that fails is billed, or may be
    (`charges_failures_known` is false where no page says). `processing_http_statuses` mean "still
    processing" on getTaskResult. `poll_bans` are what too many polls of one task bring: the poll limits of the timings keep
    the client from them, the emulator imposes them. `soft_id_field` and `callback_field` are None when the vendor has no such
    field.
    """

    file: str
    name: str
    family: str
    title: str
    style: Style
    base_url: str
    mirrors: Mapping[str, str]
    docs: str
    currency: str
    task_id: str
    error_ids: str
    ready_statuses: frozenset[str]
    processing_statuses: frozenset[str]
    failed_statuses: frozenset[str]
    not_error_codes: frozenset[str]
    processing_http_statuses: frozenset[int]
    charges_failures: bool
    charges_failures_known: bool
    soft_id_field: str | None
    callback_field: str | None
    user_agent_url: str | None
    unconfirmed: tuple[str, ...]
    max_in_flight: int | None
    ban_rules: tuple[BanRule, ...]
    poll_bans: tuple[BanRule, ...]
    errors: Mapping[str, ErrorRow] = field(repr=False)
    aliases: Mapping[str, str] = field(repr=False)
    ids: Mapping[int, tuple[str, ...]] = field(repr=False)
    tasks: TaskTables = field(repr=False)
    prices: Mapping[str, Decimal] = field(factory=dict, repr=False)
    """What a task of a challenge type costs, in `currency`, until the account has learned it."""


def load(source: Path | Traversable) -> Catalog:
    """The catalog in a TOML file. Raises `ConfigurationError` naming the file and the key that is wrong."""
    return read(_parsed(source), file=source.name)


def _parsed(source: Path | Traversable) -> dict[str, Any]:
    name = source.name
    try:
        raw = source.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{name}: the catalog cannot be read: {error.strerror or type(error).__name__}"
        ) from None
    return parse_toml(raw, file=name)


def load_builtin(name: str) -> Catalog:
    """The catalog of a provider that comes with this library."""
    return load(_builtin_file(name))


def _builtin_file(name: str) -> Traversable:
    from importlib.resources import files

    return files("anycap.providers").joinpath("data", f"{name}.toml")


def _builtin_tables(name: str) -> Mapping[str, Any] | None:
    """The parsed catalog of a built-in provider, with what it extends filled in; None when there is none of this name."""
    if name not in BUILT_IN_FILES:
        return None
    file = _builtin_file(name)
    return extended(_parsed(file), file=file.name, parent_of=_builtin_tables)


def read(raw: Mapping[str, Any], *, file: str = "catalog") -> Catalog:
    """The catalog that a parsed TOML describes; `file` is what error messages call it."""
    from anycap.providers.task_tables import SECTIONS, load_tasks

    raw = extended(raw, file=file, parent_of=_builtin_tables)
    top = Section(file, "", raw)
    head = top.section("provider")
    schema = head.take("schema")
    if schema != SCHEMA:
        raise head.fail("schema", f"this library reads schema {SCHEMA}, not {schema!r}")
    limits = top.section("limits")
    max_in_flight = limits.count("max_in_flight", None)
    limits.done()
    name = _name(head, "name", head.text("name"))
    error_ids = head.one_of("error_ids", ("catalogue", "flag"))
    docs = head.text("docs")
    rows, aliases, ids = _errors(top, name, docs, meaningful_ids=error_ids == "catalogue")
    rules, poll_bans = _ban_rules(top, rows, docs)
    prices = _prices(top.section("prices"))
    charges = head.flag_or_unknown("charges_failures")
    for (
        section_name
    ) in SECTIONS:  # taken here only so that `done` refuses every other name: a misspelt table is a mistake
        top.take(section_name)
    top.done()
    catalog = Catalog(
        file=file,
        name=name,
        family=_name(head, "family", head.text("family", name)),
        title=head.text("title"),
        style=head.choice("style", Style),
        base_url="" if head.flag("needs_base_url", False) else _url(head, "base_url", head.text("base_url")),
        mirrors=_mirrors(head),
        docs=docs,
        currency=head.text("currency"),
        task_id=head.one_of("task_id", ("integer", "string")),
        error_ids=error_ids,
        ready_statuses=_some(head, "ready_statuses"),
        processing_statuses=_some(head, "processing_statuses"),
        failed_statuses=frozenset(head.texts("failed_statuses")),
        not_error_codes=frozenset(head.texts("not_error_codes")),
        processing_http_statuses=frozenset(head.integers("processing_http_statuses")),
        charges_failures=charges is not False,
        charges_failures_known=charges is not None,
        soft_id_field=head.text("soft_id_field", None),
        callback_field=head.text("callback_field", None),
        user_agent_url=_url(head, "user_agent_url", head.text("user_agent_url", None)),
        unconfirmed=head.texts("unconfirmed"),
        max_in_flight=max_in_flight,
        ban_rules=rules,
        poll_bans=poll_bans,
        errors=rows,
        aliases=aliases,
        ids=ids,
        tasks=load_tasks(raw, file=file),
        prices=prices,
    )
    head.done()
    _check_statuses(head, catalog)
    return catalog


def _prices(section: Section) -> Mapping[str, Decimal]:
    """Prices by challenge type, as text: `RecaptchaV2 = "0.002"`. A float is not what was meant by 0.1."""
    prices: dict[str, Decimal] = {}
    for kind in section.names():
        if kind not in KINDS:
            raise section.fail(kind, "is no challenge type")
        amount = amount_of(section.text(kind))
        if amount is None or amount < 0:
            raise section.fail(kind, "must be an amount of money as text")
        prices[kind] = amount
    return prices


def _name(head: Section, key: str, name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name):
        raise head.fail(key, f"{name!r}: lower-case letters, digits, dots and hyphens only")
    return name


def _some(head: Section, key: str) -> frozenset[str]:
    words = head.texts(key)
    if not words:
        raise head.fail(key, "must name at least one status")
    return frozenset(words)


def _check_statuses(head: Section, catalog: Catalog) -> None:
    kinds = (catalog.ready_statuses, catalog.processing_statuses, catalog.failed_statuses)
    # A word with two meanings would make a paid task end or go on by the order of our tests.
    words = [word for kind in kinds for word in kind]
    if len(set(words)) != len(words):
        raise head.fail("ready_statuses", "one status word stands in two of the status lists")
    for word in words:
        if word != word.strip().lower():
            raise head.fail("ready_statuses", f"status words are lower case without spaces, {word!r} is not")
    for status in catalog.processing_http_statuses:
        if not 500 <= status <= 599:
            raise head.fail("processing_http_statuses", f"{status}: only a 5xx can mean that a task is still in work")


def _url(head: Section, key: str, url: str | None) -> Any:
    """`url`, checked: https, or http to this machine; without login, query and trailing slash."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise head.fail(key, f"{url!r} is no URL") from None
    if not url.isprintable() or " " in url or "\\" in url or port == 0:  # urlsplit itself drops tabs and line breaks
        raise head.fail(key, f"{url!r} holds a blank, a control character or port 0")
    loopback = host in ("localhost", "127.0.0.1", "::1")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        # The key goes in the body of every request: never in the clear beyond this machine.
        raise head.fail(key, f"{url!r} is no https address")
    if parts.username or parts.password or parts.query or parts.fragment or url.endswith("/"):
        raise head.fail(key, f"{url!r} must have no login, query, fragment or slash at the end")
    return url


def _mirrors(head: Section) -> dict[str, str]:
    section = head.section("mirrors")
    return {name: _url(section, name, section.text(name)) for name in section.names()}


def _ban_rules(
    top: Section, rows: Mapping[str, ErrorRow], docs: str
) -> tuple[tuple[BanRule, ...], tuple[BanRule, ...]]:
    """The rules that count bad answers in a window, and those about the polls of one task."""
    counting, of_polls = [], []
    for section in top.sections("ban_rules"):
        if "polls_of_one_task" in section:
            of_polls.append(_ban_rule(section, rows, docs, section.count("polls_of_one_task"), 0.0))
        else:
            count_max, window_s = section.count("count_max"), section.number("window_s")
            counting.append(_ban_rule(section, rows, docs, count_max, window_s))
    if len({rule.name for rule in (*counting, *of_polls)}) != len(counting) + len(of_polls):
        raise top.fail("ban_rules", "two rules have the same name")
    return tuple(counting), tuple(of_polls)


def _ban_rule(section: Section, rows: Mapping[str, ErrorRow], docs: str, count_max: int, window_s: float) -> BanRule:
    scope = section.choice("scope", Scope)
    if scope not in (Scope.ACCOUNT, Scope.ADDRESS):
        raise section.fail("scope", f"{scope}: a ban is of an account or an address")
    vendor_code = section.text("vendor_code")
    if vendor_code not in rows:  # what the ban says must be an error that we can read
        raise section.fail("vendor_code", f"{vendor_code!r} is not among the errors of this file")
    rule = BanRule(
        name=section.text("name"),
        count_max=count_max,
        window_s=window_s,
        penalty_s=section.number("penalty_s"),
        vendor_code=vendor_code,
        scope=scope,
        codes=frozenset(section.member("codes", Code, code) for code in section.texts("codes")),
        methods=frozenset(section.texts("methods")),
        blocks=frozenset(section.texts("blocks")),
        assumed=section.flag("assumed", False),
        source=section.source(default=docs),
    )
    section.done()
    return rule


def _errors(
    top: Section, provider: str, docs: str, *, meaningful_ids: bool
) -> tuple[dict[str, ErrorRow], dict[str, str], dict[int, tuple[str, ...]]]:
    rows: dict[str, ErrorRow] = {}
    aliases: dict[str, str] = {}
    ids: dict[int, tuple[str, ...]] = {}
    table = top.table("errors")
    for vendor_code, section in table.items():
        if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", vendor_code):
            raise section.fail("", f"{vendor_code!r} does not look like a vendor code")
        row = rows[vendor_code] = _error_row(section, provider, docs, vendor_code)
        for alias in row.aliases:
            if alias in table:
                raise section.fail("aliases", f"{alias} is a code of its own in this file")
            if alias in aliases:
                raise section.fail("aliases", f"{alias} belongs to {aliases[alias]} already")
            aliases[alias] = vendor_code
        # An id may stand for several codes (anti-captcha has such): then the id alone decides nothing.
        if row.error_ids and not meaningful_ids:
            raise section.fail("ids", "this vendor's error ids are a flag; they name nothing")
        for error_id in row.error_ids:
            if error_id < 1:
                raise section.fail("ids", f"{error_id}: an error id is 1 or more")
            ids[error_id] = (*ids.get(error_id, ()), vendor_code)
    if not rows:
        raise top.fail("errors", "a catalog without a single error row")
    return rows, aliases, ids


def _error_row(section: Section, provider: str, docs: str, vendor_code: str) -> ErrorRow:
    code = section.choice("code", Code)
    if code in (Code.UNKNOWN, Code.UNREADABLE_ANSWER):
        raise section.fail("code", f"{code} is for answers that no catalog knows")
    info = CODES[code]  # a row says only what differs from what its shared code says
    waits = section.section("retry_after_by_method")
    row = ErrorRow(
        code=code,
        category=info.category,
        retry=section.choice("retry", Retry, info.retry),
        scope=section.choice("scope", Scope, info.scope),
        retry_after=section.number("retry_after_s", None),
        charged=section.choice("charged", Charged, Charged.UNKNOWN),
        meaning=section.text("meaning"),
        action=section.text("action"),
        source=section.source(default=docs),
        provider=provider,
        vendor_code=vendor_code,
        error_ids=section.integers("ids"),
        aliases=section.texts("aliases"),
        confidence=str(section.choice("confidence", Confidence, Confidence.NORMAL)),
    )
    section.done()
    return evolve(row, retry_after_by_method=tuple((method, waits.number(method)) for method in waits.names()))
