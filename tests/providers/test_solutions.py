"""Answers of solved tasks, as the vendors' pages print them, become typed solutions; nothing else can come out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycap.challenges import KINDS
from anycap.providers import BUILT_IN, get, solutions
from anycap.providers.solutions import SolutionShapeError, build
from anycap.providers.wire import decode
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
from anycap.tickets import Ticket, TicketState

RECEIVED = 1_700_000_100.0
TICKET = Ticket(
    "t1", 7654321, "main", "anti-captcha", "ImageToText", TicketState.SOLVED, datetime(2026, 1, 1, tzinfo=UTC)
)


def read(provider: str, kind: str, text: str, *, received_at: Any = RECEIVED, age_s: float | None = None) -> Solution:
    body = decode(text.encode())
    assert isinstance(body, dict)
    return build(get(provider).catalog, kind, body, ticket=TICKET, received_at=received_at, age_s=age_s)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_anti_captcha_image_with_numbers_as_text() -> None:
    solution = read(
        "anti-captcha",
        "ImageToText",
        '{"errorId":0,"status":"ready","solution":{"text":"abc","url":"http://host/x.jpg"},"cost":"0.000700",'
        '"ip":"192.0.2.1","createTime":1472205564,"endTime":1472205570,"solveCount":"0"}',
    )
    assert isinstance(solution, TextSolution)
    assert (solution.text, solution.url) == ("abc", "http://host/x.jpg")
    assert (solution.cost, solution.currency) == (Decimal("0.000700"), "USD")
    assert (solution.created_at, solution.ended_at) == (at(1472205564), at(1472205570))
    assert solution.worker_tries == 0 and solution.ip == "192.0.2.1" and solution.ticket is TICKET
    assert solution.received_at == at(RECEIVED) and solution.expires_at is None
    assert solution.raw == {"text": "abc", "url": "http://host/x.jpg"}


def test_capmonster_token_lives_60_s_from_the_receipt() -> None:
    solution = read(
        "capmonster", "RecaptchaV2", '{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"TOKEN"}}'
    )
    assert isinstance(solution, TokenSolution) and solution.token == "TOKEN"
    assert solution.expires_at == at(RECEIVED + 60)
    assert solution.cost is None and solution.currency is None


OFF_S = [-3600, -7, 0, 7, 3600]
"""How far a vendor's clock is ahead of ours."""


@pytest.mark.parametrize("off_s", OFF_S)
def test_token_life_counts_from_the_end_of_the_task_whatever_the_vendors_clock_says(off_s: int) -> None:
    # Taken 30 s before it was received, and solved in 20 s: noticed 10 s after its end, and 60 s valid from there.
    text = '{"status":"ready","solution":{"gRecaptchaResponse":"T"},"createTime":%d,"endTime":%d}'
    text %= 1_700_000_070 + off_s, 1_700_000_090 + off_s
    assert read("capmonster", "RecaptchaV2", text, age_s=30.0).expires_at == at(1_700_000_150)


@pytest.mark.parametrize("off_s", OFF_S)
@pytest.mark.parametrize(
    ("text", "age_s"),
    [
        ('"endTime":%(end)d', 30.0),  # how long it took is not told
        ('"createTime":%(end)d', 30.0),
        ('"createTime":%(late)d,"endTime":%(end)d', 30.0),  # no task ends before it begins
        ('"createTime":%(end)d,"endTime":%(years)d', 30.0),  # nor takes longer than an hour
        ('"createTime":%(end)d,"endTime":%(late)d', 5.0),  # taken 5 s before the receipt, and took 10: noticed at once
        ('"createTime":%(early)d,"endTime":%(end)d', None),  # nobody knows when it was taken
    ],
)
def test_without_more_it_counts_from_the_receipt(off_s: int, text: str, age_s: float | None) -> None:
    end = 1_700_000_090 + off_s
    times = text % {"early": end - 20, "end": end, "late": end + 10, "years": end + 100_000_000}
    text = '{"status":"ready","solution":{"gRecaptchaResponse":"T"},' + times + "}"
    assert read("capmonster", "RecaptchaV2", text, age_s=age_s).expires_at == at(RECEIVED + 60)


