"""From the answer of a finished task to a typed solution: `build`. Pure, and tolerant of everything but a missing answer.

Here live the names under which vendors hide the same value, numbers sent as text, times and cookies in their various
shapes. Which shape a task's answer has is catalog data (`solution`, `main_fields` in `[[tasks]]`); what comes as no object
at all, or under other names, is seen to in `solution_shapes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from anycap.challenges.base import is_object
from anycap.providers.envelope import is_nothing, read_amount
from anycap.providers.solution_shapes import SolutionMissing, SolutionShapeError, as_object, only_value
from anycap.results import (
    AngleSolution,
    CellsSolution,
    CookiesSolution,
    CoordinatesSolution,
    GeeTestSolution,
    RawSolution,
    Solution,
    TencentSolution,
    TextSolution,
    TokenSolution,
)
from anycap.tickets import Ticket

if TYPE_CHECKING:
    from anycap.providers.catalog import Catalog
    from anycap.providers.tasks import TaskSpec

_TOKEN_FIELDS = ("token", "gRecaptchaResponse", "data.token")
_RECAPTCHA_FIELDS = ("gRecaptchaResponse", "token")
_MAIN_FIELDS = {
    "text": ("text",),
    "angle": ("rotate", "angle", "answer"),
    "coordinates": ("coordinates",),
    "cells": ("objects", "answer", "click", "box"),
    "cookies": ("token", "captcha_voucher"),
}
_NOT_GEETEST = frozenset({"userAgent", "user_agent", "cookies", "type", "ip", "createTime", "expireTime"})
_GEETEST_MAIN = ("validate", "lot_number", "captcha_output", "pass_token")
_USER_AGENTS = ("userAgent", "user_agent", "useragent", "headers.User-Agent")
_COOKIES, _DOMAINS = ("cookies", "Cookies"), ("domains", "Domains")
_SINGLE_COOKIES = {"existing_token": "aws-waf-token", "cookie": "aws-waf-token", "cf_clearance": "cf_clearance"}
_BESIDE = frozenset(
    {"expireTime", *(path.partition(".")[0] for path in _USER_AGENTS), *_COOKIES, *_DOMAINS, *_SINGLE_COOKIES}
)
"""Where a solution has more than its main value. Most have none of these: one look instead of a dozen."""
_MILLISECONDS_FROM = 100_000_000_000
"""A Unix time beyond this is in milliseconds: in seconds it would be the year 5138."""
_TOOK_MAX_S = 3_600.0
_LIFE_MAX_S = 366 * 86_400.0
"""A task that took longer, or a solution that is valid for longer, is a mistake in the vendor's times."""
_ABSENT = object()


def build(
    catalog: Catalog,
    kind: str,
    body: Mapping[str, Any],
    *,
    ticket: Ticket | None = None,
    received_at: datetime | float | None = None,
    age_s: float | None = None,
) -> Solution:
    """The typed solution in `body`, the answer to getTaskResult or createTask of a task that is ready.

    `kind` is the challenge's kind as in the ticket; `received_at` our wall time (seconds since the epoch, or an aware
    datetime), `age_s` the seconds from the vendor's taking the task to then. `expires_at` is the end of the task plus the
    solution's life: by our clock, as of the vendor's times only differences count (how long the task took, and from its
    end to `expireTime`). Without them it is the receipt plus the life of the catalog. Raises SolutionMissing when the main
    value is null or empty, SolutionShapeError when it cannot be found or read; everything else that is missing or
    malformed is left out.

    >>> from anycap.providers.catalog import load_builtin
    >>> body = {"status": "ready", "solution": {"gRecaptchaResponse": "TOKEN"}, "cost": "0.002"}
    >>> build(load_builtin("anti-captcha"), "RecaptchaV2", body).cost
    Decimal('0.002')
    """
    specs = catalog.tasks.specs_for(kind)
    spec = specs[0] if specs else None
    shape = spec.shape if spec is not None else "raw"
    names = _main_names(shape, kind, spec)
    try:
        raw = as_object(body.get("solution"), shape, names[0])
        common = _common(catalog, spec, raw, body, ticket, received_at, age_s)
        return _shaped(shape, spec, names, raw, common)
    except SolutionShapeError as error:
        told = type(error)(f"{catalog.name}: the solution of a {kind} task {error}")
    raise told


