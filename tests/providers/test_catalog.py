"""Catalog files are read strictly: each mistake is refused with the file's name and the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anycap.errors import ConfigurationError
from anycap.providers import BUILT_IN, catalog, get, toml_text
from anycap.taxonomy import Charged, Code, Scope
from tests.providers_toy import TOY


def write(folder: Path, text: str) -> Path:
    path = folder / "toy.toml"
    path.write_text(text)
    return path


def test_the_minimal_catalog_is_good(tmp_path: Path) -> None:
    toy = catalog.load(write(tmp_path, TOY))
    assert (toy.name, toy.base_url, toy.file) == ("toy", "https://api.toy.example", "toy.toml")
    assert toy.aliases == {"KEY_ERROR": "ERROR_KEY"}
    assert toy.ids == {1: ("ERROR_KEY",)}
    assert toy.errors["ERROR_KEY"].scope is Scope.ACCOUNT
    assert toy.ban_rules[0].codes == frozenset({Code.INVALID_KEY})
    assert (toy.soft_id_field, toy.callback_field, toy.max_in_flight) == (None, None, None)


def test_what_a_row_leaves_out_is_the_usual(tmp_path: Path) -> None:
    toy = catalog.load(write(tmp_path, TOY.replace('charged = "unknown"\n', "").replace('source = "made up"\n', "")))
    assert toy.errors["ERROR_KEY"].charged is Charged.UNKNOWN
    assert toy.errors["ERROR_KEY"].source == toy.ban_rules[0].source == "https://toy.example/docs"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/x", "https://api.toy.example/v2"]
)
def test_plain_http_is_for_this_machine_only(tmp_path: Path, url: str) -> None:
    text = TOY.replace("https://api.toy.example", url)
    assert catalog.load(write(tmp_path, text)).base_url == url


def test_a_catalog_shows_what_it_is_and_not_all_its_rows() -> None:
    shown = repr(get("yescaptcha").catalog)
    assert "YesCaptcha" in shown and "ERROR_ZERO_BALANCE" not in shown


def replaced(old: str, new: str) -> Callable[[], str]:
    def change() -> str:
        assert TOY.count(old) >= 1
        return TOY.replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replaced("schema = 1", "schema = 2"), "provider.schema"),
        (replaced("schema = 1\n", ""), "provider.schema"),
        (replaced('name = "toy"', 'name = "Toy!"'), "provider.name"),
        (replaced('title = "Toy"\n', ""), "provider.title: is missing"),
        (replaced('title = "Toy"', "title = 5"), "provider.title: must be a text, not an integer"),
        (replaced('title = "Toy"', 'title = " "'), "provider.title: must not be empty"),
        (replaced('"anti-captcha"', '"klingon"'), "provider.style: 'klingon' is not one of"),
        (replaced("https://api.toy.example", "http://api.toy.example"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://api.toy.example/"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://user:pw@api.toy.example"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://api.toy.example:99999"), "provider.base_url"),
        (replaced("https://api.toy.example", "ftp://api.toy.example"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://user@api.toy.example"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://:pw@api.toy.example"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://api.toy.example?key=x"), "provider.base_url"),
        (replaced("https://api.toy.example", "https://api.toy.example#x"), "provider.base_url"),
        (replaced('task_id = "integer"', 'task_id = "float"'), "provider.task_id"),
        (replaced('error_ids = "catalogue"', 'error_ids = "yes"'), "provider.error_ids"),
        (replaced('["ready"]', '["Ready"]'), "provider.ready_statuses"),
        (replaced('["ready"]', "[]"), "provider.ready_statuses"),
        (replaced('["ready"]', '["ready", "ready"]'), "provider.ready_statuses"),
        (replaced('["ready"]', '["ready", "processing"]'), "two of the status lists"),
        (replaced('["ready"]', '"ready"'), "must be a list of texts"),
        (replaced("charges_failures = false", 'charges_failures = "no"'), "provider.charges_failures"),
        (replaced("charges_failures = false", "charges_failures = false\ncolour = 1"), "provider.colour: no such key"),
        (replaced("charges_failures = false", "charges_failures = false\nprocessing_http_statuses = [404]"), "404"),
        (replaced("charges_failures = false", "charges_failures = false\nprocessing_http_statuses = [true]"), "integers"),
        (replaced("[[ban_rules]]", "[colours]\nred = 1\n[[ban_rules]]"), "colours: no such key"),
        (replaced("[[ban_rules]]", "[limits]\nmax_in_flight = 0\n[[ban_rules]]"), "limits.max_in_flight"),
        (replaced("[[ban_rules]]", "[limits]\nmax_inflight = 5\n[[ban_rules]]"), "is max_in_flight meant?"),
        (replaced("[[ban_rules]]", "[provider.mirrors]\nasia = 'http://x'\n[[ban_rules]]"), "provider.mirrors.asia"),
        (replaced("count_max = 5", "count_max = 0"), "ban_rules[0].count_max"),
        (replaced("count_max = 5", "count_max = true"), "ban_rules[0].count_max"),
        (replaced("window_s = 60", "window_s = -1"), "ban_rules[0].window_s"),
        (replaced("window_s = 60", "window_s = inf"), "ban_rules[0].window_s"),
        (replaced("window_s = 60", "window_s = nan"), "ban_rules[0].window_s"),
        (replaced('scope = "address"', 'scope = "task"'), "ban_rules[0].scope"),
        (replaced('vendor_code = "ERROR_IP_BLOCKED"', 'vendor_code = "ERROR_X"'), "ban_rules[0].vendor_code"),
        (replaced('codes = ["invalid_key"]', 'codes = ["invalid_kee"]'), "ban_rules[0].codes"),
        (replaced('codes = ["invalid_key"]', 'code = ["invalid_key"]'), "ban_rules[0].code: no such key"),
        (replaced('code = "invalid_key"', 'code = "no_such_code"'), "errors.ERROR_KEY.code"),
        (replaced('code = "invalid_key"', 'code = "unknown"'), "errors.ERROR_KEY.code"),
        (replaced('code = "invalid_key"\n', ""), "errors.ERROR_KEY.code: is missing"),
        (replaced('charged = "unknown"', 'charged = "maybe"'), "errors.ERROR_KEY.charged"),
        (replaced('action = "Fix it."\n', ""), "errors.ERROR_KEY.action"),
        (replaced('action = "Fix it."', 'action = "Fix it."\nretry = "later"'), "errors.ERROR_KEY.retry"),
        (replaced('action = "Fix it."', 'action = "Fix it."\nretry_after = 5'), "errors.ERROR_KEY.retry_after: no such key"),
        (replaced('action = "Fix it."', 'action = "Fix it."\nconfidence = "none"'), "errors.ERROR_KEY.confidence"),
        (replaced("ids = [1]", "ids = [1, 1]"), "errors.ERROR_KEY.ids"),
        (replaced("ids = [1]", "ids = [0]"), "errors.ERROR_KEY.ids"),
        (replaced("ids = [1]", 'ids = ["1"]'), "errors.ERROR_KEY.ids"),
        (replaced('error_ids = "catalogue"', 'error_ids = "flag"'), "errors.ERROR_KEY.ids"),
        (replaced('["KEY_ERROR"]', '["ERROR_IP_BLOCKED"]'), "errors.ERROR_KEY.aliases"),
        (replaced("retry_after_s = 600", 'retry_after_s = 600\naliases = ["KEY_ERROR"]'), "errors.ERROR_IP_BLOCKED.aliases"),
        (replaced("[errors.ERROR_KEY]", '[errors."ERROR KEY"]'), "ERROR KEY"),
        (replaced("retry_after_s = 600", "retry_after_by_method = 5"), "retry_after_by_method"),
        (lambda: TOY.split("[[ban_rules]]")[0], "errors"),
        (lambda: TOY + "\n[errors.ERROR_KEY]\n", "no valid TOML"),
        (lambda: "x = ", "no valid TOML"),
        (lambda: "provider = 5", "provider must be a table"),
    ],
)  # fmt: skip
def test_each_mistake_is_refused_by_file_and_key(tmp_path: Path, change: Callable[[], str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        catalog.load(write(tmp_path, change()))
    assert "toy.toml" in str(caught.value) and said in str(caught.value)


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    rule = TOY[TOY.index("[[ban_rules]]") : TOY.index("[errors.ERROR_KEY]")]
    with pytest.raises(ConfigurationError, match="same name"):
        catalog.load(write(tmp_path, TOY.replace(rule, rule + rule)))


def test_a_missing_a_huge_and_a_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml: the catalog cannot be read"):
        catalog.load(tmp_path / "nothing.toml")
    path = tmp_path / "toy.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="no valid TOML"):
        catalog.load(path)
    path.write_bytes(b"#" * (toml_text.CATALOG_BYTES_MAX + 1))
    with pytest.raises(ConfigurationError, match="at most"):
        catalog.load(path)
    path.write_bytes(b"a = " + b"[" * 100_000)
    with pytest.raises(ConfigurationError, match="nested deeper than 16 levels"):
        catalog.load(path)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_catalog_cannot_be_changed_by_accident(name: str) -> None:
    book = get(name).catalog
    for attribute, value in (("name", "x"), ("base_url", "https://evil.example"), ("errors", {})):
        with pytest.raises(AttributeError):
            setattr(book, attribute, value)


# The headers, by hand from the vendor reference ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "style", "base_url", "currency", "task_id", "error_ids", "charges_failures"),
    [
        ("anti-captcha", "anti-captcha", "https://api.anti-captcha.com", "USD", "integer", "catalogue", True),
        ("capmonster", "capmonster", "https://api.capmonster.cloud", "USD", "integer", "flag", False),
        ("yescaptcha", "chinese", "https://api.yescaptcha.com", "points", "string", "flag", False),
        # No page says it: taken as yes.
        ("ezcaptcha", "chinese", "https://api.ez-captcha.com", "USD", "string", "flag", True),
        ("2captcha", "anti-captcha", "https://api.2captcha.com", "USD", "integer", "catalogue", False),
        ("capsolver", "chinese", "https://api.capsolver.com", "USD", "string", "flag", False),
    ],
)
def test_headers(
    name: str, style: str, base_url: str, currency: str, task_id: str, error_ids: str, charges_failures: bool
) -> None:
    book = get(name).catalog
    assert (book.style, book.base_url, book.currency, book.task_id, book.error_ids, book.charges_failures) == (
        style, base_url, currency, task_id, error_ids, charges_failures,
    )  # fmt: skip


def test_what_no_page_says_of_failed_tasks_is_said_to_be_unknown() -> None:
    unknown = {name for name in BUILT_IN if not get(name).catalog.charges_failures_known}
    assert unknown == {"ezcaptcha", "nextcaptcha"}
    assert all(get(name).catalog.charges_failures for name in (*unknown, "compatible"))


def test_odd_headers() -> None:
    assert get("capmonster").catalog.user_agent_url == "https://capmonster.cloud/api/useragent/actual"
    assert get("capmonster").catalog.processing_http_statuses == {500, 503}
    assert get("yescaptcha").catalog.mirrors["china"] == "https://cn.yescaptcha.com"
    assert get("capsolver").catalog.soft_id_field == "appId"
    assert get("capsolver").catalog.processing_statuses == {"idle", "processing"}
    assert {name for name in BUILT_IN if get(name).catalog.callback_field} == {
        "anti-captcha", "capmonster", "2captcha", "rucaptcha", "nextcaptcha",
    }  # fmt: skip


def test_ban_rules_with_published_numbers() -> None:
    published: dict[tuple[str, str], Any] = {
        (name, rule.name): (rule.count_max, rule.window_s, rule.penalty_s, rule.vendor_code, rule.scope)
        for name in BUILT_IN
        for rule in get(name).catalog.ban_rules
        if not rule.assumed
    }
    assert published == {
        ("yescaptcha", "no-slot-burst"): (20, 60, 20, "ERROR_NO_SLOT_AVAILABLE_BLOCK", "account"),
        ("yescaptcha", "error-flood"): (1000, 60, 1800, "ERROR_IP_BANNED", "address"),
        ("capsolver", "error-flood"): (1000, 60, 1800, "ERROR_IP_BANNED", "address"),
    }


def test_too_many_polls_of_one_task_block_address_and_account_at_capmonster() -> None:
    bans = {
        (rule.count_max, rule.penalty_s, rule.vendor_code, rule.scope) for rule in get("capmonster").catalog.poll_bans
    }
    assert bans == {(120, 600, "ERROR_IP_BLOCKED", "address"), (120, 600, "ERROR_IP_BLOCKED", "account")}
    assert not {"polls-of-one-task-by-address"} & {rule.name for rule in get("capmonster").catalog.ban_rules}


def test_what_the_ban_rules_count_and_stop() -> None:
    rules = {rule.name: rule for rule in get("yescaptcha").catalog.ban_rules}
    assert rules["no-slot-burst"].codes == {Code.NO_WORKERS}
    assert rules["no-slot-burst"].blocks == rules["no-slot-burst"].methods == {"createTask"}
    assert rules["error-flood"].codes == rules["error-flood"].methods == rules["error-flood"].blocks == frozenset()
    rules = {rule.name: rule for rule in get("ezcaptcha").catalog.ban_rules}
    assert rules["key-or-balance-on-create"].codes == {Code.INVALID_KEY, Code.NO_FUNDS}
    assert rules["key-or-balance-on-create"].methods == {"createTask"}
    assert rules["key-on-poll"].methods == {"getTaskResult"} and rules["key-on-poll"].codes == {Code.INVALID_KEY}
    assert rules["key-or-balance-on-create"].assumed and rules["key-on-poll"].assumed
    rules = {rule.name: rule for rule in get("capmonster").catalog.ban_rules}
    assert {name: (rule.vendor_code, rule.penalty_s, rule.assumed) for name, rule in rules.items()} == {
        "wrong-key": ("ERROR_IP_BANNED", 600, True),
        "zero-balance": ("ERROR_IP_BLOCKED", 600, True),
        "wrong-task-id": ("ERROR_IP_BLOCKED", 600, True),
        "bad-proxy": ("ERROR_IP_BLOCKED", 600, True),
        "failed-requests": ("ERROR_IP_BLOCKED", 600, True),
    }


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_vendor_has_ban_rules_and_each_names_its_source(name: str) -> None:
    rules = get(name).catalog.ban_rules
    assert rules
    for rule in rules:
        assert len(rule.source) > 20 and rule.penalty_s > 0 and rule.window_s > 0
