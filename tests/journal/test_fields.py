"""What may not be stored, field by field: refused before money is spent, left out afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from anycap.credentials import Secret
from anycap.errors import JournalError
from anycap.journal import RecordKind as K
from anycap.journal.fields import TEXT_CHARS_MAX, admitted, without_keys


def nested(depth: int, inside: Any, kind: type = dict) -> Any:
    for _ in range(depth):
        inside = {"inner": inside} if kind is dict else [inside]
    return inside


def test_ordinary_fields_are_given_back_as_they_are() -> None:
    fields = {"account": "main", "summary": {"a": 1, "b": None, "c": True, "d": 0.5, "e": ["x", 2]}}
    assert admitted(K.INTENT, fields) is fields
    assert admitted(K.ACCEPTED, {"task_id": 7}) == {"task_id": 7}


@pytest.mark.parametrize(
    "fields",
    [
        {"summary": {"Client-Key": "x"}},
        {"summary": {"API_KEY": "x"}},
        {"summary": {"proxy_user": "x"}},
        {"summary": {"proxyUserName": "x"}},
        {"summary": {"proxy": {"host": "h", "Pass": "x"}}},
        {"summary": {"proxies": ["http://h:1", "http://u:p@h:1"]}},
        {"summary": {"list": [{"password": "x"}]}},
        {"summary": {"picture": "data:image/png;base64,AAAA"}},
        {"summary": {"picture": "UklGRiQAAABXRUJQVlA4"}},
        {"summary": {"images": ["aGVsbG8="]}},
        {"summary": {"raw": bytearray(b"x")}},
        {"summary": nested(40, 1)},
        {"summary": nested(40, 1, list)},
        {"summary": {"text": "x" * (TEXT_CHARS_MAX + 1)}},
    ],
)
def test_an_intent_with_anything_of_this_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(JournalError, match="never stored"):
        admitted(K.INTENT, fields)
    cleaned = admitted(K.FAILED, {"error": fields, "charged": "no"})
    assert cleaned["charged"] == "no"
    assert admitted(K.INTENT, cleaned) is not None  # nothing is left that would be refused


def test_what_is_left_out_says_so_and_the_rest_stays() -> None:
    error = {
        "code": "unknown",
        "description": "y" * (TEXT_CHARS_MAX + 5),
        "picture": "/9j/4AAQ",
        "blob": b"x",
        "key": Secret("0123456789abcdef"),
        "clientKey": "0123456789abcdef",
        "proxy": "http://u:p@h:1",
        "list": [1, "two", {"password": "x", "kept": 3}],
        "ratio": 0.5,
    }
    assert admitted(K.FAILED, {"error": error}) == {
        "error": {
            "code": "unknown",
            "description": "y" * (TEXT_CHARS_MAX - 1) + "…",
            "picture": "<left out>",
            "blob": "<left out>",
            "key": "<left out>",
            "proxy": "<left out>",
            "list": [1, "two", {"kept": 3}],
            "ratio": 0.5,
        }
    }


def test_text_that_only_begins_like_an_image_type_is_kept() -> None:
    fields = {"summary": {"a": "data of mine", "b": "/9jx", "c": "iVBOtherwise", "d": "R0lGraph", "e": "UklGlass"}}
    assert admitted(K.INTENT, fields) is fields


def test_a_solution_is_not_looked_at_but_its_neighbours_are() -> None:
    body = {"solution": {"token": "t" * 100_000}, "clientKey": "x"}
    fields = {"body": body, "expires_at": 1.0}
    assert admitted(K.RESULT, fields) is fields
    cleaned = admitted(K.RESULT, {"body": body, "expires_at": 1.0, "password": "x"})
    assert cleaned == {"body": body, "expires_at": 1.0}
    assert cleaned["body"] is body


def test_keys_are_taken_out_of_answers_at_any_depth() -> None:
    answer = {"clientKey": "x", "solution": {"cookies": {"a": "b"}, "list": [{"proxyPassword": "x", "text": "t"}]}}
    assert without_keys(answer) == {"solution": {"cookies": {"a": "b"}, "list": [{"text": "t"}]}}
    deep = nested(40, {"clientKey": "x"})
    assert without_keys(deep) == deep  # deeper than any answer that our decoder lets through


def test_a_usual_record_is_given_back_as_it_is() -> None:
    summary = {
        "website_url": "https://a.example/",
        "proxy": "http://h:8080",
        "hidden": ["data_s"],
        "is_invisible": True,
        "image": {"sha256": "9f86d081884c7d65", "bytes": 4_096},
        "approximation": "me@example.com",
    }
    intent = {"account": "main", "created_at": 1e9, "summary": summary}
    assert admitted(K.INTENT, intent) is intent
    result = {"body": {"solution": {"image": "x"}}, "expires_at": None, "cost": "0.001", "charged": "yes"}
    assert admitted(K.RESULT, result) is result


def test_nothing_nested_deeper_than_the_bound_is_stored() -> None:
    assert admitted(K.INTENT, {"summary": nested(31, 1)}) == {"summary": nested(31, 1)}
    with pytest.raises(JournalError, match="nested too deeply"):
        admitted(K.INTENT, {"summary": nested(33, 1)})
    assert admitted(K.FAILED, {"error": nested(33, 1)}) == {"error": nested(32, "<left out>")}
