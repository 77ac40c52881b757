"""A catalog's task tables are read strictly, and what the built-in ones say agrees with the vendors' pages."""

from __future__ import annotations

from typing import Any

import pytest

from anycap.challenges import KINDS
from anycap.errors import ConfigurationError, ReportRefused, UnsupportedMethod
from anycap.providers import BUILT_IN, get
from anycap.providers.matrix import cell_of, challenge_matrix, method_matrix
from anycap.providers.reports import report_method
from anycap.providers.task_tables import load_tasks

GOOD: dict[str, Any] = {
    "challenge": "Turnstile",
    "type": "TurnstileTask",
    "fields": {"website_url": "websiteURL", "website_key": "websiteKey"},
}


def with_task(**changes: Any) -> dict[str, Any]:
    return {"provider": {"name": "toy"}, "tasks": [{**GOOD, **changes}]}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (with_task(challenge="Turnstil"), "'Turnstil' is not one of"),
        (with_task(type=None), "type: is missing"),
        (with_task(tpye="x"), "tpye: no such key; is type meant?"),
        (with_task(timing="slow"), "timing: 'slow' is not one of"),
        (with_task(solution="tokens"), "solution: 'tokens' is not one of"),
        (
            with_task(fields={"site_key": "k"}),
            "Turnstile has no field site_key; it has action, api_js_url, cdata, page_data, user_agent,",
        ),
        (with_task(required=["site_key"]), "Turnstile has no field site_key"),
        (with_task(when={"site_key": 1}), "Turnstile has no field site_key"),
        (with_task(fields={"website_url": ""}), "where a field goes must be text"),
        (with_task(fields={"website_url": "websiteURL:upper"}), "unknown conversion"),
        (with_task(fields=["website_url"]), "fields: must be a table"),
        (with_task(ranges={"action": [1, 2, 3]}), "ranges.action: must be two numbers"),
        (with_task(ranges={"action": ["a", "b"]}), "ranges.action: must be two numbers"),
        (with_task(ranges={"action": [2, 1]}), "ranges.action: must be two numbers"),
        (with_task(ranges={"action": "1-2"}), "ranges.action: must be a list"),
        (with_task(allowed={"action": "login"}), "allowed.action: must be a list"),
        (with_task(proxy={"form": "csv"}), "form: 'csv' is not one of"),
        (with_task(variants={"X": {"tming": "a"}}), "tming: no such key"),
        ({"timing": {"token": {"first_s": -1}}}, "first_s: must be from 0 to 1,000,000,000"),
        ({"timing": {"token": {"first_s": True}}}, "first_s: must be a number"),
        ({"timing": {"token": {"polls_max": 0}}}, "polls_max: must be from 1 to 1,000,000,000"),
        ({"images": {"bytes_max": "500 kB"}}, "bytes_max: must be a whole number"),
        ({"methods": {"getBalance": {"verb": "PUT"}}}, "verb: 'PUT' is not one of"),
        ({"methods": {"report": {"reports": "wrong"}}}, "reports: 'wrong' is not one of"),
        ({"methods": {"report": {"kinds": ["Captcha"]}}}, "these are no challenges: Captcha"),
    ],
)
def test_mistake_in_a_catalog_is_named_with_file_and_key(raw: dict[str, Any], sentence: str) -> None:
    if raw.get("tasks") and raw["tasks"][0].get("type", "") is None:
        del raw["tasks"][0]["type"]
    with pytest.raises(ConfigurationError) as caught:
        load_tasks(raw, file="toy.toml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("toy.toml: ")


def test_every_challenge_is_solved_by_somebody() -> None:
    solved = {spec.challenge for name in BUILT_IN for spec in get(name).catalog.tasks.tasks}
    assert solved == set(KINDS) - {"VendorTask"}


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_row_and_method_names_its_source(provider: str) -> None:
    book = get(provider).catalog.tasks
    assert all(spec.source for spec in book.tasks) and all(spec.source for spec in book.methods.values())


def test_what_no_vendor_page_confirms_is_marked() -> None:
    unconfirmed = {
        name: {spec.challenge for spec in get(name).catalog.tasks.tasks if not spec.confirmed} for name in BUILT_IN
    }
    assert unconfirmed == {
        "anti-captcha": {"HCaptcha"},
        "capmonster": set(),
        "yescaptcha": {"HCaptcha", "FunCaptcha", "HCaptchaGrid", "FunCaptchaGrid"},
        "ezcaptcha": {"HCaptcha"},
        "2captcha": {"Yidun", "RecaptchaGrid", "Alibaba"},
        "capsolver": {"FriendlyCaptcha", "RotateImage"},
        "rucaptcha": {"Yidun", "RecaptchaGrid", "Alibaba"},
        "nextcaptcha": {"RecaptchaV2", "RecaptchaV3", "HCaptcha", "FunCaptcha"},
    }
    methods = {(name, m) for name in BUILT_IN for m, s in get(name).catalog.tasks.methods.items() if not s.confirmed}
    assert methods == {
        ("anti-captcha", "test"), ("ezcaptcha", "getBalance"), ("nextcaptcha", "createTask"), ("nextcaptcha", "getBalance"),
    }  # fmt: skip


@pytest.mark.parametrize("provider", BUILT_IN)
def test_index_of_a_book_finds_what_a_search_finds(provider: str) -> None:
    book = get(provider).catalog.tasks
    for kind in KINDS:
        assert book.specs_for(kind) == tuple(spec for spec in book.tasks if spec.challenge == kind)
    named = [(name, variant.timing) for spec in book.tasks for name, variant in spec.variants.items()]
    named += [(name, spec.timing) for spec in book.tasks for name in (spec.type, spec.type_with_proxy) if name]
    for vendor_type in dict(named):
        assert book.timing_of(vendor_type) == next(timing for name, timing in named if name == vendor_type)
    assert book.specs_for("NoSuchChallenge") == ()
    assert book.timing_of("NoSuchTask") == book.timings.get("default", book.timings["token"])


# Methods, from the reference pages


@pytest.mark.parametrize(
    ("provider", "methods"),
    [
        (
            "anti-captcha",
            (
                "createTask getTaskResult getBalance getQueueStats getSpendingStats getAppStats reportIncorrectImageCaptcha "
                "reportIncorrectRecaptcha reportCorrectRecaptcha reportIncorrectHcaptcha pushAntiGateVariable test"
            ),
        ),
        (
            "capmonster",
            (
                "createTask getTaskResult getBalance getUserAgent reportIncorrectImageCaptcha reportIncorrectTokenCaptcha "
                "reportIncorrectRecaptcha"
            ),
        ),
        ("yescaptcha", "createTask getTaskResult getBalance getSoftID"),
        ("ezcaptcha", "createTask getTaskResult getBalance"),
        ("2captcha", "createTask getTaskResult getBalance reportCorrect reportIncorrect test"),
        ("capsolver", "createTask getTaskResult getBalance getToken feedbackTask feedbackTaskCorrect"),
    ],
)
def test_methods_are_those_of_the_vendor(provider: str, methods: str) -> None:
    assert set(get(provider).catalog.tasks.methods) == set(methods.split())


def test_only_queue_statistics_and_the_user_agent_go_without_a_key() -> None:
    keyless = {
        (name, spec.name) for name in BUILT_IN for spec in get(name).catalog.tasks.methods.values() if not spec.keyed
    }
    assert keyless == {("anti-captcha", "getQueueStats"), ("capmonster", "getUserAgent")}
    agent = get("capmonster").catalog.tasks.methods["getUserAgent"]
    assert (agent.verb, agent.url) == ("GET", "https://capmonster.cloud/api/useragent/actual")


def test_reading_methods_are_marked_as_such() -> None:
    methods = get("anti-captcha").catalog.tasks.methods
    changing = {name for name, spec in methods.items() if not spec.read_only}
    assert changing == {
        "createTask", "reportIncorrectImageCaptcha", "reportIncorrectRecaptcha", "reportCorrectRecaptcha",
        "reportIncorrectHcaptcha", "pushAntiGateVariable",
    }  # fmt: skip


# Reports


@pytest.mark.parametrize(
    ("provider", "kind", "correct", "method"),
    [
        ("anti-captcha", "ImageToText", False, "reportIncorrectImageCaptcha"),
        ("anti-captcha", "RecaptchaV2", False, "reportIncorrectRecaptcha"),
        ("anti-captcha", "RecaptchaV3", False, "reportIncorrectRecaptcha"),
        ("anti-captcha", "RecaptchaV3", True, "reportCorrectRecaptcha"),
        ("anti-captcha", "HCaptcha", False, "reportIncorrectHcaptcha"),
        ("capmonster", "ImageToText", False, "reportIncorrectImageCaptcha"),
        ("capmonster", "Turnstile", False, "reportIncorrectTokenCaptcha"),
        ("capmonster", "GeeTestV4", False, "reportIncorrectTokenCaptcha"),
        ("2captcha", "Prosopo", True, "reportCorrect"),
        ("2captcha", "VendorTask/RotateTask", False, "reportIncorrect"),
        ("capsolver", "RecaptchaV2", False, "feedbackTask"),
        ("capsolver", "RecaptchaV2", True, "feedbackTaskCorrect"),
    ],
)
def test_report_goes_to_the_method_of_the_solved_kind(provider: str, kind: str, correct: bool, method: str) -> None:
    assert report_method(get(provider).catalog, kind, correct=correct).name == method


def test_anti_captcha_takes_reports_for_60_s_and_counts_from_100_tasks_a_day() -> None:
    spec = report_method(get("anti-captcha").catalog, "RecaptchaV2", correct=False)
    assert (spec.window_s, spec.volume_min, spec.volume_window_s) == (60, 100, 86_400)
    assert report_method(get("anti-captcha").catalog, "ImageToText", correct=False).languages == ("en",)
    assert report_method(get("capmonster").catalog, "ImageToText", correct=False).window_s is None


def test_capsolver_feedback_says_which_way_it_means() -> None:
    catalog = get("capsolver").catalog
    wrong, right = (report_method(catalog, "RecaptchaV2", correct=correct) for correct in (False, True))
    assert (wrong.path, wrong.constants) == ("feedbackTask", {"result": {"invalid": True}})
    assert (right.path, right.constants) == ("feedbackTask", {"result": {"invalid": False}})


def test_report_about_the_wrong_kind_is_refused_naming_the_right_ones() -> None:
    with pytest.raises(ReportRefused, match="RecaptchaV2, RecaptchaV3, not for ImageToText"):
        report_method(get("anti-captcha").catalog, "ImageToText", correct=True)


@pytest.mark.parametrize("provider", ["yescaptcha", "ezcaptcha"])
def test_vendor_without_reports_says_so(provider: str) -> None:
    with pytest.raises(UnsupportedMethod, match="takes no reports"):
        report_method(get(provider).catalog, "RecaptchaV2", correct=False)
    with pytest.raises(UnsupportedMethod, match="correct"):
        report_method(get("capmonster").catalog, "RecaptchaV2", correct=True)


# The tables of the docs


def test_challenge_matrix_has_a_row_per_challenge_and_a_cell_per_vendor() -> None:
    rows = {row.challenge: row.cells for row in challenge_matrix(BUILT_IN)}
    assert len(rows) == len(KINDS) - 1 and all(len(cells) == 8 for cells in rows.values())
    anti_captcha, capmonster, yescaptcha, *_ = rows["RecaptchaV3"]
    assert anti_captcha.types == ("RecaptchaV3TaskProxyless",) and anti_captcha.proxy == "no"
    assert capmonster.types == ("RecaptchaV3TaskProxyless", "RecaptchaV3EnterpriseTask")
    assert "RecaptchaV3TaskProxylessM1S7" in yescaptcha.variants
    assert rows["Turnstile"][1].proxy == "optional" and not rows["HCaptcha"][3].confirmed
    assert rows["Prosopo"][2].types == ()


def test_method_matrix_has_a_row_per_method_and_a_cell_per_vendor() -> None:
    rows = {row.method: row.cells for row in method_matrix(BUILT_IN)}
    assert all(cell is not None for cell in rows["getBalance"])
    assert [cell is not None for cell in rows["getQueueStats"]] == [True, *[False] * 7]


def test_report_about_an_image_of_another_language_pool_is_refused() -> None:
    catalog = get("anti-captcha").catalog
    assert (
        report_method(catalog, "ImageToText", correct=False, language_pool="en").name == "reportIncorrectImageCaptcha"
    )
    with pytest.raises(ReportRefused, match="language pool en only, not rn"):
        report_method(catalog, "ImageToText", correct=False, language_pool="rn")


def test_matrix_tells_whether_a_proxy_is_needed() -> None:
    def proxy_of(*rows: dict[str, Any]) -> str:
        tasks = [{**{key: value for key, value in GOOD.items() if key != "type"}, **row} for row in rows]
        return cell_of(load_tasks({"tasks": tasks}).tasks).proxy

    needs, takes, none = {"with_proxy": "P"}, {"type": "T", "with_proxy": "P"}, {"type": "T"}
    assert proxy_of(needs) == "required" and proxy_of(takes) == "optional" and proxy_of(none) == "no"
    assert proxy_of(needs, none) == "optional"
