"""The bounded JSON decoder: exact, total, never surprised. Expected values by hand."""

import json
import time
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest

from anycap.providers.wire import BODY_BYTES_MAX, Flaw, Unreadable, decode, decode_solution, decode_text


def flaw(body: bytes) -> Flaw:
    found = decode(body)
    assert isinstance(found, Unreadable), found
    assert found.detail
    return found.flaw


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' \r\n\t{"a": 1} \n', {"a": 1}),
        (b'{"a":0}', {"a": 0}),
        (b'{"\0\0":0}', {"\0\0": 0}),
        (b'{"a":-0}', {"a": 0}),
        (b'{"a":999999999999999999}', {"a": 999999999999999999}),
        (b'{"a":-999999999999999999}', {"a": -999999999999999999}),
        (b'{"a":true,"b":false,"c":null}', {"a": True, "b": False, "c": None}),
        (b'{"a":"line\nfeed\tand \x01"}', {"a": "line\nfeed\tand \x01"}),
        ('{"a":"漢字 é 😀"}'.encode(), {"a": "漢字 é 😀"}),
        (b'{"a":"\\u6f22\\ud83d\\ude00"}', {"a": "漢😀"}),
        (b'{"a":"\\u0041\\u0000"}', {"a": "A\0"}),
    ],
)
def test_objects(body: bytes, value: dict[str, Any]) -> None:
    assert decode(body) == value
    assert decode_text(body.decode()) == value


@pytest.mark.parametrize(("digits", "text"), [("0.000700", "0.000700"), ("1e2", "1E+2"), ("-0.0", "-0.0"), ("1.10", "1.10"),
                                              ("12345678901234567890.123", "12345678901234567890.123")])  # fmt: skip
def test_numbers_with_a_point_are_exact(digits: str, text: str) -> None:
    found = decode(f'{{"a":{digits}}}'.encode())
    assert isinstance(found, dict) and isinstance(found["a"], Decimal) and str(found["a"]) == text


OUT_OF_BOUNDS = ["1" * 41, "-" + "1" * 41, "9" * 5000, "NaN", "Infinity", "-Infinity", "1e65", "1e-65", "1e999999999",
                 "0e-99999999999999999999999999", "1." + "0" * 200]  # fmt: skip


@pytest.mark.parametrize("number", OUT_OF_BOUNDS)
def test_a_number_out_of_bounds_that_nobody_needs_is_dropped_and_not_the_answer(number: str) -> None:
    body = f'{{"errorId":0,"a":{{"b":[{number}]}},"c":{number},"solution":{{"token":"T"}}}}'
    assert decode(body.encode()) == {"errorId": 0, "a": {"b": [None]}, "c": None, "solution": {"token": "T"}}


@pytest.mark.parametrize("number", OUT_OF_BOUNDS)
@pytest.mark.parametrize("field", ["errorId", "errorCode", "taskId"])
def test_a_number_out_of_bounds_that_decides_makes_the_answer_unreadable(number: str, field: str) -> None:
    assert flaw(f'{{"{field}" : {number},"status":"ready"}}'.encode()) is Flaw.NUMBER


@pytest.mark.parametrize("field", ["errorId", "errorCode", "taskId"])
def test_null_is_no_number_out_of_bounds(field: str) -> None:
    assert decode(f'{{"{field}":null}}'.encode()) == {field: None}


@pytest.mark.parametrize("digits", ["9200000000000000001", "12345678901234567890", "9" * 40, "-" + "9" * 40])
def test_integers_of_up_to_forty_digits_are_exact(digits: str) -> None:
    assert decode(f'{{"taskId":{digits}}}'.encode()) == {"taskId": int(digits)}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", Flaw.EMPTY),
        (b" \n ", Flaw.EMPTY),
        (b"\xef\xbb\xbf", Flaw.EMPTY),
        (b"[]", Flaw.NOT_AN_OBJECT),
        (b"[{}]", Flaw.NOT_AN_OBJECT),
        (b"null", Flaw.NOT_AN_OBJECT),
        (b"5", Flaw.NOT_AN_OBJECT),
        (b"5.5", Flaw.NOT_AN_OBJECT),
        (b'"x"', Flaw.NOT_AN_OBJECT),
        (b"true", Flaw.NOT_AN_OBJECT),
        (b"<html>", Flaw.NOT_JSON),
        (b"\n<!DOCTYPE html>", Flaw.NOT_JSON),
        (b"OK|12345", Flaw.NOT_JSON),
        (b'{"a":', Flaw.NOT_JSON),
        (b'{"a":1', Flaw.NOT_JSON),
        (b'{"a":1}}', Flaw.NOT_JSON),
        (b'{"a":1}{"a":2}', Flaw.NOT_JSON),
        (b'{"a":1} x', Flaw.NOT_JSON),
        (b'{"a":1}\x0b', Flaw.NOT_JSON),
        ('\xa0{"a":1}'.encode(), Flaw.NOT_JSON),
        (b"{'a':1}", Flaw.NOT_JSON),
        (b"{a:1}", Flaw.NOT_JSON),
        (b'{"a":01}', Flaw.NOT_JSON),
        (b'{"a":"\\x"}', Flaw.NOT_JSON),
        (b'{"a":1,}', Flaw.NOT_JSON),
        (b"\x00\x00\x00\x00", Flaw.NOT_JSON),
        (b"\x1f\x8b\x08\x00gzip", Flaw.NOT_JSON),
        (b"\xff\xfe\xfd\xfc", Flaw.NOT_JSON),
    ],
)
def test_what_is_no_object(body: bytes, kind: Flaw) -> None:
    assert flaw(body) is kind