def test_yescaptcha_token_lives_120_s() -> None:
    text = '{"errorId":0,"errorCode":null,"errorDescription":null,"solution":{"gRecaptchaResponse":"TOKEN"},"status":"ready"}'
    assert read("yescaptcha", "RecaptchaV3", text).expires_at == at(RECEIVED + 120)


@pytest.mark.parametrize("off_s", OFF_S)
def test_the_vendors_own_life_wins_if_it_says_by_the_same_clock_when_the_task_ended(off_s: int) -> None:
    # Valid for 40.123 s from its end, which was 10 s before the receipt; the catalog says 120 s. Milliseconds are told apart.
    created, ended, expires = 1_700_000_070 + off_s, 1_700_000_090 + off_s, 1_700_000_130_123 + 1000 * off_s
    told = f'"solution":{{"gRecaptchaResponse":"T","expireTime":{expires}}}'
    text = f'{{"status":"ready",{told},"createTime":{created},"endTime":{ended}}}'
    assert read("capsolver", "RecaptchaV2", text, age_s=30.0).expires_at == at(1_700_000_130.123)
    assert read("capsolver", "RecaptchaV2", text).expires_at == at(1_700_000_140.123)
    alone = f'{{"status":"ready",{told}}}'
    assert read("capsolver", "RecaptchaV2", alone, age_s=30.0).expires_at == at(RECEIVED + 120)


@pytest.mark.parametrize("expires", [1_700_000_080, 1_900_000_000, 253_402_300_799])
def test_an_expiry_before_the_end_or_in_many_years_says_nothing(expires: int) -> None:
    text = f'{{"status":"ready","solution":{{"gRecaptchaResponse":"T","expireTime":{expires}}},"endTime":1700000090}}'
    assert read("capsolver", "RecaptchaV2", text).expires_at == at(RECEIVED + 120)


def test_turnstile_reads_token_and_falls_back_to_g_recaptcha_response() -> None:
    for field in ("token", "gRecaptchaResponse"):
        solution = read(
            "yescaptcha", "Turnstile", f'{{"status":"ready","solution":{{"{field}":"T","userAgent":"UA"}}}}'
        )
        assert isinstance(solution, TokenSolution)
        assert (solution.token, solution.user_agent) == ("T", "UA")


def test_hcaptcha_has_a_second_value_and_a_user_agent() -> None:
    solution = read(
        "anti-captcha",
        "HCaptcha",
        '{"status":"ready","solution":{"gRecaptchaResponse":"P0_x","respKey":"E0_x","userAgent":"UA"}}',
    )
    assert isinstance(solution, TokenSolution)
    assert (solution.token, solution.resp_key, solution.user_agent) == ("P0_x", "E0_x", "UA")


def test_capmonster_recaptcha_cookies_as_text() -> None:
    text = '{"status":"ready","solution":{"gRecaptchaResponse":"T","cookies":"nocookies=true; a=b=c"}}'
    assert read("capmonster", "RecaptchaV2", text).cookies == {"nocookies": "true", "a": "b=c"}


@pytest.mark.parametrize(
    ("provider", "text", "token", "cookies"),
    [
        ("anti-captcha", '{"solution":{"token":"T"}}', "T", {}),
        ("capmonster", '{"solution":{"cookies":{"aws-waf-token":"W"},"userAgent":"UA"}}', None, {"aws-waf-token": "W"}),
        (
            "capmonster",
            '{"solution":{"captcha_voucher":"V","existing_token":"W"}}',
            "V",
            {"aws-waf-token": "W"},
        ),
        ("capsolver", '{"solution":{"cookie":"W"}}', None, {"aws-waf-token": "W"}),
        (
            "capmonster",
            '{"solution":{"cookies":[{"name":"aws-waf-token","value":"W"},{"name":5,"value":"x"}]}}',
            None,
            {"aws-waf-token": "W"},
        ),
    ],
)
def test_amazon_waf_cookies_and_tokens_in_every_shape(
    provider: str, text: str, token: str | None, cookies: dict[str, str]
) -> None:
    solution = read(provider, "AmazonWaf", text)
    assert isinstance(solution, CookiesSolution)
    assert (solution.token, solution.cookies) == (token, cookies)


