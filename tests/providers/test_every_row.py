"""All 176 rows of the vendor reference, through bytes as a vendor would send them, against a hand-copied table."""

import csv
import json
from pathlib import Path

import pytest

from anycap.core.parsed_answer import AnswerKind
from anycap.errors import SolveError, error_from
from anycap.normalize import explain, normalize
from anycap.providers import get
from anycap.providers.adapter import Adapter
from anycap.taxonomy import CODES, Charged, Code, ErrorRow
from anycap.transport import Answer

DATA = Path(__file__).parent.parent / "data"
with (DATA / "taxonomy.csv").open(newline="") as file:
    ROWS = list(csv.DictReader(file))

WORDS = "slova, 文字, ord: the vendor's own words"
Row = dict[str, str]


def body_of(row: Row, **more: object) -> bytes:
    number = int(row["error_ids"].split()[0]) if row["error_ids"] else 1
    fields = {"errorId": number, "errorCode": row["vendor_code"], "errorDescription": WORDS, **more}
    return json.dumps(fields, ensure_ascii=False).encode()


def wanted(row: Row) -> tuple[object, ...]:
    wait = float(row["retry_after_s"]) if row["retry_after_s"] else None
    return row["code"], row["category"], row["retry"], row["scope"], wait, row["charged"]


def found(of: ErrorRow | SolveError) -> tuple[object, ...]:
    return of.code, of.category, of.retry, of.scope, of.retry_after, of.charged


def each(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[f"{row['provider']}-{row['vendor_code']}" for row in rows])


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 176
    assert sum(row["in_seed"] == "yes" for row in ROWS) == 102
    per_provider = {name: sum(row["provider"] == name for row in ROWS) for name in {row["provider"] for row in ROWS}}
    assert per_provider == {
        "anti-captcha": 52, "capmonster": 27, "yescaptcha": 30, "ezcaptcha": 30, "2captcha": 20, "capsolver": 17,
    }  # fmt: skip


@pytest.mark.parametrize("provider", sorted({row["provider"] for row in ROWS}))
def test_the_catalog_has_these_rows_and_no_others(provider: str) -> None:
    assert set(get(provider).catalog.errors) == {row["vendor_code"] for row in ROWS if row["provider"] == provider}


@each(ROWS)
def test_explain_gives_the_row_with_words_for_a_person(row: Row) -> None:
    explained = explain(row["provider"], row["vendor_code"])
    assert found(explained) == wanted(row)
    assert explained.known
    assert explained.provider == row["provider"]
    assert explained.vendor_code == row["vendor_code"]
    assert explained.error_ids == tuple(int(number) for number in row["error_ids"].split())
    for text in (explained.meaning, explained.action):
        assert text[0].isupper() and text.endswith(".") and len(text) > 15, text
    assert explained.source


@each(ROWS)
@pytest.mark.parametrize("method", [None, "createTask", "getTaskResult", "getBalance", "reportIncorrectRecaptcha"])
def test_normalize_gives_the_row_and_keeps_what_the_vendor_said(row: Row, method: str | None) -> None:
    error = normalize(row["provider"], body_of(row), method=method)
    if row["code"] == "not_ready":
        assert error is None
        return
    assert error is not None
    assert found(error) == wanted(row)
    assert error.vendor_code == row["vendor_code"]
    assert error.vendor_id == (int(row["error_ids"].split()[0]) if row["error_ids"] else 1)
    assert error.description == WORDS
    assert row["vendor_code"] in str(error) and WORDS in str(error)


@each(ROWS)
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500, 503])
def test_the_error_in_the_body_outranks_the_http_status(row: Row, status: int) -> None:
    adapter = get(row["provider"])
    answer = Answer(status, body_of(row))
    verdicts = [adapter.read_submit(answer), adapter.read_poll(answer), adapter.read_call("getBalance", answer)]
    if row["code"] == "not_ready":
        assert verdicts[1].kind is AnswerKind.PROCESSING
        return
    for verdict in verdicts:
        assert verdict.kind is AnswerKind.ERROR
        assert verdict.problem is not None
        assert verdict.problem.vendor_code == row["vendor_code"]
        assert verdict.problem.http_status == status
        assert verdict.problem.row.code == row["code"]


@each(ROWS)
def test_code_without_an_id_is_an_error_all_the_same(row: Row) -> None:
    error = normalize(row["provider"], {"errorCode": row["vendor_code"]})
    if row["code"] == "not_ready":
        assert error is None
    else:
        assert error is not None and found(error) == wanted(row) and error.vendor_id is None


BY_ID = {
    number: row
    for row in ROWS
    if row["provider"] in ("anti-captcha", "2captcha")
    for number in [(row["provider"], int(one)) for one in row["error_ids"].split()]
}
AMBIGUOUS = {("anti-captcha", 12), ("anti-captcha", 51), ("anti-captcha", 16)}