# Depth ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_32_is_the_last_one(opening: str, closing: str) -> None:
    def nested(levels: int) -> bytes:
        return ('{"a":' + opening * (levels - 1) + "1" + closing * (levels - 1) + "}").encode()

    assert isinstance(decode(nested(32)), dict)
    assert flaw(nested(33)) is Flaw.TOO_DEEP
    assert flaw(nested(40_000)) is Flaw.TOO_DEEP
    assert flaw(nested(100_000)) is Flaw.TOO_MANY


def test_many_shallow_brackets_are_no_depth() -> None:
    found = decode(b'{"a":[' + b"[],{}," * 500 + b"[]]}")
    assert isinstance(found, dict) and len(found["a"]) == 1001


@pytest.mark.parametrize("text", ['"[[[[[[[["', '"\\"[[[["', '"\\\\"', '"{\\\\\\"{{{"'])
def test_brackets_in_strings_do_not_count(text: str) -> None:
    body = ('{"a":[' + ",".join([text] * 50) + "]}").encode()
    assert decode(body) == json.loads(body)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"{" * 40, b"]" * 50 + b"[" * 50, b'{"a":["' + b"[" * 99]
)
def test_unbalanced_brackets_are_refused_before_parsing(body: bytes) -> None:
    assert flaw(body) in (Flaw.TOO_DEEP, Flaw.TOO_MANY, Flaw.NOT_JSON)


# Duplicate keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"errorId":0,"errorId":1}',
        b'{"taskId":1,"errorId":0,"taskId":2}',
        b'{"a":{"x":1},"a":{"x":2}}',
        b'{"status":"processing","status":"ready"}',
        b'{"\\u0061":1,"a":2}',
    ],
)
def test_a_field_with_two_values_in_the_envelope_is_refused(body: bytes) -> None:
    assert flaw(body) is Flaw.DUPLICATE_KEY


def test_a_field_twice_with_one_value_is_harmless() -> None:
    assert decode(b'{"errorId":0,"errorId":0}') == {"errorId": 0}


def test_further_in_the_last_value_wins() -> None:
    assert decode(b'{"solution":{"token":"A","token":"B"},"l":[{"x":1,"x":2}]}') == {
        "solution": {"token": "B"},
        "l": [{"x": 2}],
    }


# Text ----------------------------------------------------------------------------------------------------------------

SAMPLE = '{"errorId":1,"errorDescription":"не хватает 漢 é"}'


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_unicode_encodings(encoding: str) -> None:
    assert decode(SAMPLE.encode(encoding)) == {"errorId": 1, "errorDescription": "не хватает 漢 é"}


def test_latin_1_text_keeps_every_byte() -> None:
    found = decode('{"errorCode":"X","errorDescription":"clé éáß"}'.encode("latin-1"))
    assert found == {"errorCode": "X", "errorDescription": "clé éáß"}


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("application/json; charset=GBK", "gbk", "帐户余额不足"),
        ('application/json;charset="gb2312"', "gbk", "帐户"),
        ("text/html; Charset=Windows-1251", "cp1251", "не хватает"),
        ("text/html; charset=koi8_r", "koi8-r", "не хватает"),
        ("text/html; charset=iso-8859-1", "cp1252", "clé – éáß"),  # as every browser reads it
        ("text/html; charset=Shift_JIS", "cp932", "残高不足"),
    ],
)
def test_a_declared_charset_counts_where_the_bytes_are_no_utf_8(declared: str, encoding: str, text: str) -> None:
    body = {"errorId": 0, "status": "ready", "solution": {"text": text}}
    raw = json.dumps(body, ensure_ascii=False)
    assert decode(raw.encode(encoding), declared) == body
    assert decode_solution(raw.encode(encoding), declared) == body
    assert decode_solution(raw.encode(), declared) == body  # UTF-8 is UTF-8, whatever the header says


