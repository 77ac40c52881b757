"""One list of options for vendors, emulator, marker and command line; a wrong one is refused by name."""

import random
from pathlib import Path
from typing import Any, get_type_hints

import attrs
import pytest

from anycap.credentials import Secret
from anycap.emulator import Emulator, ManualClock, Vendor
from anycap.emulator.options import VendorKeywords, VendorOptions
from anycap.errors import ConfigurationError
from tests.emulator.test_third_party_dialects import TASK, TOML
from tests.emulator.vendor_caller import Caller


def test_the_keywords_for_type_checkers_are_the_options() -> None:
    keywords = get_type_hints(VendorKeywords)
    options = {name: get_type_hints(VendorOptions)[name] for name in attrs.fields_dict(VendorOptions)}
    assert list(keywords) == list(options)
    assert keywords | {"key": Secret} == options  # a key given as text is wrapped


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"speed": 0}, "speed must be above 0"),
        ({"failure_rate": 1.5}, "failure_rate lies between 0 and 1"),
        ({"processing": "http_502"}, "processing is one of plain, not_ready, http_500, http_503, mixed"),
    ],
)
def test_a_wrong_option_is_refused_by_vendor_and_emulator_alike(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Emulator(**options)
    with pytest.raises(ConfigurationError, match=words):
        Vendor("capmonster", clock=ManualClock(), rng=random.Random(1), **options)


def test_the_key_is_kept_wrapped() -> None:
    emulator = Emulator(key="my-own-key")
    assert "my-own-key" not in str(vars(emulator))
    assert "my-own-key" not in str(vars(emulator["capmonster"]))


def test_a_vendor_comes_from_the_path_of_a_catalog(tmp_path: Path) -> None:
    path = tmp_path / "tea.toml"
    path.write_text(TOML)
    emulator = Emulator(providers=[path, "capmonster"], clock=ManualClock(), key="KEY")
    assert list(emulator.vendors) == ["tea-captcha", "capmonster"]
    assert emulator.base_url("tea-captcha") == "http://127.0.0.1/tea-captcha"
    assert emulator["tea-captcha"].create("KEY", TASK).fields["errorId"] == 0
    path.unlink()
    emulator.reset()  # reads no file again
    assert emulator["tea-captcha"].ledger.tasks == []


def test_a_path_without_a_catalog_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: the catalog cannot be read"):
        Emulator(providers=[Path("/nowhere.toml")])


@pytest.mark.parametrize("provider", ["anti-captcha", "2captcha"])
def test_an_error_without_a_number_of_its_own_does_not_borrow_1(provider: str) -> None:
    """1 is ERROR_KEY_DOES_NOT_EXIST in both lists: a client that reads ids alone would take it for a wrong key."""
    caller = Caller(provider)
    assert caller.vendor.error("ERROR_NOBODY_KNOWS", "createTask").fields["errorId"] == 999
    assert caller.call("getBalance", "WRONG")["errorId"] == 1


def test_where_ids_are_a_flag_every_error_has_1() -> None:
    assert Caller("capmonster").vendor.error("ERROR_NOBODY_KNOWS", "createTask").fields["errorId"] == 1


def test_a_template_name_that_is_no_text_is_refused_in_words() -> None:
    task = {"type": "AntiGateTask", "websiteURL": "https://example.com/", "templateName": ["x"], "variables": {}}
    assert "errorId" in Caller("anti-captcha").create(task)
