"""Reading is total: any bytes, any JSON and any HTTP status give a typed outcome at every vendor, for every method."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from anycap.normalize import explain, normalize
from anycap.providers import BUILT_IN, get
from anycap.providers.retry_after import wait_s
from anycap.providers.wire import Unreadable, decode, decode_text
from anycap.taxonomy import Code
from anycap.transport import Answer, Delivery, Failure, FailureKind
from tests.answer_checks import METHODS, check_answer, check_normalize
from tests.vendor_answers import answers

SEEDS = answers()
PROVIDERS = st.sampled_from(BUILT_IN)
CODES = [json.loads(seed)["errorCode"] for seed in SEEDS if b"errorCode" in seed]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "0", "1", "null", "ready", "processing", "failed", "1.0", "\ud800", *CODES])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("errorId", "errorCode", "errorDescription", "taskId", "status", "solution", "cost", "errors", "balance")
envelopes = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values))


def as_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A vendor's answer with some bytes cut out, doubled or changed."""
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 12)))
        body[at:end] = draw(
            st.sampled_from(
                [b"", b"{", b"[", b'"', b"\\", b"\xff", b"\xed\xa0\x80", b"1e9", b"0", b"null", bytes(body[at:end]) * 2]
            )
        )
    return bytes(body)


bodies = st.binary(max_size=200) | values.map(as_bytes) | envelopes.map(as_bytes) | damaged()
outcomes = st.builds(
    Answer,
    st.integers(100, 599) | st.sampled_from([200, 302, 400, 401, 404, 413, 429, 500, 503]),
    bodies,
    retry_after=st.none() | st.text(max_size=30) | st.sampled_from(["5", "Sun, 06 Nov 1994 08:49:37 GMT"]),
    location=st.none() | st.text(max_size=30) | st.sampled_from(["https://x.example/", "http://[::1", "//"]),
    date=st.none() | st.text(max_size=30) | st.just("Sun, 06 Nov 1994 08:49:00 GMT"),
) | st.builds(
    Failure, st.sampled_from(Delivery), st.sampled_from(FailureKind), st.just("our words"),
    st.none() | st.integers(100, 599),
)  # fmt: skip


@given(st.binary(max_size=400) | damaged())
@example(b"\x00{")
@example(b"{\x00")
@example(b"\xff\xfe{\x00}\x00")
def test_decode_gives_an_object_or_a_reason(body: bytes) -> None:
    found = decode(body)
    assert isinstance(found, Unreadable) or type(found) is dict
    if isinstance(found, dict):
        json.dumps(found, default=str, ensure_ascii=False).encode()  # no surrogate is left


def tidied(value: Any) -> Any:
    """What the standard library reads; lone surrogates and numbers out of bounds go by another road than the decoder's."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {tidied(key): tidied(item) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return value if len(str(abs(value))) <= 40 else None
    if isinstance(value, float):
        return value if value == 0 or 1e-64 <= abs(value) < 1e65 else None
    return [tidied(item) for item in value] if isinstance(value, list) else value


@given(values)
@example("\U00010000\ud800x\udc00")
@example({"a": {"\ud800": [1.5, 10**17, "0.1"]}})
def test_decode_agrees_with_the_standard_library_within_the_bounds(value: Any) -> None:
    body = as_bytes({"value": value})
    found = decode(body)
    if isinstance(found, dict):
        assert json.loads(json.dumps(found, default=float)) == tidied(json.loads(body))


@given(st.text(max_size=200))
def test_decode_text_gives_an_object_or_a_reason(text: str) -> None:
    assert isinstance(decode_text(text), (dict, Unreadable))


@settings(max_examples=300)
@given(PROVIDERS, outcomes, st.booleans())
def test_every_outcome_is_a_typed_verdict(provider: str, outcome: Answer | Failure, has_image: bool) -> None:
    check_answer(provider, outcome, has_image=has_image)


@settings(max_examples=300)
@given(PROVIDERS, bodies, st.sampled_from(METHODS), st.integers(-1, 1000))
def test_normalize_gives_none_or_a_solve_error(provider: str, body: bytes, method: str | None, status: int) -> None:
    check_normalize(provider, body, method, status)


def test_the_fixtures_themselves() -> None:
    assert len(SEEDS) > 190
    for provider in BUILT_IN:
        for body in SEEDS:
            for status in (200, 400, 429, 500, 503):
                check_answer(provider, Answer(status, body))
                for method in METHODS:
                    check_normalize(provider, body, method, status)


@given(PROVIDERS, st.dictionaries(st.text(max_size=10), values, max_size=5) | envelopes)
def test_normalize_takes_any_mapping(provider: str, answer: dict[str, Any]) -> None:
    normalize(provider, answer)
    normalize(provider, json.dumps(answer))


@given(PROVIDERS, st.text(min_size=1, max_size=60).filter(lambda text: text.strip().lower() not in ("", "null")))
def test_the_mapping_never_changes_the_raw_code(provider: str, code: str) -> None:
    error = normalize(provider, json.dumps({"errorId": 1, "errorCode": code}).encode())
    row = explain(provider, code)
    if error is None:
        assert code.strip() == "CAPTCHA_NOT_READY"
    else:
        assert error.vendor_code == code
        assert error.row == row
        assert row.known or error.code is Code.UNKNOWN


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_retry_after_is_a_bounded_wait_or_nothing(header: str, date: str | None) -> None:
    found = wait_s(header, date)
    assert found is None or 0 <= found <= 86_400


@given(PROVIDERS, outcomes)
def test_reading_leaves_no_trace(provider: str, outcome: Answer | Failure) -> None:
    """The same outcome gives the same verdict whatever was read before."""
    adapter = get(provider)
    before = adapter.read_poll(outcome)
    adapter.read_poll(Answer(200, b'{"errorId":0,"status":"processing"}'))
    assert adapter.read_poll(outcome) == before