@pytest.mark.parametrize("declared", [None, "application/json", "text/html; charset=utf-8", "text/html; charset=x-unknown",
                                      "text/html; charset=zip", "text/html; charset=windows-1253"])  # fmt: skip
def test_text_in_a_solution_is_read_surely_or_not_at_all(declared: str | None) -> None:
    """A picture's text that comes out wrong without a word is worse than an error."""
    picture = '{"errorId":0,"status":"ready","solution":{"text":"Тяя"}}'.encode("cp1251")
    found = decode_solution(picture, declared)
    assert isinstance(found, Unreadable)
    assert found.flaw is Flaw.CHARSET
    prose = '{"errorId":0,"status":"ready","solution":{"text":"w68hp"},"note":"готово"}'.encode("cp1251")
    read = decode_solution(prose, declared)
    assert isinstance(read, dict)
    assert read["solution"] == {"text": "w68hp"}


def test_gbk_text_costs_only_the_prose() -> None:
    found = decode('{"errorCode":"ERROR_ZERO_BALANCE","errorDescription":"帐户余额不足"}'.encode("gbk"))
    assert isinstance(found, dict) and found["errorCode"] == "ERROR_ZERO_BALANCE"
    assert found["errorDescription"].encode("latin-1").decode("gbk") == "帐户余额不足"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":"\\ud800"}', {"a": "\ufffd"}),
        ('{"a":"x\\udc00y"}', {"a": "x\ufffdy"}),
        ('{"\\ud800":[{"b":"\\udfff\\ud83d\\ude00"}]}', {"\ufffd": [{"b": "\ufffd😀"}]}),
    ],
)
def test_lone_surrogates_become_the_replacement_character(text: str, value: dict[str, Any]) -> None:
    found = decode(text.encode())
    assert found == value
    json.dumps(found, ensure_ascii=False).encode()
    assert decode_text(text) == value


def test_a_str_with_raw_surrogates() -> None:
    assert decode_text('{"a":"\ud800"}') == {"a": "\ufffd"}
    assert decode_text('\ufeff{"a":1}') == {"a": 1}


# Bounds --------------------------------------------------------------------------------------------------------------


def test_the_size_cap() -> None:
    body = b'{"a":"' + b"x" * 100 + b'"}'
    assert isinstance(decode(body, bytes_max=len(body)), dict)
    over = decode(body, bytes_max=len(body) - 1)
    assert isinstance(over, Unreadable) and over.flaw is Flaw.TOO_LARGE
    over = decode_text(body.decode(), chars_max=len(body) - 1)
    assert isinstance(over, Unreadable) and over.flaw is Flaw.TOO_LARGE
    assert flaw(b"x" * (BODY_BYTES_MAX + 1)) is Flaw.TOO_LARGE


MIB = 1 << 20
HOSTILE = {
    "opening brackets": b"[" * MIB,
    "brackets in pairs": b"[]" * (MIB // 2),
    "quotes": b'"' * MIB,
    "backslashes": (b'{"a":"' + b"\\" * MIB)[:MIB],
    "deep chunks": ((b"[" * 40 + b"]" * 40 + b",") * 12_944)[:MIB],
    "empty lists": (b'{"a":[' + b"[]," * 349_000 + b"1]}"),
    "numbers": b'{"a":[' + b"0.5," * 262_000 + b"1]}",
    "keys": b"{" + b'"a":{},' * 149_000 + b'"b":1}',
    "escapes": b'{"a":"' + b"\\ud800" * 174_000 + b'"}',
    "one long string": b'{"a":"' + b"x" * (MIB - 8) + b'"}',
    "latin-1": b'{"a":"' + b"\xe9" * (MIB - 8) + b'"}',
    "zero bytes": b"\0" * MIB,
    "one long number": b'{"a":' + b"9" * (MIB - 6) + b"}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_mebibyte_of_anything_is_cheap_in_time_and_memory(name: str) -> None:
    body = HOSTILE[name]
    assert len(body) <= MIB
    decode(b"{}")
    tracemalloc.start()
    decode(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MIB, f"{peak / MIB:.1f} MiB"
    started = time.perf_counter()
    decode(body)
    assert time.perf_counter() - started < 2.0


def test_more_than_fifty_thousand_values_are_refused() -> None:
    assert isinstance(decode(b'{"a":[' + b"1," * 49_990 + b"1]}"), dict)
    assert flaw(b'{"a":[' + b"1," * 50_010 + b"1]}") is Flaw.TOO_MANY
    found = decode(b'{"a":"' + b"a,[{" * 60_000 + b'"}')
    assert isinstance(found, dict) and len(found["a"]) == 240_000
