"""Bare 401 and 403 pages on createTask: waited for, until an hour of nothing else says that they are meant."""

from attrs import evolve

from anycap.core.admission.firewall import FirewallPages, is_firewall_page
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.taxonomy import CODES, Charged, Code, ErrorAnswer, ErrorRow
from anycap.transport import Delivery, Failure, FailureKind

INFO = CODES[Code.RATE_LIMITED]
ROW = ErrorRow(Code.RATE_LIMITED, INFO.category, INFO.retry, INFO.scope, None, Charged.NO, "", "", "")
PAGE = ParsedAnswer(AnswerKind.ERROR, problem=ErrorAnswer(ROW, "toy", None, None, None, 403))
ACCEPTED = ParsedAnswer(AnswerKind.ACCEPTED, task_id=7)
LOST = ParsedAnswer(AnswerKind.LOST, Delivery.MAYBE_SENT, failure=Failure(Delivery.MAYBE_SENT, FailureKind.READ, "x"))


def code_of(parsed: ParsedAnswer) -> Code:
    assert parsed.problem is not None
    return parsed.problem.code


def test_a_page_is_taken_as_it_comes_for_an_hour_and_then_as_the_vendors_refusal() -> None:
    pages = FirewallPages()
    assert pages.judge(0.0, PAGE) is PAGE
    assert pages.judge(3599.9, PAGE) is PAGE
    refused = pages.judge(3600.0, PAGE)
    assert code_of(refused) is Code.ACCESS_DENIED
    assert refused.problem is not None
    assert refused.problem.row.meaning == "createTask has been answered with HTTP 403 and a page for an hour"


def test_a_good_answer_in_between_begins_the_hour_anew() -> None:
    pages = FirewallPages()
    pages.judge(0.0, PAGE)
    assert pages.judge(1800.0, ACCEPTED) is ACCEPTED
    assert code_of(pages.judge(3600.0, PAGE)) is Code.RATE_LIMITED


def test_a_lost_answer_says_nothing_of_the_firewall() -> None:
    pages = FirewallPages()
    pages.judge(0.0, PAGE)
    pages.judge(1800.0, LOST)
    assert code_of(pages.judge(3600.0, PAGE)) is Code.ACCESS_DENIED


def test_only_401_and_403_without_a_word_of_the_protocol() -> None:
    assert PAGE.problem is not None
    assert is_firewall_page(PAGE.problem)
    assert is_firewall_page(evolve(PAGE.problem, http_status=401))
    assert not is_firewall_page(evolve(PAGE.problem, http_status=429))
    assert not is_firewall_page(evolve(PAGE.problem, vendor_code="ERROR_KEY_DOES_NOT_EXIST"))
    assert not is_firewall_page(evolve(PAGE.problem, vendor_id=1))
    assert not is_firewall_page(None)