@pytest.mark.parametrize(("domains", "cookies"), [("domains", "cookies"), ("Domains", "Cookies")])
def test_cookies_by_domain_in_either_spelling(domains: str, cookies: str) -> None:
    text = f'{{"solution":{{"{domains}":{{"example.com":{{"{cookies}":{{"datadome":"D"}}}}}}}}}}'
    solution = read("capmonster", "VendorTask/CustomTask", text)
    assert isinstance(solution, RawSolution) and solution.cookies == {"datadome": "D"}


def test_geetest_3_and_4_values() -> None:
    three = read("capmonster", "GeeTestV3", '{"solution":{"challenge":"c","validate":"v","seccode":"v|jordan"}}')
    assert isinstance(three, GeeTestSolution)
    assert three.values == {"challenge": "c", "validate": "v", "seccode": "v|jordan"}
    four = read(
        "anti-captcha",
        "GeeTestV4",
        '{"solution":{"captcha_id":"i","lot_number":"l","pass_token":"p","gen_time":1700000000,"captcha_output":"o",'
        '"userAgent":"UA"}}',
    )
    assert isinstance(four, GeeTestSolution) and four.user_agent == "UA"
    assert four.values == {
        "captcha_id": "i", "lot_number": "l", "pass_token": "p", "gen_time": "1700000000", "captcha_output": "o",
    }  # fmt: skip


def test_coordinates_as_points_rectangles_and_objects() -> None:
    for text, points in (
        ('{"solution":{"coordinates":[[17,48],[54.5,83]]}}', ((17.0, 48.0), (54.5, 83.0))),
        ('{"solution":{"coordinates":[[17,48,54,83]]}}', ((17.0, 48.0, 54.0, 83.0),)),
        ('{"solution":{"coordinates":[{"x":"17","y":48}]}}', ((17.0, 48.0),)),
        ('{"solution":{"coordinates":[]}}', ()),
    ):
        solution = read("anti-captcha", "ImageToCoordinates", text)
        assert isinstance(solution, CoordinatesSolution) and solution.coordinates == points


def test_yescaptcha_classification_of_a_grid_and_of_one_picture() -> None:
    many = read("yescaptcha", "RecaptchaGrid", '{"solution":{"objects":[1,5,8],"type":"multi"},"taskId":"UUID"}')
    assert isinstance(many, CellsSolution) and many.cells == (1, 5, 8) and many.has_object is None
    one = read("yescaptcha", "RecaptchaGrid", '{"solution":{"hasObject":true,"type":"single"}}')
    assert isinstance(one, CellsSolution) and one.has_object is True and one.cells == ()


def test_capmonster_grid_of_booleans_and_other_answers() -> None:
    grid = read(
        "capmonster",
        "ComplexImage",
        '{"solution":{"answer":[false,true,true],"metadata":{"AnswerType":"Grid"}},"cost":0.0005}',
    )
    assert isinstance(grid, CellsSolution) and grid.cells == (1, 2) and grid.cost == Decimal("0.0005")
    number = read(
        "capmonster", "ComplexImage", '{"solution":{"answer":[297],"metadata":{"AnswerType":"NumericArray"}}}'
    )
    assert isinstance(number, CellsSolution) and number.cells == () and number.answer == [297]
    text = read("capmonster", "ComplexImage", '{"solution":{"answer":"abc","metadata":{"AnswerType":"Text"}}}')
    assert isinstance(text, CellsSolution) and text.answer == "abc"