@pytest.mark.parametrize(("provider", "number"), sorted(set(BY_ID) - AMBIGUOUS))
@pytest.mark.parametrize("form", ["{}", '"{}"', "{}.0"])
def test_a_bare_id_names_its_row_where_ids_mean_something(provider: str, number: int, form: str) -> None:
    error = normalize(provider, f'{{"errorId":{form.format(number)}}}')
    assert error is not None
    assert found(error) == wanted(BY_ID[provider, number])
    assert (error.vendor_code, error.vendor_id) == (None, number)


@pytest.mark.parametrize("provider", ["capmonster", "yescaptcha", "ezcaptcha", "capsolver"])
@pytest.mark.parametrize("number", [1, 2, 10, 12, 51])
def test_a_bare_id_means_nothing_where_ids_are_a_flag(provider: str, number: int) -> None:
    error = normalize(provider, {"errorId": number})
    assert error is not None
    assert found(error) == ("unknown", "service", "never", "request", None, "unknown")
    assert error.vendor_id == number
    assert error.meaning == "The vendor sent an error without a code that this library does not know."


def test_bare_12_is_unsolved_and_needs_a_new_task_but_stays_unknown() -> None:
    error = normalize("anti-captcha", {"errorId": 12})
    assert error is not None
    assert found(error) == ("unknown", "unsolved", "new_task", "task", None, "unknown")
    assert "ERROR_CAPTCHA_UNSOLVABLE" in error.meaning and "ERROR_BAD_DUPLICATES" in error.meaning


def test_bare_13_is_answers_disagree() -> None:
    error = normalize("anti-captcha", {"errorId": 13})
    assert error is not None
    assert found(error) == ("answers_disagree", "unsolved", "new_task", "task", None, "unknown")


def test_bare_51_is_challenge_mismatch() -> None:
    error = normalize("anti-captcha", {"errorId": 51})
    assert error is not None
    assert error.meaning.endswith("The number stands for ERROR_INVALID_KEY_TYPE or ERROR_INVISIBLE_RECAPTCHA.")
    assert found(error) == ("challenge_mismatch", "challenge", "never", "challenge", None, "unknown")


def test_bare_16_is_task_not_found_under_either_spelling() -> None:
    error = normalize("anti-captcha", {"errorId": 16})
    assert error is not None
    assert found(error) == ("task_not_found", "unsolved", "never", "task", None, "unknown")


@pytest.mark.parametrize(
    ("provider", "sent", "row"),
    [
        ("yescaptcha", "ERROR_SERVICE_UNAVAILABLE", "ERROR_SERVICE_UNAVALIABLE"),
        ("capsolver", "ERROR_SERVICE_UNAVAILABLE", "ERROR_SERVICE_UNAVALIABLE"),
        ("yescaptcha", "ERROR_INVALID_RECAPTCHA_SITEURL", "INVALID_RECAPTCHA_SITEURL"),
        ("ezcaptcha", "ERROR_INVALID_RECAPTCHA_SITEURL", "INVALID_RECAPTCHA_SITEURL"),
        ("capmonster", "ERROR_NO_SUCH_CAPTCHA_ID", "ERROR_NO_SUCH_CAPCHA_ID"),
        ("yescaptcha", "ERROR_NO_SUCH_CAPTCHA_ID", "ERROR_NO_SUCH_CAPCHA_ID"),
        ("2captcha", "ERROR_NO_SUCH_CAPTCHA_ID", "ERROR_NO_SUCH_CAPCHA_ID"),
        ("capmonster", "ERROR_WRONG_CAPTCHA_ID", "WRONG_CAPTCHA_ID"),
    ],
)
def test_other_spellings_mean_the_same_and_stay_as_sent(provider: str, sent: str, row: str) -> None:
    assert explain(provider, sent) == explain(provider, row)
    error = normalize(provider, {"errorId": 1, "errorCode": sent})
    assert error is not None
    assert error.row == explain(provider, row)
    assert error.vendor_code == sent


@pytest.mark.parametrize("sent", ["error_zero_balance", "ERROR_UNKNOW_450X450_QUESTION", "ZERO_BALANCE"])
def test_case_is_never_changed_and_no_prefix_is_added(sent: str) -> None:
    error = normalize("yescaptcha", {"errorId": 1, "errorCode": sent})
    assert error is not None and error.code is Code.UNKNOWN and error.vendor_code == sent


def test_space_round_a_code_is_no_part_of_it_but_is_kept() -> None:
    error = normalize("capmonster", {"errorId": 1, "errorCode": " ERROR_ZERO_BALANCE\n"})
    assert error is not None and error.code is Code.NO_FUNDS and error.vendor_code == " ERROR_ZERO_BALANCE\n"


