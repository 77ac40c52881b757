"""The shared error taxonomy: what any vendor's error means to a caller.

Here live the enums (`Code`, `Category`, `Retry`, `Scope`, `Charged`, `OnPoll`), the one table that gives every code
its defaults, and `ErrorRow`, the value a catalog holds per vendor code. Nothing here knows a vendor: vendor rows are
in `providers/data/*.toml`. The exceptions made from these values are in `errors.py`.
"""

from enum import StrEnum

from attrs import frozen


class Category(StrEnum):
    """Whose problem an error is, and so what the caller does next. One exception class each (see `anycap.errors`)."""

    ACCOUNT = "account"
    BLOCKED = "blocked"
    BUSY = "busy"
    REQUEST = "request"
    CHALLENGE = "challenge"
    PROXY = "proxy"
    UNSOLVED = "unsolved"
    REFUSED = "refused"
    SERVICE = "service"
    PROGRESS = "progress"


class Retry(StrEnum):
    """What can help: nothing until something is changed, the same request again, or only a fresh task."""

    NEVER = "never"
    SAME = "same"
    NEW_TASK = "new_task"


class Scope(StrEnum):
    """What an error is about; a cool-down covers everything inside its scope."""

    REQUEST = "request"
    CHALLENGE = "challenge"
    TASK = "task"
    PROXY = "proxy"
    ACCOUNT = "account"
    ADDRESS = "address"
    VENDOR = "vendor"


