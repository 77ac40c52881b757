"""`extends = "2captcha"`: what a catalog takes over from a built-in one, what it replaces, what it takes away."""

from pathlib import Path

import pytest

from anycap.challenges import ImageToText, RecaptchaV2
from anycap.errors import ConfigurationError
from anycap.providers import catalog, get
from anycap.providers.catalog import Catalog, Style
from anycap.taxonomy import Charged, Code
from anycap.testing.conformance import check_provider

HEAD = """
[provider]
schema = 1
extends = "2captcha"
name = "acme"
title = "Acme"
base_url = "https://api.acme.example"
docs = "https://docs.acme.example"
"""


def load(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "acme.toml"
    path.write_text(text)
    return catalog.load(path)


def test_seven_lines_are_a_whole_vendor(tmp_path: Path) -> None:
    acme = load(tmp_path, HEAD)
    parent = get("2captcha").catalog
    assert (acme.name, acme.family, acme.base_url, acme.docs) == (
        "acme", "acme", "https://api.acme.example", "https://docs.acme.example",
    )  # fmt: skip
    assert set(acme.errors) == set(parent.errors) and len(acme.tasks.tasks) == len(parent.tasks.tasks)
    assert acme.errors["ERROR_ZERO_BALANCE"].provider == "acme"
    assert acme.tasks.timings == parent.tasks.timings and acme.ban_rules == parent.ban_rules
    assert not acme.unconfirmed and not acme.mirrors
    assert check_provider(tmp_path / "acme.toml") == []


def test_what_it_says_itself_replaces_single_keys(tmp_path: Path) -> None:
    acme = load(tmp_path, HEAD.replace('title = "Acme"', 'title = "Acme"\ncurrency = "EUR"') + """
[timing.token]
min_gap_s = 9

[images]
side_max = 500

[errors.ERROR_CAPTCHA_UNSOLVABLE]
charged = "yes"

[errors.ERROR_ACME]
code = "no_funds"
meaning = "Acme is broke."
action = "Wait."
""")  # fmt: skip
    assert acme.currency == "EUR"
    token = acme.tasks.timings["token"]
    assert (token.min_first_s, token.min_gap_s) == (10, 9)
    assert acme.tasks.images.side_max == 500 and acme.tasks.images.bytes_max == 102_400
    row = acme.errors["ERROR_CAPTCHA_UNSOLVABLE"]
    assert (row.code, row.charged) == (Code.UNSOLVABLE, Charged.YES)
    assert row.source == "https://docs.acme.example"  # 2Captcha's page has not said this
    assert "2captcha.com" in acme.errors["ERROR_ZERO_BALANCE"].source
    assert acme.errors["ERROR_ACME"].code is Code.NO_FUNDS and len(acme.errors) == 21


def test_tasks_replace_those_of_the_same_challenge_and_rules_those_of_the_same_name(tmp_path: Path) -> None:
    acme = load(tmp_path, HEAD + """
[[tasks]]
challenge = "RecaptchaV2"
type = "GoogleV2"
[tasks.fields]
website_url = "page"
website_key = "key"

[[ban_rules]]
name = "improper-use"
count_max = 10
window_s = 60
penalty_s = 60
vendor_code = "ERROR_IP_BLOCKED"
scope = "address"
""")  # fmt: skip
    assert [spec.type for spec in acme.tasks.specs_for("RecaptchaV2")] == ["GoogleV2"]
    assert acme.tasks.specs_for("RecaptchaV3")[0].type == "RecaptchaV3TaskProxyless"
    assert [(rule.name, rule.count_max) for rule in acme.ban_rules] == [("improper-use", 10)]


def test_only_what_is_named_is_inherited_and_an_empty_text_takes_a_key_away(tmp_path: Path) -> None:
    head = HEAD.replace('title = "Acme"', 'title = "Acme"\ninherits = ["errors", "ban_rules"]\ncallback_field = ""')
    acme = load(tmp_path, head.replace("schema = 1", 'schema = 1\nerror_ids = "flag"\nstyle = "chinese"'))
    assert acme.tasks.tasks == () and acme.tasks.methods == {} and len(acme.errors) == 20
    assert acme.callback_field is None and acme.soft_id_field == "softId"
    assert acme.style is Style.CHINESE
    assert acme.ids == {} and acme.errors["ERROR_ZERO_BALANCE"].error_ids == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"2captcha"', '"nobody"'), r"acme.toml: provider.extends: 'nobody' is no built-in provider"),
        (('"2captcha"', "5"), r"acme.toml: provider.extends: must be a text"),
        (('"2captcha"', '"2captcha"\ninherits = ["prices"]'), r"acme.toml: provider.inherits: 'prices' is not one of"),
        (('"2captcha"', '"2captcha"\ncolour = "red"'), r"acme.toml: provider.colour: no such key"),
        (("schema = 1", "schema = 1\n[[tasks]]\nchallenge = 5"), r"acme.toml: "),
        (("schema = 1", "tasks = 5\nschema = 1"), r"acme.toml: "),
    ],
)
def test_each_mistake_is_refused_by_file_and_key(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(tmp_path, HEAD.replace(*change))


@pytest.mark.parametrize(
    "table", ["tasks = 5", "errors = 5", "timing = []", "ban_rules = 1", "methods = 1", "images = 3"]
)
def test_tables_of_the_wrong_type_are_refused(tmp_path: Path, table: str) -> None:
    with pytest.raises(ConfigurationError, match=r"acme.toml: "):
        load(tmp_path, table + "\n" + HEAD)


# The two that come built in.


def test_rucaptcha_is_2captcha_at_another_address_in_roubles() -> None:
    ours, parent = get("rucaptcha").catalog, get("2captcha").catalog
    assert (ours.base_url, ours.currency, ours.family) == ("https://api.rucaptcha.com", "RUB", "2captcha")
    assert parent.family == "2captcha"
    picture = ImageToText(b"GIF89a" + bytes([100, 0, 100, 0]) + bytes(200), language_pool="rn")
    prepared = get("rucaptcha").prepare(picture)
    assert get("rucaptcha").submit_fields(prepared)["languagePool"] == "rn"
    assert prepared.timing.min_gap_s == 5


def test_nextcaptcha_speaks_integers_and_the_status_pending() -> None:
    ours = get("nextcaptcha").catalog
    assert ours.family == "nextcaptcha" and ours.task_id == "integer"
    assert ours.processing_statuses == {"processing", "pending"} and ours.failed_statuses == {"failed"}
    fields = get("nextcaptcha").submit_fields(
        get("nextcaptcha").prepare(RecaptchaV2("https://a.example", "KEY")), soft_id=7
    )
    assert fields["solftId"] == 7
    assert all(row.charged is Charged.UNKNOWN for row in ours.errors.values())
    assert not any(spec.confirmed for spec in ours.tasks.tasks)


def test_one_parent_is_read_whole_through_two_steps(tmp_path: Path) -> None:
    acme = load(tmp_path, HEAD.replace('"2captcha"', '"rucaptcha"'))
    assert acme.currency == "RUB" and acme.family == "acme" and len(acme.errors) == 20
