"""Answers to drive a guard with, written by hand, and the rules of the reference as values."""

from decimal import Decimal

from anycap.core.admission.decisions import UNTIL_AN_ANSWER, Deferred, Limit
from anycap.core.admission.guard import AddressGuard, Guard
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import GuardSettings, RetrySettings
from anycap.taxonomy import CODES, Category, Charged, Code, ErrorAnswer, ErrorRow, Scope
from anycap.transport import Delivery, Failure, FailureKind

ACCEPTED = ParsedAnswer(AnswerKind.ACCEPTED, task_id=7654321)
READY = ParsedAnswer(AnswerKind.READY, solution={"text": "abc"}, body={})
PROCESSING = ParsedAnswer(AnswerKind.PROCESSING)
DONE = ParsedAnswer(AnswerKind.DONE, body={})
TOP_UP, EMPTY = Decimal("5.00"), Decimal(0)

# seed 002: "20 or more ERROR_NO_SLOT_AVAILABLE in 1 minute", 20 s without creating tasks
YESCAPTCHA_NO_SLOT = BanRule(
    "no-slot", 20, 60.0, 20.0, "ERROR_NO_SLOT_AVAILABLE_BLOCK", Scope.ACCOUNT,
    codes=frozenset({Code.NO_WORKERS}), methods=frozenset({"createTask"}), blocks=frozenset({"createTask"}),
)  # fmt: skip
# seed 002: "1000 errors within 1 minute", all methods, the address
YESCAPTCHA_FLOOD = BanRule("flood", 1000, 60.0, 1800.0, "ERROR_IP_BANNED", Scope.ADDRESS)
# siblings.md: 30 key or balance errors a minute on createTask ban the key for 3 minutes, on getTaskResult for 1
EZCAPTCHA_SUBMIT = BanRule(
    "key-on-create", 30, 60.0, 180.0, "ERROR_REQUEST_BANNED", Scope.ACCOUNT,
    codes=frozenset({Code.INVALID_KEY, Code.NO_FUNDS}), methods=frozenset({"createTask"}),
)  # fmt: skip
EZCAPTCHA_POLL = BanRule(
    "key-on-poll", 30, 60.0, 60.0, "ERROR_REQUEST_BANNED", Scope.ACCOUNT,
    codes=frozenset({Code.INVALID_KEY, Code.NO_FUNDS}), methods=frozenset({"getTaskResult"}),
)  # fmt: skip


def waits_for_the_probe(code: Code) -> Deferred:
    """What somebody is told who asks while one request finds out whether `code` is over."""
    return Deferred(UNTIL_AN_ANSWER, Limit.PROBE, name=str(code))


def row(
    code: Code, *, retry_after: float | None = None, scope: Scope | None = None, category: Category | None = None
) -> ErrorRow:
    info = CODES[code]
    return ErrorRow(
        code,
        category or info.category,
        info.retry,
        scope or info.scope,
        retry_after,
        Charged.NO,
        "meaning",
        "action",
        "source",
    )


def problem(
    code: Code,
    *,
    row_wait: float | None = None,
    header_wait: float | None = None,
    scope: Scope | None = None,
    category: Category | None = None,
) -> ParsedAnswer:
    """An answered error."""
    what = ErrorAnswer(row(code, retry_after=row_wait, scope=scope, category=category), "vendor", "ERROR_X", 1, None)
    return ParsedAnswer(AnswerKind.ERROR, problem=what, retry_after_s=header_wait)


def lost(*, sent: bool = True, header_wait: float | None = None) -> ParsedAnswer:
    """No answer: the connection broke after (or before) the request left."""
    delivery = Delivery.MAYBE_SENT if sent else Delivery.NOT_SENT
    kind = FailureKind.READ if sent else FailureKind.CONNECT
    return ParsedAnswer(AnswerKind.LOST, delivery, failure=Failure(delivery, kind, "reset"), retry_after_s=header_wait)


def make(
    *rules: BanRule,
    settings: GuardSettings | None = None,
    retry: RetrySettings | None = None,
    address: AddressGuard | None = None,
    chance: float = 0.0,
) -> Guard:
    """A guard whose waits are exact (`chance` 0 adds nothing to them)."""
    settings = settings or GuardSettings()
    shared = address or AddressGuard(rules, settings)
    return Guard(
        "vendor", rules, settings, retry or RetrySettings(), shared, chance=lambda: chance, charges_failures=False
    )


def submit(guard: Guard, now: float, parsed: ParsedAnswer, kind: str = "RecaptchaV2") -> None:
    """One createTask that is let through and answered at once."""
    from anycap.core.admission.guard import ADMITTED

    assert guard.admit_submit(now, kind) is ADMITTED
    guard.submit_sent(now, kind)
    guard.submit_answered(now, kind, parsed, first=True)


def prove(guard: Guard, now: float = 0.0, count: int = 6, kind: str = "RecaptchaV2") -> None:
    """Accepted and ended tasks: the key is good, the windows are open (six doublings: 64)."""
    for _ in range(count):
        submit(guard, now, ACCEPTED, kind)
        guard.task_ended(kind)
