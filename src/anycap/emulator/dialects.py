"""How each vendor speaks: which code it uses for which trouble, its ids, its HTTP statuses, its prices. Data only.

Facts about limits, waits, ban rules and task types are not here: they come from the catalog through `vendor_rules.py`. The shapes
of the JSON answers are made in `answers.py` from the `style` named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import frozen


class Trouble(StrEnum):
    """What a vendor can find wrong, before it is put into the vendor's own code."""

    BAD_JSON = "bad_json"
    UNKNOWN_METHOD = "unknown_method"
    WRONG_VERB = "wrong_verb"
    UNKNOWN_KEY = "unknown_key"
    SUSPENDED = "suspended"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    NO_FUNDS = "no_funds"
    TASK_ABSENT = "task_absent"
    TASK_TYPE = "task_type"
    FIELDS = "fields"
    PAGE_URL = "page_url"
    PROXY = "proxy"
    IMAGE_SMALL = "image_small"
    IMAGE_LARGE = "image_large"
    IMAGE_FORMAT = "image_format"
    IMAGE_PIXELS = "image_pixels"
    QUESTION = "question"
    TEMPLATE = "template"
    SLOTS_FULL = "slots_full"
    NO_WORKERS = "no_workers"
    MALFORMED_ID = "malformed_id"
    UNKNOWN_ID = "unknown_id"
    POLLED_TOO_FAST = "polled_too_fast"
    UNSOLVABLE = "unsolvable"
    TIMED_OUT = "timed_out"
    ACCESS_DENIED = "access_denied"


class Style(StrEnum):
    """Which family of JSON answers a vendor gives (see `answers.py`)."""

    ANTI_CAPTCHA = "anti-captcha"
    CAPMONSTER = "capmonster"
    YESCAPTCHA = "yescaptcha"
    CAPSOLVER = "capsolver"


@frozen
class Dialect:
    """One vendor's ways. Prices are per solved task, image and other, in `currency`.

    `codes` has POLLED_TOO_FAST only where a page or a client gives a code for it. `statuses` gives the HTTP status of an
    answer with this vendor code, `error_status` of every other error. `solve_limit_s`: after so long an unfinished task
    ends with the TIMED_OUT code. `polls_end_task`: beyond the poll limit the task is gone (else polls beyond it are a
    matter of the ban rules only).
    """

    provider: str
    style: Style
    codes: Mapping[Trouble, str]
    uuid_ids: bool
    numeric_error_ids: bool
    image_price: Decimal
    price: Decimal
    balance: Decimal
    currency: str
    charges_failures: frozenset[str] = frozenset()
    solve_limit_s: float | None = None
    polls_end_task: bool = False
    checks_image_format: bool = False
    error_status: int = 200
    statuses: Mapping[str, int] = {}
    first_task_id: int = 7_654_321
    callbacks: bool = False


_ANTI_CAPTCHA_CODES = {
    Trouble.BAD_JSON: "ERROR_KEY_DOES_NOT_EXIST",
    Trouble.UNKNOWN_METHOD: "ERROR_NO_SUCH_METHOD",
    Trouble.WRONG_VERB: "ERROR_NO_SUCH_METHOD",
    Trouble.UNKNOWN_KEY: "ERROR_KEY_DOES_NOT_EXIST",
    Trouble.SUSPENDED: "ERROR_ACCOUNT_SUSPENDED",
    Trouble.ADDRESS_NOT_ALLOWED: "ERROR_IP_NOT_ALLOWED",
    Trouble.NO_FUNDS: "ERROR_ZERO_BALANCE",
    Trouble.TASK_ABSENT: "ERROR_TASK_ABSENT",
    Trouble.TASK_TYPE: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.FIELDS: "ERROR_INCORRECT_SESSION_DATA",
    Trouble.PAGE_URL: "ERROR_INCORRECT_SESSION_DATA",
    Trouble.PROXY: "ERROR_INCORRECT_SESSION_DATA",
    Trouble.IMAGE_SMALL: "ERROR_ZERO_CAPTCHA_FILESIZE",
    Trouble.IMAGE_LARGE: "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    Trouble.IMAGE_FORMAT: "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
    Trouble.IMAGE_PIXELS: "ERROR_IMAGE_TYPE_NOT_SUPPORTED",
    Trouble.QUESTION: "ERROR_INCORRECT_SESSION_DATA",
    Trouble.TEMPLATE: "ERROR_TEMPLATE_NOT_FOUND",
    Trouble.SLOTS_FULL: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.NO_WORKERS: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.MALFORMED_ID: "ERROR_NO_SUCH_CAPCHA_ID",
    Trouble.UNKNOWN_ID: "ERROR_NO_SUCH_CAPCHA_ID",
    Trouble.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
    Trouble.TIMED_OUT: "ERROR_RECAPTCHA_TIMEOUT",
    Trouble.ACCESS_DENIED: "ERROR_ACCESS_DENIED",
}