@pytest.mark.parametrize(
    ("code", "category", "scope"),
    [
        ("ERROR_PROXY_ON_FIRE", "proxy", "proxy"),
        ("ERROR_IP_BLOCKED_10MIN", "blocked", "address"),
        ("ERROR_IP_BANNED_FOR_GOOD", "blocked", "address"),
        ("ERROR_RECAPTCHA_INVALID_ACTION", "challenge", "challenge"),
        ("ERROR_RECAPTCHA_ODD", "service", "request"),
        ("PROXY_ON_FIRE", "service", "request"),
        ("ERROR_SOMETHING_NEW", "service", "request"),
    ],
)
@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver"])
def test_an_unknown_code_is_kept_whole_and_never_repeated(provider: str, code: str, category: str, scope: str) -> None:
    error = normalize(provider, {"errorId": 1, "errorCode": code, "errorDescription": "new"})
    assert error is not None
    assert found(error) == ("unknown", category, "never", scope, None, "unknown")
    assert (error.vendor_code, error.vendor_id, error.description) == (code, 1, "new")
    assert not error.retryable
    assert error.meaning == "The vendor sent a code that this library does not know."
    assert found(explain(provider, code)) == found(error) and not explain(provider, code).known


def test_a_known_id_beside_an_unknown_code_does_not_decide() -> None:
    error = normalize("anti-captcha", {"errorId": 10, "errorCode": "ERROR_SOMETHING_NEW"})
    assert error is not None and error.code is Code.UNKNOWN and error.vendor_id == 10


def test_ezcaptcha_key_ban_is_shorter_on_getTaskResult_and_explain_keeps_the_contract() -> None:
    answer = Answer(429, b'{"errorId":1,"errorCode":"ERROR_REQUEST_BANNED","errorDescription":"x"}')
    adapter: Adapter = get("ezcaptcha")
    submit, poll = adapter.read_submit(answer).problem, adapter.read_poll(answer).problem
    assert submit is not None and submit.row.retry_after == 180
    assert poll is not None and poll.row.retry_after == 60
    assert poll.vendor_code == "ERROR_REQUEST_BANNED"
    error = normalize("ezcaptcha", answer.body, method="getTaskResult", http_status=429)
    assert (
        error is not None
        and error.retry_after == 180
        and explain("ezcaptcha", "ERROR_REQUEST_BANNED").retry_after == 180
    )


def test_the_shared_codes_are_those_of_the_hand_copied_table() -> None:
    with (DATA / "codes.csv").open(newline="") as codes:
        table = {row["code"]: row for row in csv.DictReader(codes)}
    assert set(table) == {str(code) for code in CODES}
    for code, info in CODES.items():
        row = table[code]
        assert (info.category, info.retry, info.scope, info.on_poll, info.meaning) == (
            row["category"], row["retry"], row["scope"], row["on_poll"], row["meaning"],
        )  # fmt: skip


@each(ROWS)
def test_the_exception_is_of_the_category_and_pickles(row: Row) -> None:
    import pickle

    error = normalize(row["provider"], body_of(row))
    if error is None:
        return
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and again.row == error.row
    classes = {
        "account": "AccountError", "blocked": "BlockedError", "busy": "BusyError", "request": "RequestError",
        "challenge": "ChallengeError", "proxy": "ProxyError", "unsolved": "UnsolvedError", "refused": "RefusedError",
        "service": "ServiceError",
    }  # fmt: skip
    assert type(error).__name__ == classes[row["category"]]


def test_low_confidence_rows_are_marked() -> None:
    low = {code for code, row in get("yescaptcha").catalog.errors.items() if row.confidence == "low"}
    assert low == {
        "ERROR_DOMAIN_NOT_ALLOWED", "ERROR_ZERO_CAPTCHA_FILESIZE", "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
        "ERROR_CLIENTKEY_UNAUTHORIZED",
    }  # fmt: skip


def test_charged_of_the_unsolved_task_differs_by_vendor() -> None:
    by_vendor = {name: explain(name, "ERROR_CAPTCHA_UNSOLVABLE").charged for name in
                 ("anti-captcha", "capmonster", "yescaptcha", "2captcha", "capsolver")}  # fmt: skip
    assert by_vendor == {
        "anti-captcha": Charged.YES, "capmonster": Charged.NO, "yescaptcha": Charged.NO, "2captcha": Charged.NO,
        "capsolver": Charged.NO,
    }  # fmt: skip


def test_error_from_a_verdict_equals_normalize() -> None:
    body = b'{"errorId":16,"errorCode":"ERROR_NO_SUCH_CAPCHA_ID","errorDescription":"gone"}'
    problem = get("anti-captcha").read_poll(Answer(200, body)).problem
    error = normalize("anti-captcha", body)
    assert problem is not None and error is not None and str(error_from(problem)) == str(error)
