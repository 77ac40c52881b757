"""`Retry-After` in every form the RFC knows, and in the forms it does not."""

import pytest

from anycap.providers.retry_after import wait_s

NOW = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1.05", 1.05),
        ("Sunday, 06-Nov-70 08:50:07 GMT", 0.0),
        ("2.", 2.0),
        ("999999999999", 86_400.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30.0),
        ("Sun Nov  6 08:50:07 1994", 30.0),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:07 GMT", 86_400.0),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 22.0),
    ],
)
def test_seconds_and_dates(header: str, seconds: float) -> None:
    assert wait_s(header, NOW) == seconds


@pytest.mark.parametrize(
    "header",
    ["", "soon", "-5", "1e3", "inf", "nan", "0x10", "12 s", "1" * 13, "Sun, 06 Foo 1994 08:49:37 GMT", "١٢",
     "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET",
     "Sun, 06 Nov 1994 ::::::::"],
)  # fmt: skip
def test_what_cannot_be_used_is_no_wait(header: str) -> None:
    assert wait_s(header, NOW) is None


def test_no_header_and_no_date() -> None:
    assert wait_s(None, NOW) is None
    assert wait_s("Sun, 06 Nov 1994 08:50:07 GMT", None) is None
    assert wait_s("Sun, 06 Nov 1994 08:50:07 GMT", "yesterday") is None
    assert wait_s("5", None) == 5.0