def test_2captcha_grid_counts_cells_from_0() -> None:
    solution = read("2captcha", "RecaptchaGrid", '{"solution":{"click":[0,4,8]},"cost":"0.0012"}')
    assert isinstance(solution, CellsSolution) and solution.cells == (0, 4, 8)


def test_custom_tasks_with_a_token_inside_data() -> None:
    solution = read("capmonster", "FriendlyCaptcha", '{"solution":{"data":{"token":"T"}}}')
    assert isinstance(solution, TokenSolution) and solution.token == "T"
    solution = read("capmonster", "Altcha", '{"solution":{"data":{"token":"T","number":"7"}}}')
    assert isinstance(solution, TokenSolution) and solution.token == "T"


def test_user_agent_hidden_in_headers_is_found() -> None:
    solution = read("capmonster", "VendorTask/CustomTask", '{"solution":{"data":{},"headers":{"User-Agent":"UA"}}}')
    assert solution.user_agent == "UA"


@pytest.mark.parametrize(
    ("provider", "solution", "angle"),
    [
        ("2captcha", '{"rotate":180}', 180.0),
        ("capmonster", '{"answer":[130.90909],"metadata":{"AnswerType":"NumericArray"}}', 130.90909),
        ("capsolver", '{"angle":"73.2"}', 73.2),
    ],
)
def test_angle_as_number_text_or_list_of_one(provider: str, solution: str, angle: float) -> None:
    built = read(provider, "RotateImage", f'{{"solution":{solution}}}')
    assert isinstance(built, AngleSolution) and built.angle == pytest.approx(angle)


@pytest.mark.parametrize("answer", ["[1,2]", "[]", "true", '"upright"'])
def test_an_angle_that_is_none_is_an_error(answer: str) -> None:
    with pytest.raises(SolutionShapeError, match="a RotateImage task has an angle that is no number"):
        read("capmonster", "RotateImage", f'{{"solution":{{"answer":{answer}}}}}')


@pytest.mark.parametrize(
    ("provider", "solution", "text"),
    [
        ("2captcha", '{"text":"five five nine one four"}', "five five nine one four"),
        ("capmonster", '{"answer":[6,8,4,1,2,3],"metadata":{"AnswerType":"Text"}}', "684123"),
        ("capmonster", '{"answer":["five","nine"]}', "five nine"),
        ("capmonster", '{"answer":"684123"}', "684123"),
    ],
)
def test_a_recording_as_text_or_list(provider: str, solution: str, text: str) -> None:
    built = read(provider, "AudioToText", f'{{"solution":{solution}}}')
    assert isinstance(built, TextSolution) and built.text == text


@pytest.mark.parametrize("answer", ["[[1]]", "[null]", "[true]"])
def test_a_list_that_is_no_text_is_an_error(answer: str) -> None:
    with pytest.raises(SolutionShapeError, match="has no answer"):
        read("capmonster", "AudioToText", f'{{"solution":{{"answer":{answer}}}}}')


def test_tencents_two_values_here_and_inside_data() -> None:
    plain = read(
        "2captcha", "Tencent", '{"solution":{"appid":"190014885","ret":0,"ticket":"tr03s3cret","randstr":"@s3cret"}}'
    )
    inside = read(
        "capmonster",
        "Tencent",
        '{"solution":{"data":{"randstr":"@s3cret","ticket":"tr03s3cret"},"headers":{"User-Agent":"UA"}}}',
    )
    for solution in (plain, inside):
        assert isinstance(solution, TencentSolution)
        assert (solution.token, solution.randstr, solution.ticket) == ("tr03s3cret", "@s3cret", TICKET)
        assert "s3cret" not in repr(solution)
    assert inside.user_agent == "UA"
    with pytest.raises(SolutionShapeError, match="has no randstr or data.randstr"):
        read("2captcha", "Tencent", '{"solution":{"ticket":"tr03"}}')


