"""What single vendors document and the others do not: where a field goes, what is refused before sending, what costs money."""

from typing import Any

import pytest

from anycap.challenges import AmazonWaf, RecaptchaGrid, RecaptchaV2
from anycap.errors import ConfigurationError, InvalidChallenge
from anycap.providers import get
from anycap.providers.solutions import build
from anycap.results import CellsSolution
from anycap.taxonomy import Code
from anycap.transport import Answer

PAGE = "https://example.com"
GIF = b"GIF89a" + bytes([100, 0, 100, 0]) + bytes(200)


def task(provider: str, challenge: Any) -> dict[str, Any]:
    return dict(get(provider).prepare(challenge).task)


def test_capmonster_takes_ids_in_one_field_and_words_in_another() -> None:
    by_id = task("capmonster", RecaptchaGrid(GIF, "/m/015qff", grid="3x3"))
    in_words = task("capmonster", RecaptchaGrid(GIF, "Click on traffic lights", grid="3x3"))
    assert by_id["metadata"] == {"Grid": "3x3", "TaskDefinition": "/m/015qff"}
    assert in_words["metadata"] == {"Grid": "3x3", "Task": "Click on traffic lights"}


def test_2captcha_takes_words_and_says_so_of_an_id() -> None:
    with pytest.raises(
        InvalidChallenge, match="2captcha takes question in English words, such as 'cars', not the id '/m/0k4j'"
    ):
        task("2captcha", RecaptchaGrid(GIF, "/m/0k4j"))
    assert task("2captcha", RecaptchaGrid(GIF, "cars", grid="3x3"))["comment"] == "cars"


@pytest.mark.parametrize("name", ["iv", "context"])
def test_anti_captcha_refuses_an_amazon_task_that_lacks_a_field(name: str) -> None:
    fields = {"iv": "IV", "context": "CONTEXT"}
    del fields[name]
    with pytest.raises(InvalidChallenge, match=f"anti-captcha needs {name} for this"):
        task("anti-captcha", AmazonWaf(PAGE, "KEY", **fields))


def test_capmonsters_challenge_script_alone_leaves_the_other_amazon_fields_empty() -> None:
    sent = task("capmonster", AmazonWaf(PAGE, challenge_script="https://example.com/challenge.js"))
    assert {name: sent[name] for name in ("websiteKey", "captchaScript", "context", "iv")} == dict.fromkeys(
        ("websiteKey", "captchaScript", "context", "iv"), ""
    )
    with pytest.raises(InvalidChallenge, match="capmonster needs iv for this"):
        task("capmonster", AmazonWaf(PAGE, "KEY", challenge_script="https://example.com/challenge.js"))
    with pytest.raises(InvalidChallenge, match="capmonster needs captcha_script for this"):
        task("capmonster", AmazonWaf(PAGE, "KEY", iv="IV", context="CONTEXT"))


def test_ezcaptcha_has_types_of_its_own_for_the_one_time_value() -> None:
    plain = task("ezcaptcha", RecaptchaV2(PAGE, "KEY", data_s="ONCE", action="login"))
    assert (plain["type"], plain["s"], plain["sa"]) == ("ReCaptchaV2STaskProxyless", "ONCE", "login")
    enterprise = task("ezcaptcha", RecaptchaV2(PAGE, "KEY", data_s="ONCE", enterprise=True))
    assert (enterprise["type"], enterprise["s"]) == ("ReCaptchaV2SEnterpriseTaskProxyless", "ONCE")
    assert "enterprisePayload" not in enterprise


def test_ezcaptchas_turnstile_token_stands_where_its_page_says() -> None:
    body = {"status": "ready", "solution": {"gRecaptchaResponse": "TOKEN"}}
    assert get("ezcaptcha").solution("Turnstile", body, ticket=None, received_at=None).token == "TOKEN"  # type: ignore[attr-defined]


def test_capsolvers_get_token_costs_money_and_is_no_call() -> None:
    with pytest.raises(ConfigurationError, match="getToken costs money at CapSolver"):
        get("capsolver").call_fields("getToken", {"task": {}})
    assert get("capmonster").call_fields("getToken", {}) == {}


@pytest.mark.parametrize("method", ["createTask", "getTaskResult", "getBalance"])
def test_a_bare_402_means_no_funds(method: str) -> None:
    adapter = get("capmonster")
    answer = Answer(402, b"")
    read = {"createTask": adapter.read_submit, "getTaskResult": adapter.read_poll}
    parsed = read[method](answer) if method in read else adapter.read_call(method, answer)
    assert parsed.problem is not None and parsed.problem.row.code is Code.NO_FUNDS


def test_anti_captcha_wants_the_balance_asked_for_at_most_every_30_s() -> None:
    assert get("anti-captcha").catalog.tasks.methods["getBalance"].min_interval_s == 30
    assert get("capmonster").catalog.tasks.methods["getBalance"].min_interval_s is None


@pytest.mark.parametrize(("first", "cells"), [(0, (1, 5, 8)), (1, (0, 4, 7))])
def test_where_a_vendor_begins_to_count_cells_is_catalog_data(first: int, cells: tuple[int, ...]) -> None:
    from attrs import evolve

    catalog = get("2captcha").catalog
    specs = tuple(
        evolve(spec, cells_from=first) if spec.challenge == "RecaptchaGrid" else spec for spec in catalog.tasks.tasks
    )
    mine = evolve(catalog, tasks=evolve(catalog.tasks, tasks=specs))
    built = build(mine, "RecaptchaGrid", {"solution": {"click": [1, 5, 8]}})
    assert isinstance(built, CellsSolution)
    assert built.cells == cells and built.answer == [1, 5, 8]