_CAPMONSTER_CODES = {
    Trouble.BAD_JSON: "ERROR_TASK_ABSENT",
    Trouble.UNKNOWN_METHOD: "ERROR_NO_SUCH_METHOD",
    Trouble.WRONG_VERB: "ERROR_NO_SUCH_METHOD",
    Trouble.UNKNOWN_KEY: "ERROR_KEY_DOES_NOT_EXIST",
    Trouble.SUSPENDED: "ERROR_KEY_DOES_NOT_EXIST",
    Trouble.ADDRESS_NOT_ALLOWED: "ERROR_IP_NOT_ALLOWED",
    Trouble.NO_FUNDS: "ERROR_ZERO_BALANCE",
    Trouble.TASK_ABSENT: "ERROR_TASK_ABSENT",
    Trouble.TASK_TYPE: "ERROR_NO_SUCH_METHOD",
    Trouble.FIELDS: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.PAGE_URL: "ERROR_RECAPTCHA_INVALID_DOMAIN",
    Trouble.PROXY: "ERROR_PROXY_MISSING",
    Trouble.IMAGE_SMALL: "ERROR_ZERO_CAPTCHA_FILESIZE",
    Trouble.IMAGE_LARGE: "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    Trouble.IMAGE_FORMAT: "ERROR_ZERO_CAPTCHA_FILESIZE",
    Trouble.IMAGE_PIXELS: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.QUESTION: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.TEMPLATE: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.SLOTS_FULL: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.NO_WORKERS: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.MALFORMED_ID: "WRONG_CAPTCHA_ID",
    Trouble.UNKNOWN_ID: "ERROR_NO_SUCH_CAPCHA_ID",
    Trouble.POLLED_TOO_FAST: "ERROR_TOO_MUCH_REQUESTS",
    Trouble.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
    Trouble.TIMED_OUT: "ERROR_RECAPTCHA_TIMEOUT",
    Trouble.ACCESS_DENIED: "ERROR_KEY_DOES_NOT_EXIST",
}