def lacks_value(catalog: Catalog, kind: str, body: Mapping[str, Any]) -> bool:
    """Whether the solution in `body` has a null or empty main value, so that the vendor may add it yet."""
    raw = body.get("solution")
    if type(raw) is dict:
        usual = raw.get("gRecaptchaResponse") or raw.get("token") or raw.get("text")
        if isinstance(usual, str) and usual and not usual.isspace():
            return False  # nearly every solution; the long way comes to the same
    try:
        build(catalog, kind, body)
    except SolutionMissing:
        return True
    except SolutionShapeError:
        return False
    return False


def _main_names(shape: str, kind: str, spec: TaskSpec | None) -> tuple[str, ...]:
    """Where the main value may be, the usual place first."""
    if spec is not None and spec.main_fields:
        return spec.main_fields
    if shape == "token" and kind in ("RecaptchaV2", "RecaptchaV3", "HCaptcha"):
        return _RECAPTCHA_FIELDS
    return _MAIN_FIELDS.get(shape, _TOKEN_FIELDS)


def _shaped(
    shape: str, spec: TaskSpec | None, names: tuple[str, ...], raw: Mapping[str, Any], common: dict[str, Any]
) -> Solution:
    match shape:
        case "token":
            return TokenSolution(token=_main(raw, names, _is_token), resp_key=_text(raw.get("respKey")), **common)
        case "text":
            return TextSolution(text=_written(raw, names), url=_text(raw.get("url")), **common)
        case "angle":
            return AngleSolution(angle=_angle(_first(raw, names, _is_number)), **common)
        case "tencent":
            vendors_ticket, randstr = (_main(raw, (name, f"data.{name}"), _is_none) for name in ("ticket", "randstr"))
            return TencentSolution(token=vendors_ticket, randstr=randstr, **common)
        case "coordinates":
            return CoordinatesSolution(coordinates=_coordinates(_first(raw, names, _is_list)), **common)
        case "cells":
            return _cells(raw, names, 0 if spec is None else spec.cells_from, common)
        case "geetest":
            values = {
                name.removeprefix("geetest_"): text
                for name, value in raw.items()
                if name not in _NOT_GEETEST and (text := _text(value)) is not None
            }
            if not any(values.get(name) for name in _GEETEST_MAIN):
                given = {name.removeprefix("geetest_") for name in raw}
                if not given.isdisjoint(_GEETEST_MAIN):
                    raise SolutionMissing("has only empty values")
                raise SolutionShapeError("has none of " + ", ".join(_GEETEST_MAIN))
            return GeeTestSolution(values=values, **common)
        case "cookies":
            token = next((text for name in names if (text := _text(_at(raw, name)))), None)
            if token is None and not common["cookies"]:
                if any(_is_empty_at(raw, name) for name in (*names, *_COOKIES, *_DOMAINS)):
                    raise SolutionMissing("has only empty values")
                raise SolutionShapeError("has neither cookies nor a token")
            return CookiesSolution(token=token, **common)
        case _:
            return RawSolution(**common)


def _common(
    catalog: Catalog,
    spec: TaskSpec | None,
    raw: Mapping[str, Any],
    body: Mapping[str, Any],
    ticket: Ticket | None,
    received_at: datetime | float | None,
    age_s: float | None,
) -> dict[str, Any]:
    received = received_at if isinstance(received_at, datetime) else _time(received_at)
    created, ended = _time(body.get("createTime")), _time(body.get("endTime"))
    tries = _whole(body.get("solveCount"))
    cost = _money(body.get("cost"))
    # Most solutions hold the token alone: one question saves a dozen look-ups.
    bare = _BESIDE.isdisjoint(raw)
    return {
        "ticket": ticket,
        "raw": raw,
        "cost": cost,
        "currency": catalog.currency if cost is not None else None,
        "created_at": created,
        "ended_at": ended,
        "received_at": received,
        "expires_at": _expires(spec, None if bare else raw.get("expireTime"), created, ended, received, age_s),
        "user_agent": None if bare else _user_agent(raw),
        "cookies": {} if bare else dict(_cookies(raw)),
        "worker_tries": tries,
        "ip": _text(body.get("ip")),
    }