def test_alibabas_token_is_a_text_of_json() -> None:
    solution = read("capmonster", "Alibaba", r'{"solution":{"data":{"tokens":"{\"sceneId\":\"1ww7426c4\"}"}}}')
    assert isinstance(solution, TokenSolution) and solution.token == '{"sceneId":"1ww7426c4"}'


def test_text_that_came_as_a_number_is_text() -> None:
    solution = read("yescaptcha", "ImageToText", '{"solution":{"text":44795}}')
    assert isinstance(solution, TextSolution) and solution.text == "44795"


def test_received_at_may_be_a_time_or_missing() -> None:
    moment = at(RECEIVED)
    text = '{"solution":{"gRecaptchaResponse":"T"}}'
    assert read("capmonster", "RecaptchaV2", text, received_at=moment).expires_at == at(RECEIVED + 60)
    assert read("capmonster", "RecaptchaV2", text, received_at=None).expires_at is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("RecaptchaV2", '{"solution":{}}'),
        ("RecaptchaV2", '{"solution":{"gRecaptchaResponse":""}}'),
        ("RecaptchaV2", '{"solution":{"gRecaptchaResponse":{"x":1}}}'),
        ("RecaptchaV2", '{"solution":null}'),
        ("RecaptchaV2", '{"solution":["T", "U"]}'),
        ("RecaptchaV2", '{"status":"ready"}'),
        ("ImageToText", '{"solution":{"text":true}}'),
        ("ImageToCoordinates", '{"solution":{"coordinates":"17,48"}}'),
        ("ImageToCoordinates", '{"solution":{"coordinates":[[1]]}}'),
        ("ImageToCoordinates", '{"solution":{"coordinates":[["a","b"]]}}'),
        ("GeeTestV3", '{"solution":{"challenge":"c"}}'),
        ("AmazonWaf", '{"solution":{"userAgent":"UA"}}'),
    ],
)
def test_missing_main_value_is_a_typed_error_that_names_kind_and_vendor(kind: str, text: str) -> None:
    with pytest.raises(SolutionShapeError, match="anti-captcha"):
        read("anti-captcha", kind, text)


@pytest.mark.parametrize("broken", ['"x"', "true", "-1", "1e60", '"NaN"', "[]", "{}", '""', "null"])
def test_broken_numbers_beside_the_solution_are_left_out(broken: str) -> None:
    solution = read(
        "anti-captcha",
        "RecaptchaV2",
        '{"solution":{"gRecaptchaResponse":"T"},"cost":%s,"createTime":%s,"endTime":%s,"solveCount":%s}'
        % ((broken,) * 4),
    )
    assert solution.created_at is None and solution.ended_at is None and solution.worker_tries is None
    assert solution.cost in (None, Decimal("1e60"))


def test_tokens_are_not_shown() -> None:
    solution = read(
        "anti-captcha",
        "HCaptcha",
        '{"solution":{"gRecaptchaResponse":"s3cret","respKey":"s3cret","cookies":"a=s3cret"}}',
    )
    assert "s3cret" not in repr(solution)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals(allow_nan=False),  # NaN is read as null
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["token", "text", "gRecaptchaResponse", "coordinates", "objects",
                         "answer", "cookies", "domains",
                         "metadata", "AnswerType", "data", "rotate", "angle", "ticket", "randstr",
                         "x", "y", "hasObject", "validate", "userAgent", "expireTime"])
        | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(
    provider=st.sampled_from(BUILT_IN),
    kind=st.sampled_from([*KINDS, "VendorTask/X", "NoSuchKind"]),
    solution=_ANYTHING,
    other=_ANYTHING,
)
def test_any_answer_gives_a_solution_or_the_shape_error(provider: str, kind: str, solution: Any, other: Any) -> None:
    body = {
        "solution": solution,
        "cost": other,
        "createTime": other,
        "endTime": other,
        "solveCount": other,
        "ip": other,
    }
    try:
        built = build(get(provider).catalog, kind, body, received_at=RECEIVED)
    except SolutionShapeError:
        return
    assert isinstance(built, Solution)
    repr(built)


