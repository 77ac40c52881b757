"""Every code that is about the account or a block stops something; every other one is decided, too."""

import pytest

from anycap.core.admission.decisions import RequestKind
from anycap.core.admission.recovery_policy import Recovery, recovery_policy_for
from anycap.settings import GuardSettings
from anycap.taxonomy import CODES, Category, Code, ErrorAnswer
from tests.core.admission.guard_answers import row

STOPPING = [code for code, info in CODES.items() if info.category in (Category.ACCOUNT, Category.BLOCKED)]
ABOUT_ONE = (
    Category.REQUEST,
    Category.CHALLENGE,
    Category.UNSOLVED,
    Category.REFUSED,
    Category.SERVICE,
    Category.PROGRESS,
)


def _said(code: Code, category: Category | None = None) -> ErrorAnswer:
    return ErrorAnswer(row(code, category=category), "vendor", "ERROR_X", 1, None)


@pytest.mark.parametrize("code", STOPPING)
def test_every_account_and_block_code_stops_create_task(code: Code) -> None:
    policy = recovery_policy_for(_said(code), RequestKind.SUBMIT, None, GuardSettings())
    assert policy is not None
    assert RequestKind.SUBMIT in policy.blocks
    assert policy.first_wait_s >= 60.0


@pytest.mark.parametrize("action", RequestKind)
@pytest.mark.parametrize("code", [code for code, info in CODES.items() if info.category in ABOUT_ONE])
def test_what_one_request_or_task_was_told_pauses_no_other(code: Code, action: RequestKind) -> None:
    assert recovery_policy_for(_said(code), action, None, GuardSettings()) is None


@pytest.mark.parametrize("category", [Category.ACCOUNT, Category.BLOCKED])
def test_an_unknown_code_with_a_lent_category_stops_something_too(category: Category) -> None:
    policy = recovery_policy_for(_said(Code.UNKNOWN, category), RequestKind.SUBMIT, None, GuardSettings())
    assert policy is not None
    assert policy.way is Recovery.WAIT