def _expires(
    spec: TaskSpec | None,
    expire_time: Any,
    created: datetime | None,
    ended: datetime | None,
    received: datetime | None,
    age_s: float | None,
) -> datetime | None:
    # The vendor's clock may be an hour off: nothing of it is compared with ours (docs/decisions/0006).
    life_s = _seconds_between(ended, _time(expire_time), _LIFE_MAX_S) or (spec.timing.token_life_s if spec else None)
    if life_s is None or received is None:
        return None
    took_s = _seconds_between(created, ended, _TOOK_MAX_S)
    noticed_s = 0.0 if took_s is None or age_s is None else max(age_s - took_s, 0.0)
    return received + timedelta(seconds=life_s - noticed_s)


def _seconds_between(start: datetime | None, end: datetime | None, most_s: float) -> float | None:
    seconds = (end - start).total_seconds() if start is not None and end is not None else -1.0
    return seconds if 0.0 <= seconds <= most_s else None


def _at(raw: Mapping[str, Any], path: str, otherwise: Any = None) -> Any:
    if "." not in path:
        return raw.get(path, otherwise)
    value: Any = raw
    for step in path.split("."):
        if is_nothing(value):
            return None
        if not is_object(value):
            return otherwise
        value = value.get(step, otherwise)
    return value


def _is_empty_at(raw: Mapping[str, Any], path: str) -> bool:
    return is_nothing(_at(raw, path, _ABSENT))


def _not_found(raw: Mapping[str, Any], names: tuple[str, ...]) -> SolutionShapeError:
    if any(_is_empty_at(raw, name) for name in names):
        return SolutionMissing(f"has an empty {' or '.join(names)}")
    return SolutionShapeError(f"has no {' or '.join(names)}")


def _first(raw: Mapping[str, Any], names: tuple[str, ...], is_plausible: Callable[[Any], bool]) -> Any:
    for name in names:
        value = _at(raw, name)
        if isinstance(value, list) or not is_nothing(value):  # an empty list is an answer: nothing to click
            return value
    missing = _not_found(raw, names)
    value = None if isinstance(missing, SolutionMissing) else only_value(raw, is_plausible)
    if value is None:
        raise missing
    return value


def _main(raw: Mapping[str, Any], names: tuple[str, ...], is_plausible: Callable[[Any], bool]) -> str:
    """The main text: under one of its names, else the only value that it can be."""
    for name in names:
        value = _at(raw, name)
        text = _text(value[0] if isinstance(value, list) and len(value) == 1 else value)
        if text and not text.isspace():
            return text
    # A name that is there and empty is the vendor's "nothing"; another value must not be taken in its place.
    missing = _not_found(raw, names)
    text = None if isinstance(missing, SolutionMissing) else _text(only_value(raw, is_plausible))
    if text is None:
        raise missing
    return text