_BESIDE = ["userAgent", "user_agent", "useragent", "headers", "cookies", "Cookies", "domains", "Domains", "existing_token",
           "cookie", "cf_clearance", "expireTime"]  # fmt: skip


@given(
    beside=st.dictionaries(
        st.sampled_from(_BESIDE),
        st.sampled_from(["a=1", "5", {"User-Agent": "UA"}, {"a": "1"}, {"host": {"cookies": "a=1"}}]),
        max_size=2,
    )
)
def test_what_stands_beside_the_main_value_is_never_overlooked(beside: dict[str, Any]) -> None:
    """The look that spares most solutions the search must send these to it."""

    class Everywhere(frozenset[str]):
        def isdisjoint(self, _: object) -> bool:
            return False

    body = {"solution": {"token": "T", **beside}}
    catalog = get("capmonster").catalog
    quick = build(catalog, "Turnstile", body, received_at=RECEIVED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solutions, "_BESIDE", Everywhere())
        assert quick == build(catalog, "Turnstile", body, received_at=RECEIVED)


def test_solution_that_is_a_bare_text_is_read() -> None:
    body = {"status": "ready", "solution": "T"}
    assert getattr(build(get("anti-captcha").catalog, "RecaptchaV2", body), "token", None) == "T"
    assert getattr(build(get("anti-captcha").catalog, "ImageToText", body), "text", None) == "T"


def test_coordinates_that_are_missing_are_a_typed_error() -> None:
    with pytest.raises(SolutionShapeError, match="has no coordinates"):
        read("anti-captcha", "ImageToCoordinates", '{"solution":{"text":"x"}}')


def test_cookies_as_objects_by_name_and_odd_items_are_read() -> None:
    text = '{"solution":{"token":"T","cookies":{"a":{"value":"1"},"b":null,"c":2}}}'
    assert read("anti-captcha", "AmazonWaf", text).cookies == {"a": "1", "c": "2"}
    text = '{"solution":{"token":"T","cookies":["a=1; b=2; junk"],"domains":{"x":5}}}'
    assert read("anti-captcha", "AmazonWaf", text).cookies == {"a": "1", "b": "2"}


def test_impossible_times_are_left_out() -> None:
    text = '{"solution":{"gRecaptchaResponse":"T"},"createTime":99999999999,"endTime":999999999999999}'
    solution = read("anti-captcha", "RecaptchaV2", text)
    assert solution.created_at == datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)
    assert solution.ended_at is None


def test_a_time_beyond_all_floats_is_left_out() -> None:
    catalog = get("anti-captcha").catalog
    body = {"solution": {"gRecaptchaResponse": "T"}, "createTime": 10**400}
    assert build(catalog, "RecaptchaV2", body).created_at is None


def test_grid_answer_that_is_neither_list_nor_grid_has_no_cells() -> None:
    solution = read("yescaptcha", "HCaptchaGrid", '{"solution":{"objects":[true,false,true]}}')
    assert isinstance(solution, CellsSolution) and solution.cells == (0, 2)
    with pytest.raises(SolutionShapeError, match="has no objects or answer"):
        read("yescaptcha", "HCaptchaGrid", '{"solution":{"type":"multi"}}')


def test_each_kind_reads_its_own_name_first_when_both_are_there() -> None:
    text = '{"solution":{"token":"A","gRecaptchaResponse":"B"}}'
    for kind, token in (("RecaptchaV2", "B"), ("HCaptcha", "B"), ("Turnstile", "A"), ("FunCaptcha", "A")):
        assert getattr(read("yescaptcha", kind, text), "token", None) == token
