"""The table of keys: every state of a key's solve with every `reuse`, and how a journal's entry is read as such a state."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from anycap.challenges import ImageToText, Proxy, RecaptchaV2, RecaptchaV3, VendorTask
from anycap.core.idempotency import STEPS, KeyState, KeyStep, Reuse, fingerprint_of, hash_of_key, state_of_key
from anycap.journal.port import Entry
from anycap.taxonomy import CODES, Charged, Code, ErrorRow

NOW, KEEP_S = 1_000_000.0, 86_400.0

# By hand from the contract: what a second call gets, for reuse "never", "unpaid", "expired".
TABLE = {
    "unused": ("start", "start", "start"),
    "solved": ("give", "give", "give"),
    "delivered": ("give_again", "give_again", "give_again"),
    "open": ("go_on", "go_on", "go_on"),
    "open_elsewhere": ("follow", "follow", "follow"),
    "orphaned": ("adopt", "adopt", "adopt"),
    "in_doubt": ("in_doubt", "in_doubt", "in_doubt"),
    "expired": ("expired", "expired", "start"),
    "unpaid": ("repeat_error", "start", "start"),
    "final": ("repeat_error", "repeat_error", "repeat_error"),
    "paid": ("repeat_error", "repeat_error", "repeat_error"),
    "unreadable": ("repeat_error", "repeat_error", "repeat_error"),
}


def test_the_table_is_total_and_says_what_the_contract_says() -> None:
    assert {state: tuple(str(STEPS[state][reuse]) for reuse in Reuse) for state in KeyState} == TABLE
    assert {step for row in STEPS.values() for step in row.values()} == set(KeyStep)


def an_entry(kind: str, **fields: Any) -> Entry:
    return attrs.evolve(Entry("t-1", kind, "main", "capmonster", "RecaptchaV2", "X", NOW - 100), **fields)


def a_row(code: Code) -> ErrorRow:
    info = CODES[code]
    return ErrorRow(code, info.category, info.retry, info.scope, None, Charged.UNKNOWN, "", "", "")


BODY = {"solution": {}}


@pytest.mark.parametrize(
    ("entry", "at_work", "state"),
    [
        (None, False, "unused"),
        (an_entry("intent"), True, "open"),
        (an_entry("intent", owned=False), False, "open_elsewhere"),
        (an_entry("intent", owned=False, held=False), False, "orphaned"),
        (an_entry("intent"), False, "in_doubt"),
        (an_entry("accepted"), True, "open"),
        (an_entry("accepted"), False, "open"),
        (an_entry("accepted", owned=False), False, "open_elsewhere"),
        (an_entry("accepted", owned=False, held=False), False, "orphaned"),
        (an_entry("in_doubt"), False, "in_doubt"),
        (an_entry("in_doubt", owned=False), False, "in_doubt"),
        (an_entry("result", result=BODY, expires_at=NOW + 1), False, "solved"),
        (an_entry("result", result=BODY, expires_at=NOW + 1, owned=False), False, "solved"),
        (an_entry("result", result=BODY, expires_at=NOW), False, "expired"),
        (an_entry("result", result=BODY, ended_at=NOW - KEEP_S + 1), False, "solved"),
        (an_entry("result", result=BODY, ended_at=NOW - KEEP_S), False, "expired"),
        (an_entry("delivered", result=BODY, expires_at=NOW + 1), False, "delivered"),
        (an_entry("reported", result=BODY, expires_at=NOW + 1), False, "delivered"),
        (an_entry("delivered", result=None, expires_at=NOW + 1), False, "expired"),
        (an_entry("delivered", result=BODY, expires_at=NOW), False, "expired"),
        (an_entry("expired"), False, "expired"),
        (an_entry("abandoned"), False, "paid"),
        (an_entry("settled", charged="no"), False, "unpaid"),
        (an_entry("settled", charged="yes"), False, "paid"),
        (an_entry("settled", charged=None), False, "paid"),
        (an_entry("not_created"), False, "unpaid"),
        (an_entry("not_created", charged="no"), False, "unpaid"),
        (an_entry("not_created", charged="yes"), False, "paid"),
        (an_entry("failed", charged="no"), False, "unpaid"),
        (an_entry("failed", charged="yes"), False, "paid"),
        (an_entry("failed", charged="unknown"), False, "paid"),
        (an_entry("failed", charged=None), False, "paid"),
        (an_entry("of_2031"), False, "unreadable"),
    ],
)  # fmt: skip
def test_an_entry_is_read_as(entry: Entry | None, at_work: bool, state: str) -> None:
    assert state_of_key(entry, None, NOW, KEEP_S, at_work=at_work) == state


FINAL = {
    "unknown_method", "task_missing", "invalid_fields", "bad_request", "image_too_small", "image_too_large",
    "image_unreadable", "image_dimensions", "unsupported_question", "template_not_found", "user_agent_rejected",
    "proxy_missing", "invalid_site_key", "invalid_domain", "challenge_mismatch", "challenge_expired", "domain_refused",
}  # fmt: skip


@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("kind", ["not_created", "failed"])
def test_refusals_and_wrong_challenges_are_final_all_other_codes_are_not(kind: str, code: Code) -> None:
    state = state_of_key(an_entry(kind, charged="no"), a_row(code), NOW, KEEP_S, at_work=False)
    assert (state == "final") == (code in FINAL)


PAGE = RecaptchaV2("https://example.com/a?page=1", "KEY")


@pytest.mark.parametrize(
    "same",
    [
        RecaptchaV2("https://example.com/a?page=1", "KEY", data_s="of another visit"),
        RecaptchaV2("https://example.com/a?page=1", "KEY", user_agent="Mozilla/5.0", cookies={"a": "b"}),
        RecaptchaV2("https://example.com/a?page=1", "KEY", proxy=Proxy.from_url("http://192.0.2.1:8080")),
    ],
)
def test_a_page_fetched_again_has_the_same_fingerprint(same: RecaptchaV2) -> None:
    assert fingerprint_of(same) == fingerprint_of(PAGE)


def test_type_page_site_key_and_images_tell_challenges_apart() -> None:
    others = [
        PAGE,
        RecaptchaV2("https://example.com/a?page=2", "KEY"),
        RecaptchaV2("https://example.com/a?page=1", "OTHER"),
        RecaptchaV3("https://example.com/a?page=1", "KEY"),
        ImageToText(b"GIF89a1"),
        ImageToText(b"GIF89a2"),
        VendorTask("X", {"websiteURL": "https://example.com"}),
        VendorTask("X", {"websiteURL": "https://example.org"}),
        VendorTask("Y", {"websiteURL": "https://example.com"}),
    ]
    assert len({fingerprint_of(each) for each in others}) == len(others)


def test_a_key_is_kept_as_its_sha_256() -> None:
    assert hash_of_key("page-7") == "f6b5f3c207e3ce9697a1da842b63cbb8355d4ad0595e4788029005e837ce6295"