_YESCAPTCHA_CODES = {
    Trouble.BAD_JSON: "ERROR_BAD_REQUEST",
    Trouble.UNKNOWN_METHOD: "ERROR_PAGE_NOT_FOUND",
    Trouble.WRONG_VERB: "ERROR_NO_SUCH_METHOD",
    Trouble.UNKNOWN_KEY: "ERROR_KEY_DOES_NOT_EXIST",
    Trouble.SUSPENDED: "ERROR_KEY_BANNED",
    Trouble.ADDRESS_NOT_ALLOWED: "ERROR_CLIENTKEY_UNAUTHORIZED",
    Trouble.NO_FUNDS: "ERROR_ZERO_BALANCE",
    Trouble.TASK_ABSENT: "ERROR_REQUIRED_FIELDS",
    Trouble.TASK_TYPE: "ERROR_TASK_NOT_SUPPORTED",
    Trouble.FIELDS: "ERROR_REQUIRED_FIELDS",
    Trouble.PAGE_URL: "INVALID_RECAPTCHA_SITEURL",
    Trouble.PROXY: "ERROR_REQUIRED_FIELDS",
    Trouble.IMAGE_SMALL: "ERROR_ZERO_CAPTCHA_FILESIZE",
    Trouble.IMAGE_LARGE: "ERROR_TOO_BIG_CAPTCHA_FILESIZE",
    Trouble.IMAGE_FORMAT: "ERROR_PARSE_IMAGE_FAIL",
    Trouble.IMAGE_PIXELS: "ERROR_ILLEGAL_IMAGE",
    Trouble.QUESTION: "ERROR_UNKNOWN_QUESTION",
    Trouble.TEMPLATE: "ERROR_REQUIRED_FIELDS",
    Trouble.SLOTS_FULL: "ERROR_THREADS_MAXIMUM",
    Trouble.NO_WORKERS: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.MALFORMED_ID: "ERROR_TASKID_INVALID",
    Trouble.UNKNOWN_ID: "ERROR_TASKID_INVALID",
    Trouble.UNSOLVABLE: "ERROR_CAPTCHA_UNSOLVABLE",
    Trouble.TIMED_OUT: "ERROR_TASK_TIMEOUT",
    Trouble.ACCESS_DENIED: "ERROR_CLIENTKEY_UNAUTHORIZED",
}

_EZCAPTCHA_CODES = _YESCAPTCHA_CODES | {
    Trouble.BAD_JSON: "ERROR_REQUEST_PARAMETERS",
    Trouble.UNKNOWN_METHOD: "ERROR_NOT_FOUND",
    Trouble.WRONG_VERB: "ERROR_REQUEST_METHOD",
    Trouble.ADDRESS_NOT_ALLOWED: "ERROR_KEY_NOT_AVAILABLE",
    Trouble.PROXY: "ERROR_REQUEST_PROXY_MISSING",
    Trouble.IMAGE_SMALL: "ERROR_REQUIRED_FIELDS",
    Trouble.IMAGE_LARGE: "ERROR_REQUIRED_FIELDS",
    Trouble.IMAGE_FORMAT: "ERROR_REQUIRED_FIELDS",
    Trouble.IMAGE_PIXELS: "ERROR_REQUIRED_FIELDS",
    Trouble.QUESTION: "ERROR_REQUIRED_FIELDS",
    Trouble.SLOTS_FULL: "ERROR_NO_SLOT_AVAILABLE",
    Trouble.UNSOLVABLE: "ERROR_SERVICE_TIMEOUT",
    Trouble.TIMED_OUT: "ERROR_SERVICE_TIMEOUT",
    Trouble.ACCESS_DENIED: "ERROR_PACKAGE_NOT_EXIST",
}

_TWO_CAPTCHA_CODES = _ANTI_CAPTCHA_CODES | {
    Trouble.FIELDS: "ERROR_BAD_PARAMETERS",
    Trouble.PAGE_URL: "ERROR_PAGEURL",
    Trouble.PROXY: "ERROR_BAD_PROXY",
    Trouble.QUESTION: "ERROR_BAD_PARAMETERS",
    Trouble.TEMPLATE: "ERROR_BAD_PARAMETERS",
    Trouble.TIMED_OUT: "ERROR_CAPTCHA_UNSOLVABLE",
    Trouble.ACCESS_DENIED: "ERROR_BAD_PARAMETERS",
}