def _written(raw: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The main text; a recording's may come as a list of what was heard, one character or word after the other."""
    for name in names:
        value = _at(raw, name)
        if isinstance(value, list) and value:
            heard = [_text(item) or "" for item in value]
            if all(heard):
                return ("" if max(map(len, heard)) == 1 else " ").join(heard)
    return _main(raw, names, _is_text)


def _is_token(value: Any) -> bool:
    """Whether it may be a token: text in one piece."""
    return isinstance(value, str) and len(value.split()) == 1


def _is_text(value: Any) -> bool:
    return _text(value) is not None and not is_nothing(value)


def _is_number(value: Any) -> bool:
    return _number(value) is not None


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_none(value: Any) -> bool:
    """Two values that are told apart by their names alone: no other name can stand for one."""
    return False


def _angle(value: Any) -> float:
    number = _number(value[0] if isinstance(value, list) and len(value) == 1 else value)
    if number is None:
        raise SolutionShapeError("has an angle that is no number")
    return number


def _text(value: Any) -> str | None:
    """Text, or a number as text; None for everything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return str(value)
    return None


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    # Beyond it a float holds no whole numbers, and no coordinate, time or count is as large.
    return number if abs(number) < 1e15 else None  # also drops infinities; NaN compares false


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 else None


def _money(value: Any) -> Decimal | None:
    amount = read_amount(value)
    return amount if amount is not None and amount >= 0 else None


def _time(value: Any) -> datetime | None:
    number = value if type(value) is int else _number(value)
    if number is None or number <= 0:
        return None
    try:
        # Some vendors count in milliseconds. No date in seconds is that large, and no date in milliseconds that small.
        if number >= _MILLISECONDS_FROM:
            number /= 1000
        return datetime.fromtimestamp(number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _user_agent(raw: Mapping[str, Any]) -> str | None:
    for path in _USER_AGENTS:
        value = _at(raw, path)
        if isinstance(value, str) and value:
            return value
    return None


def _cookies(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _COOKIES:
        yield from _cookie_pairs(raw.get(name))
    for name in _DOMAINS:
        domains = raw.get(name)
        for inner in domains.values() if isinstance(domains, Mapping) else ():
            if isinstance(inner, Mapping):
                yield from _cookies(inner)
    for name, cookie in _SINGLE_COOKIES.items():
        value = raw.get(name)
        if isinstance(value, str) and value:
            yield cookie, value


def _cookie_pairs(value: Any) -> Iterator[tuple[str, str]]:
    """Cookies as an object, as a list of objects with name and value, or as header text."""
    if isinstance(value, Mapping):
        for name, text in value.items():
            inner = text.get("value") if isinstance(text, Mapping) else text
            if (told := _text(inner)) is not None:
                yield name, told
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                name, told = item.get("name"), _text(item.get("value"))
                if isinstance(name, str) and told is not None:
                    yield name, told
            else:
                yield from _cookie_pairs(item)
    elif isinstance(value, str):
        for part in value.split(";"):
            name, equals, text = part.strip().partition("=")
            if equals and name:
                yield name, text


def _coordinates(value: Any) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        raise SolutionShapeError("has coordinates that are no list")
    points = []
    for item in value:
        parts = _axes(item) if isinstance(item, Mapping) else item
        numbers = [_number(part) for part in parts] if isinstance(parts, list) else []
        if len(numbers) not in (2, 4) or None in numbers:
            raise SolutionShapeError("has a point that is neither x, y nor x1, y1, x2, y2")
        points.append(tuple(number for number in numbers if number is not None))
    return tuple(points)


def _axes(point: Mapping[str, Any]) -> list[Any]:
    # Vendors write x and X, y and Y.
    lower = {name.lower(): value for name, value in point.items()}
    return [lower.get("x"), lower.get("y")]


def _cells(raw: Mapping[str, Any], names: tuple[str, ...], first: int, common: dict[str, Any]) -> Solution:
    has_object = raw.get("hasObject")
    answer = next((value for name in names if (value := _at(raw, name)) is not None), None)
    if answer is None and not isinstance(has_object, bool):
        answer = _first(raw, names, _is_list)
    metadata = raw.get("metadata")
    kind = metadata.get("AnswerType") if isinstance(metadata, Mapping) else None
    cells: tuple[int, ...] = ()
    if isinstance(answer, list):
        if answer and all(isinstance(item, bool) for item in answer):
            cells = tuple(index for index, chosen in enumerate(answer) if chosen)
        elif kind in (None, "Grid"):
            cells = tuple(number - first for item in answer if (number := _whole(item)) is not None and number >= first)
    return CellsSolution(
        cells=cells, has_object=has_object if isinstance(has_object, bool) else None, answer=answer, **common
    )
