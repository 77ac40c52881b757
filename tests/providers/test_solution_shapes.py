"""Solutions that come as no object, or under names that nobody has documented."""

from __future__ import annotations

from typing import Any

import pytest

from anycap.providers import get
from anycap.providers.solution_shapes import SolutionMissing, SolutionShapeError, as_object, only_value
from anycap.providers.solutions import build, lacks_value
from anycap.results import (
    AngleSolution,
    CellsSolution,
    CookiesSolution,
    CoordinatesSolution,
    GeeTestSolution,
    RawSolution,
)


def _built(kind: str, solution: Any, provider: str = "anti-captcha") -> Any:
    return build(get(provider).catalog, kind, {"status": "ready", "solution": solution})


@pytest.mark.parametrize(
    ("value", "shape", "main", "expected"),
    [
        ("TOK", "token", "token", {"token": "TOK"}),
        ("TOK", "token", "data.token", {"data": {"token": "TOK"}}),
        (["TOK"], "token", "token", {"token": "TOK"}),
        ([["TOK"]], "token", "token", {"token": "TOK"}),
        ('{"a": 1}', "token", "token", {"a": 1}),
        ('"TOK"', "token", "token", {"token": "TOK"}),
        ('"he said"', "text", "text", {"text": '"he said"'}),  # an image may show quotes
        ("{broken", "text", "text", {"text": "{broken"}),
        ('1},"x":{"a":2', "token", "token", {"token": '1},"x":{"a":2'}),
        ([1, 2], "cells", "objects", {"objects": [1, 2]}),
        ([3], "cells", "objects", {"objects": [3]}),
        ([{"x": 1, "y": 2}], "coordinates", "coordinates", {"coordinates": [{"x": 1, "y": 2}]}),
        ([{"coordinates": [[1, 2]]}], "coordinates", "coordinates", {"coordinates": [[1, 2]]}),
        (45, "angle", "rotate", {"rotate": 45}),
    ],
)
def test_what_is_no_object_becomes_one(value: Any, shape: str, main: str, expected: Any) -> None:
    assert as_object(value, shape, main) == expected


@pytest.mark.parametrize("value", [None, "", "  ", [], {}, [None], [""], "{}", "[]"])
def test_nothing_at_all_is_missing(value: Any) -> None:
    with pytest.raises(SolutionMissing):
        as_object(value, "token", "token")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"captchaResponse": "TOK"}, "TOK"),
        ({"captchaResponse": "TOK", "answer": "TOK"}, "TOK"),  # twice the same is one value
        ({"captcha": ["TOK"]}, "TOK"),
        ({"data": {"answer": {"captcha": "TOK"}}}, "TOK"),
        ({"captcha": "TOK", "userAgent": "UA", "message": "ok", "Cookies": "a=b"}, "TOK"),
        ({"one": "A", "two": "B"}, None),
        ({"userAgent": "UA"}, None),
        ({"n": 1}, None),
    ],
)
def test_the_only_value_that_is_plausible(raw: Any, expected: str | None) -> None:
    assert only_value(raw, _is_text) == expected


def test_other_kinds_of_solutions_in_odd_shapes() -> None:
    angle = _built("RotateImage", {"degrees": "45"}, "capmonster")
    assert isinstance(angle, AngleSolution)
    assert angle.angle == 45.0
    points = _built("ImageToCoordinates", {"points": [[17, 48], [54, 83]]})
    assert isinstance(points, CoordinatesSolution)
    assert points.coordinates == ((17.0, 48.0), (54.0, 83.0))
    cells = _built("RecaptchaGrid", [0, 3], "yescaptcha")
    assert isinstance(cells, CellsSolution)
    assert cells.cells == (0, 3)
    geetest = _built("GeeTestV3", '{"challenge": "c", "validate": "v", "seccode": "v|jordan"}')
    assert isinstance(geetest, GeeTestSolution)
    assert geetest.values["validate"] == "v"
    waf = _built("AmazonWaf", [{"cookies": {"aws-waf-token": "W"}}], "capmonster")
    assert isinstance(waf, CookiesSolution)
    assert waf.cookies == {"aws-waf-token": "W"}
    raw = _built("VendorTask/AntiBotCookieTask", "TOK")
    assert isinstance(raw, RawSolution)
    assert raw.raw == {"token": "TOK"}


@pytest.mark.parametrize(
    ("kind", "solution"),
    [
        ("RecaptchaV2", {"gRecaptchaResponse": None, "userAgent": "UA"}),
        ("RecaptchaV2", {"token": "", "captcha": "is this it?"}),  # its own name is there: nothing is guessed
        ("ImageToText", {"text": " "}),
        ("GeeTestV3", {"challenge": "", "validate": "", "seccode": ""}),
        ("AmazonWaf", {"cookies": {}}),
        ("ImageToCoordinates", {"coordinates": None}),
    ],
)
def test_an_empty_main_value_may_come_yet(kind: str, solution: Any) -> None:
    catalog = get("anti-captcha").catalog
    assert lacks_value(catalog, kind, {"solution": solution})
    with pytest.raises(SolutionMissing, match="empty"):
        _built(kind, solution)


@pytest.mark.parametrize(
    ("kind", "solution"),
    [
        ("RecaptchaV2", {"gRecaptchaResponse": "TOK"}),
        ("RecaptchaV2", {"one": "A", "two": "B"}),  # there is something, and nobody knows which: waiting does not help
        ("RecaptchaV2", {"message": "solved by worker 7"}),
        ("ImageToCoordinates", {"coordinates": []}),  # an answer: nothing to click
    ],
)
def test_what_is_there_is_not_waited_for(kind: str, solution: Any) -> None:
    assert not lacks_value(get("anti-captcha").catalog, kind, {"solution": solution})


def test_two_plausible_values_are_an_error_and_no_guess() -> None:
    with pytest.raises(SolutionShapeError, match="has no gRecaptchaResponse or token"):
        _built("RecaptchaV2", {"one": "A", "two": "B"})