_CAPSOLVER_CODES = _YESCAPTCHA_CODES | {
    Trouble.UNKNOWN_METHOD: "ERROR_BAD_REQUEST",
    Trouble.WRONG_VERB: "ERROR_BAD_REQUEST",
    Trouble.UNKNOWN_KEY: "ERROR_KEY_DENIED_ACCESS",
    Trouble.SUSPENDED: "ERROR_KEY_DENIED_ACCESS",
    Trouble.ADDRESS_NOT_ALLOWED: "ERROR_KEY_DENIED_ACCESS",
    Trouble.TASK_ABSENT: "ERROR_INVALID_TASK_DATA",
    Trouble.FIELDS: "ERROR_INVALID_TASK_DATA",
    Trouble.PAGE_URL: "ERROR_INVALID_TASK_DATA",
    Trouble.PROXY: "ERROR_INVALID_TASK_DATA",
    Trouble.IMAGE_SMALL: "ERROR_INVALID_IMAGE",
    Trouble.IMAGE_LARGE: "ERROR_INVALID_IMAGE",
    Trouble.IMAGE_PIXELS: "ERROR_INVALID_IMAGE",
    Trouble.TEMPLATE: "ERROR_INVALID_TASK_DATA",
    Trouble.SLOTS_FULL: "ERROR_RATE_LIMIT",
    Trouble.NO_WORKERS: "ERROR_SERVICE_UNAVALIABLE",
    Trouble.ACCESS_DENIED: "ERROR_KEY_DENIED_ACCESS",
}

DIALECTS: Mapping[str, Dialect] = {
    dialect.provider: dialect
    for dialect in (
        Dialect(
            "anti-captcha", Style.ANTI_CAPTCHA, _ANTI_CAPTCHA_CODES, uuid_ids=False, numeric_error_ids=True,
            image_price=Decimal("0.0007"), price=Decimal("0.002"), balance=Decimal(100), currency="USD",
            charges_failures=frozenset({"ERROR_CAPTCHA_UNSOLVABLE"}), checks_image_format=True,
            callbacks=True,
        ),
        Dialect(
            "capmonster", Style.CAPMONSTER, _CAPMONSTER_CODES, uuid_ids=False, numeric_error_ids=False,
            image_price=Decimal("0.0003"), price=Decimal("0.0008"), balance=Decimal(100), currency="USD",
            solve_limit_s=180.0, callbacks=True,
            # Seen in bug reports of its own Python client, which drops the body of any answer but 200.
            statuses={"ERROR_ZERO_BALANCE": 402, "ERROR_KEY_DOES_NOT_EXIST": 403, "ERROR_TOO_MUCH_REQUESTS": 429},
        ),
        Dialect(
            "yescaptcha", Style.YESCAPTCHA, _YESCAPTCHA_CODES, uuid_ids=True, numeric_error_ids=False,
            image_price=Decimal(10), price=Decimal(15), balance=Decimal(1_071_810), currency="points",
            solve_limit_s=120.0, polls_end_task=True,
        ),
        Dialect(
            "ezcaptcha", Style.YESCAPTCHA, _EZCAPTCHA_CODES, uuid_ids=True, numeric_error_ids=False,
            image_price=Decimal("0.0006"), price=Decimal("0.0006"), balance=Decimal(100), currency="USD",
            solve_limit_s=120.0, polls_end_task=True,
            statuses={"ERROR_REQUEST_LIMIT": 429, "ERROR_REQUEST_BANNED": 429},
        ),
        Dialect(
            "2captcha", Style.ANTI_CAPTCHA, _TWO_CAPTCHA_CODES, uuid_ids=False, numeric_error_ids=True,
            image_price=Decimal("0.001"), price=Decimal("0.00299"), balance=Decimal(100), currency="USD",
            checks_image_format=True, first_task_id=72_345_678_901, callbacks=True,
        ),
        Dialect(
            "capsolver", Style.CAPSOLVER, _CAPSOLVER_CODES, uuid_ids=True, numeric_error_ids=False,
            image_price=Decimal("0.0004"), price=Decimal("0.0008"), balance=Decimal(100), currency="USD",
            solve_limit_s=120.0, polls_end_task=True, error_status=400,
            statuses={"ERROR_KEY_DENIED_ACCESS": 401},
        ),
    )
}  # fmt: skip