class Charged(StrEnum):
    """Whether the vendor took money for the failure."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class OnPoll(StrEnum):
    """What a code means for the task when it comes as the answer to a poll."""

    KEEPS = "keeps"
    ENDS = "ends"
    ENDS_THIRD_TIME = "ends_third_time"


class Code(StrEnum):
    """The shared codes. `CODES[code]` has category, retry, scope, effect on a poll and meaning of each."""

    INVALID_KEY = "invalid_key"
    ACCOUNT_SUSPENDED = "account_suspended"
    NO_FUNDS = "no_funds"
    BILLING_FAILED = "billing_failed"
    IP_NOT_ALLOWED = "ip_not_allowed"
    ACCESS_DENIED = "access_denied"
    IP_BLOCKED = "ip_blocked"
    KEY_BLOCKED = "key_blocked"
    SUBMIT_BLOCKED = "submit_blocked"
    NO_WORKERS = "no_workers"
    WORKERS_FILTERED = "workers_filtered"
    CONCURRENCY_LIMIT = "concurrency_limit"
    RATE_LIMITED = "rate_limited"
    POLLED_TOO_FAST = "polled_too_fast"
    UNKNOWN_METHOD = "unknown_method"
    TASK_MISSING = "task_missing"
    UNSUPPORTED_TASK_TYPE = "unsupported_task_type"
    INVALID_FIELDS = "invalid_fields"
    BAD_REQUEST = "bad_request"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_DIMENSIONS = "image_dimensions"
    UNSUPPORTED_QUESTION = "unsupported_question"
    TEMPLATE_NOT_FOUND = "template_not_found"
    USER_AGENT_REJECTED = "user_agent_rejected"
    PROXY_MISSING = "proxy_missing"
    INVALID_SITE_KEY = "invalid_site_key"
    INVALID_DOMAIN = "invalid_domain"
    CHALLENGE_MISMATCH = "challenge_mismatch"
    CHALLENGE_EXPIRED = "challenge_expired"
    PROXY_REFUSED = "proxy_refused"
    PROXY_TIMEOUT = "proxy_timeout"
    PROXY_BANNED = "proxy_banned"
    PROXY_TRANSPARENT = "proxy_transparent"
    PROXY_UNAUTHORIZED = "proxy_unauthorized"
    PROXY_INCOMPATIBLE = "proxy_incompatible"
    UNSOLVABLE = "unsolvable"
    ANSWERS_DISAGREE = "answers_disagree"
    SOLVE_TIMEOUT = "solve_timeout"
    WIDGET_FAILED = "widget_failed"
    TASK_CANCELED = "task_canceled"
    TASK_LAPSED = "task_lapsed"
    TASK_NOT_FOUND = "task_not_found"
    DOMAIN_REFUSED = "domain_refused"
    UNAVAILABLE = "unavailable"
    INTERNAL_ERROR = "internal_error"
    NOT_READY = "not_ready"
    UNREADABLE_ANSWER = "unreadable_answer"
    UNKNOWN = "unknown"


@frozen
class CodeInfo:
    """Defaults of one shared code: category, retry, scope, what it does to a polled task, and its meaning."""

    category: Category
    retry: Retry
    scope: Scope
    on_poll: OnPoll
    meaning: str


# code: category retry scope on_poll | meaning. A catalog row may narrow retry, scope, wait and charge for its vendor.
_TABLE = """
invalid_key account never account keeps | the vendor does not know this key
account_suspended account never account keeps | the vendor suspended or banned the account or key
no_funds account never account keeps | the balance does not cover a task
billing_failed account never account keeps | the vendor could not charge the task to the account
ip_not_allowed account never address keeps | the key may not be used from this address (allow list)
access_denied account never account keeps | the key has no right to this method, task type or package
ip_blocked blocked never address keeps | the vendor has blocked this address for misbehaviour
key_blocked blocked never account keeps | the vendor has blocked this key for a while for too many errors
submit_blocked blocked never account keeps | no task may be created for a while after too many no-worker answers
no_workers busy same account keeps | no worker or server is free for this task now
workers_filtered account never account keeps | every worker has been filtered out by this account's reports
concurrency_limit busy same account keeps | the account has as many unfinished tasks as it may have
rate_limited busy same account keeps | too many requests from this key
polled_too_fast busy same task keeps | one task's result was asked for too often; the task lives on
unknown_method request never request ends | the vendor has no such API method, path or HTTP verb
task_missing request never request ends | createTask without a task object, or with broken JSON
unsupported_task_type request never request ends | the vendor does not know this task type
invalid_fields request never request ends | a field is missing or wrong; the description names it
bad_request request never request ends | the vendor calls the request bad without saying why
image_too_small request never request ends | image below the vendor's minimum size
image_too_large request never request ends | image above the vendor's maximum size
image_unreadable request never request ends | image format not recognised, not accepted or not decodable
image_dimensions request never request ends | image width or height not accepted
unsupported_question request never request ends | classification question unknown, or not available for this image size
template_not_found request never request ends | no AntiGate template of this name
user_agent_rejected request never request ends | the user agent is not accepted
proxy_missing request never request ends | required proxy fields are missing or wrong
invalid_site_key challenge never challenge ends | the target site does not know this site key
invalid_domain challenge never challenge ends | the page address does not belong to the site key, or is malformed
challenge_mismatch challenge never challenge ends | the site key is of another kind (v2, invisible, v3) than the task says
challenge_expired challenge never challenge ends | a one-time value of the challenge has expired; fetch a fresh one
proxy_refused proxy new_task proxy ends | the task's proxy refused the connection or could not be reached
proxy_timeout proxy new_task proxy ends | connecting to or reading through the task's proxy timed out
proxy_banned proxy never proxy ends | the target service has banned the task's proxy
proxy_transparent proxy never proxy ends | the task's proxy does not hide the vendor's address
proxy_unauthorized proxy never proxy ends | login or password of the task's proxy is wrong
proxy_incompatible proxy never proxy ends | the task's proxy cannot carry what the challenge needs
unsolvable unsolved new_task task ends | the vendor tried and could not solve it
answers_disagree unsolved new_task task ends | too few matching answers for the 100 % recognition option
solve_timeout unsolved new_task task ends | the vendor ran out of time
widget_failed unsolved new_task task ends | the challenge widget did not load in the worker's browser
task_canceled unsolved never task ends | the worker cancelled the task; the description has the reason
task_lapsed unsolved new_task task ends | the vendor dropped the task without charge
task_not_found unsolved never task ends | no such task, or its result has expired
domain_refused refused never challenge ends | the vendor refuses tasks for this domain, as policy
unavailable service same vendor keeps | the vendor's service is temporarily unavailable
internal_error service same vendor keeps | the vendor's server failed
not_ready progress same task keeps | not an error: the task is still being solved
unreadable_answer service same vendor keeps | the answer is not the protocol's JSON (HTML, truncated, wrong types)
unknown service never request ends_third_time | a code that no catalog knows; kept whole
"""


def _read_table() -> dict[Code, CodeInfo]:
    table: dict[Code, CodeInfo] = {}
    for line in _TABLE.strip().splitlines():
        head, meaning = line.split(" | ", 1)
        code, category, retry, scope, on_poll = head.split()
        table[Code(code)] = CodeInfo(Category(category), Retry(retry), Scope(scope), OnPoll(on_poll), meaning)
    return table


CODES: dict[Code, CodeInfo] = _read_table()


@frozen
class ErrorRow:
    """What one vendor code means: a row of a provider's catalog, or the fall-back for a code no catalog knows.

    `retry_after` is the wait in seconds that the vendor states (None when no source gives a number). `meaning`,
    `action` and `source` are English sentences: what happened, what to do, and where the vendor says so.
    """

    code: Code
    category: Category
    retry: Retry
    scope: Scope
    retry_after: float | None
    charged: Charged
    meaning: str
    action: str
    source: str
    provider: str = ""
    vendor_code: str | None = None
    error_ids: tuple[int, ...] = ()
    known: bool = True
    """False when the row is a fall-back: the catalog does not list the code."""
    aliases: tuple[str, ...] = ()
    """Other spellings of `vendor_code` that mean the same."""
    confidence: str = "normal"
    """`low` when no page of the vendor's could be read for it."""
    retry_after_by_method: tuple[tuple[str, float], ...] = ()
    """Waits in seconds that the vendor states for single API methods, where they differ from `retry_after`."""

    @property
    def on_poll(self) -> OnPoll:
        """What this error does to a task when it is the answer to a poll."""
        return CODES[self.code].on_poll


def row_of_ours(
    provider: str,
    code: Code,
    *,
    meaning: str,
    action: str,
    source: str,
    charged: Charged = Charged.UNKNOWN,
    known: bool = True,
) -> ErrorRow:
    """The row of an error that no vendor has named: what can help is the shared code's, no wait is stated.

    >>> row_of_ours("toy", Code.UNAVAILABLE, meaning="no answer", action="Wait.", source="seen by us").retry
    <Retry.SAME: 'same'>
    """
    info = CODES[code]
    return ErrorRow(
        code=code,
        category=info.category,
        retry=info.retry,
        scope=info.scope,
        retry_after=None,
        charged=charged,
        meaning=meaning,
        action=action,
        source=source,
        provider=provider,
        known=known,
    )


@frozen
class ErrorAnswer:
    """A vendor's error as a value: the catalog row that applies, and what the vendor said, kept whole."""

    row: ErrorRow
    provider: str
    vendor_code: str | None
    vendor_id: int | str | None
    description: str | None
    http_status: int | None = None

    @property
    def code(self) -> Code:
        return self.row.code

    @property
    def category(self) -> Category:
        return self.row.category
