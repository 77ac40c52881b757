"""A vendor that somebody adds by a catalog alone can be emulated: its own codes, ids and ban rules, no Python."""

import json
import random
from pathlib import Path

import pytest

from anycap import providers
from anycap.emulator import Emulator, ManualClock
from anycap.emulator.dialects import DIALECTS
from anycap.emulator.model import Vendor
from anycap.emulator.vendor_rules import catalog_of, rules_of
from anycap.errors import ConfigurationError
from anycap.providers import adapter_for
from anycap.providers.catalog import load

TOML = """
[provider]
schema = 1
name = "tea-captcha"
title = "Tea Captcha"
style = "chinese"
base_url = "https://api.tea.example"
docs = "https://tea.example/docs"
currency = "leaves"
task_id = "integer"
error_ids = "catalogue"
ready_statuses = ["ready"]
processing_statuses = ["processing"]
charges_failures = true
callback_field = "callbackUrl"

[[ban_rules]]
name = "wrong-keys"
count_max = 3
window_s = 60
penalty_s = 10
vendor_code = "TEA_TOO_HOT"
scope = "address"
codes = ["invalid_key"]
source = "made up"

[timing.token]
first_s = 1
gap_s = 1
min_gap_s = 4
source = "made up"

[[tasks]]
challenge = "Turnstile"
type = "TeaTurnstile"
fields = { website_url = "websiteURL", website_key = "websiteKey" }
source = "made up"

[methods.complain]
required = ["taskId"]
reports = "incorrect"
source = "made up"

[errors.TEA_NO_SUCH_KEY]
ids = [7]
code = "invalid_key"
charged = "no"
meaning = "No such key."
action = "Fix it."
source = "made up"

[errors.TEA_TOO_HOT]
ids = [8]
code = "ip_blocked"
charged = "no"
meaning = "Blocked."
action = "Wait."
source = "made up"

[errors.TEA_SPILT]
ids = [9]
code = "unsolvable"
charged = "yes"
meaning = "Spilt."
action = "Again."
source = "made up"
"""
TASK = {"type": "TeaTurnstile", "websiteURL": "https://example.com/", "websiteKey": "k"}


@pytest.fixture
def tea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "tea-captcha.toml"
    path.write_text(TOML)
    monkeypatch.setitem(providers._adapters, "tea-captcha", adapter_for(load(path)))
    return "tea-captcha"


def test_it_speaks_in_the_manner_of_its_style_with_its_own_codes(tea: str) -> None:
    clock = ManualClock()
    vendor = Vendor(tea, clock=clock, rng=random.Random(1), key="KEY", solve_time=5.0)
    assert vendor.create("KEY", TASK).fields == {
        "errorId": 0,
        "errorCode": "",
        "errorDescription": "",
        "taskId": 7654321,
    }
    wrong = vendor.create("BAD", TASK).fields
    assert (wrong["errorId"], wrong["errorCode"]) == (7, "TEA_NO_SUCH_KEY")
    clock.advance(5)
    assert vendor.result("KEY", 7654321).fields["status"] == "ready"
    assert vendor.call("complain", {"clientKey": "KEY", "taskId": 7654321}).fields["status"] == "success"


def test_its_ban_rules_hold(tea: str) -> None:
    clock = ManualClock()
    vendor = Vendor(tea, clock=clock, rng=random.Random(1), key="KEY")
    assert [vendor.create("BAD", TASK).code for _ in range(4)] == ["TEA_NO_SUCH_KEY"] * 3 + ["TEA_TOO_HOT"]


def test_it_charges_failures_when_its_catalog_says_so(tea: str) -> None:
    clock = ManualClock()
    vendor = Vendor(tea, clock=clock, rng=random.Random(1), key="KEY", solve_time=1.0, failure_rate=1.0)
    vendor.create("KEY", TASK)
    clock.advance(1)
    assert vendor.result("KEY", 7654321).fields["errorCode"] == "TEA_SPILT"
    assert vendor.ledger.charged == 15


def test_it_stands_in_a_world_under_its_name_and_its_host(tea: str) -> None:
    emulator = Emulator(providers=[tea, "capmonster"], clock=ManualClock())
    assert emulator.route("https://api.tea.example/createTask") == (tea, "createTask")
    assert emulator.route(emulator.base_url(tea) + "/createTask") == (tea, "createTask")
    body = json.dumps({"clientKey": "emulator-key"}).encode()
    assert json.loads(emulator.exchange(tea, "getBalance", body).body)["errorId"] == 0


def test_a_vendor_nobody_provides_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="nobody"):
        Emulator(providers=["nobody"])
    with pytest.raises(KeyError, match="no vendor 'yescaptcha'"):
        Emulator(providers=["capmonster"]).base_url("yescaptcha")


@pytest.mark.parametrize("provider", sorted(DIALECTS))
def test_every_code_our_vendors_send_is_in_their_catalog(provider: str) -> None:
    known = set(rules_of(catalog_of(provider)).shared_codes)
    assert set(DIALECTS[provider].codes.values()) - known == set()
