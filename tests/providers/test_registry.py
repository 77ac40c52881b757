"""Which providers there are: built-in ones, those of installed packages, and what is said about a wrong name."""

import importlib.metadata
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anycap import providers
from anycap.errors import ConfigurationError, UnsupportedMethod
from anycap.providers import BUILT_IN, COMPATIBLE, adapter_for, as_adapter, from_file, get, names
from anycap.providers.adapter import Adapter
from anycap.providers.anti_captcha import AntiCaptchaAdapter
from anycap.providers.capmonster import CapMonsterAdapter
from anycap.providers.catalog import BUILT_IN_FILES, load
from anycap.providers.chinese import ChineseAdapter
from tests.providers_toy import TOY


@pytest.fixture
def toy_path(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Pretends that a package with an entry point is installed."""
    points: list[importlib.metadata.EntryPoint] = []
    module = types.ModuleType("toy_package")
    monkeypatch.setitem(sys.modules, "toy_package", module)

    def add(name: str, thing: Any) -> None:
        attribute = f"thing{len(points)}"
        setattr(module, attribute, thing)
        points.append(importlib.metadata.EntryPoint(name, f"toy_package:{attribute}", "anycap.providers"))

    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        return points if group == "anycap.providers" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(providers, "_adapters", {})
    return add


def test_the_built_in_ones_and_their_styles() -> None:
    assert BUILT_IN == (
        "anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver", "rucaptcha", "nextcaptcha",
    )  # fmt: skip
    assert set(BUILT_IN) | set(COMPATIBLE) == BUILT_IN_FILES
    assert {name: type(get(name)) for name in BUILT_IN} == {
        "anti-captcha": AntiCaptchaAdapter, "capmonster": CapMonsterAdapter, "yescaptcha": ChineseAdapter,
        "ezcaptcha": ChineseAdapter, "2captcha": AntiCaptchaAdapter, "capsolver": ChineseAdapter,
        "rucaptcha": AntiCaptchaAdapter, "nextcaptcha": AntiCaptchaAdapter,
    }  # fmt: skip


def test_an_adapter_is_made_once() -> None:
    assert get("yescaptcha") is get("yescaptcha")
    assert repr(get("yescaptcha")) == "<ChineseAdapter adapter of yescaptcha>"


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("anticaptcha", "anti-captcha"),
        ("CapMonster", "capmonster"),
        ("yes-captcha", "yescaptcha"),
        ("2-captcha", "2captcha"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(wrong: str, close: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        get(wrong)
    text = str(caught.value)
    assert repr(wrong) in text and f"Did you mean {close!r}?" in text
    assert all(name in text for name in BUILT_IN)


@pytest.mark.parametrize("wrong", ["", "zzz", None, 5, ["anti-captcha"], "../data/anti-captcha"])
def test_no_name_at_all_lists_the_known_ones(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="Known: anti-captcha, capmonster"):
        get(wrong)


@pytest.mark.parametrize("form", ["path", "text", "catalog", "adapter", "function", "class"])
def test_a_package_may_offer_a_path_a_catalog_an_adapter_or_a_function(
    installed: Callable[[str, Any], None], toy_path: Path, form: str
) -> None:
    offered: dict[str, Any] = {
        "path": toy_path,
        "text": str(toy_path),
        "catalog": load(toy_path),
        "adapter": adapter_for(load(toy_path)),
        "function": lambda: toy_path,
        "class": lambda: AntiCaptchaAdapter(load(toy_path)),
    }
    installed("toy", offered[form])
    assert names() == (*BUILT_IN, *COMPATIBLE, "toy")
    adapter = get("toy")
    assert isinstance(adapter, Adapter) and adapter.catalog.title == "Toy"
    assert get("toy") is adapter


def test_a_subclass_of_a_style_is_taken_as_it_is(installed: Callable[[str, Any], None], toy_path: Path) -> None:
    class Odd(ChineseAdapter):
        pass

    installed("toy", lambda: Odd(load(toy_path)))
    assert type(get("toy")) is Odd


def test_a_package_cannot_replace_a_built_in_provider(installed: Callable[[str, Any], None], toy_path: Path) -> None:
    installed("anti-captcha", toy_path)
    assert get("anti-captcha").catalog.title == "anti-captcha.com"
    assert names() == (*BUILT_IN, *COMPATIBLE)


@pytest.mark.parametrize("name", ["anti.captcha", "anticaptcha", "2-captcha", "cap.monster", "compati-ble"])
def test_a_package_is_not_given_the_key_of_a_provider_whose_name_differs_in_punctuation_only(
    installed: Callable[[str, Any], None], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(TOY.replace('name = "toy"', f'name = "{name}"'))
    installed(name, path)
    with pytest.raises(ConfigurationError, match="would be given that one's key"):
        get(name)


def test_two_packages_cannot_share_a_key(installed: Callable[[str, Any], None], toy_path: Path) -> None:
    installed("toy", toy_path)
    installed("to.y", toy_path)
    for name in ("toy", "to.y"):
        with pytest.raises(ConfigurationError, match="has the name of"):
            get(name)


@pytest.mark.parametrize("name", ["anti-captcha", "anti.captcha", "compatible", "rucaptcha"])
def test_a_file_of_the_users_cannot_take_a_providers_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(TOY.replace('name = "toy"', f'name = "{name}"'))
    with pytest.raises(ConfigurationError, match=r"acme.toml: provider.name: .* is taken"):
        from_file(path)


def test_a_file_of_the_users_is_read_anew_each_time(toy_path: Path) -> None:
    assert from_file(toy_path).catalog.name == "toy"
    assert from_file(toy_path) is not from_file(toy_path)


@pytest.mark.parametrize("thing", [5, None, object(), ["path"], lambda: 5, lambda: lambda: None])
def test_an_entry_point_that_gives_something_else(installed: Callable[[str, Any], None], thing: Any) -> None:
    installed("toy", thing)
    with pytest.raises(ConfigurationError, match="a path to a TOML, a Catalog, an Adapter"):
        get("toy")


def test_an_entry_point_whose_catalog_has_another_name(installed: Callable[[str, Any], None], toy_path: Path) -> None:
    installed("joy", toy_path)
    with pytest.raises(ConfigurationError, match="'joy': its catalog says that it is called 'toy'"):
        get("joy")


def test_an_entry_point_that_cannot_be_loaded(
    installed: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = importlib.metadata.EntryPoint("toy", "no_such_module_anywhere:x", "anycap.providers")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: [point])
    with pytest.raises(ConfigurationError, match="entry point 'no_such_module_anywhere:x' cannot be loaded"):
        get("toy")


def test_as_adapter_names_where_the_thing_came_from() -> None:
    with pytest.raises(ConfigurationError, match=r"^here: .*not int"):
        as_adapter(5, where="here")


# Requests ------------------------------------------------------------------------------------------------------------


class _Prepared:
    task = {"type": "ImageToTextTask", "body": "QUJD"}
    top_fields: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("anti-captcha", "softId"),
        ("capmonster", "softId"),
        ("yescaptcha", "softId"),
        ("2captcha", "softId"),
        ("capsolver", "appId"),
    ],
)
def test_soft_id_goes_where_the_vendor_wants_it(provider: str, field: str) -> None:
    prepared: Any = _Prepared()
    assert get(provider).submit_fields(prepared, soft_id=55) == {"task": _Prepared.task, field: 55}
    assert get(provider).submit_fields(prepared) == {"task": _Prepared.task}


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "2captcha"])
def test_callback_url(provider: str) -> None:
    prepared: Any = _Prepared()
    fields = get(provider).submit_fields(prepared, callback_url="https://example.com/cb")
    assert fields == {"task": _Prepared.task, "callbackUrl": "https://example.com/cb"}


@pytest.mark.parametrize("provider", ["yescaptcha", "ezcaptcha", "capsolver"])
def test_a_callback_where_there_is_none_is_refused_before_sending(provider: str) -> None:
    prepared: Any = _Prepared()
    with pytest.raises(ConfigurationError, match="has no callbacks"):
        get(provider).submit_fields(prepared, callback_url="https://example.com/cb")


def test_call_fields_refuses_a_key_and_createTask() -> None:
    adapter = get("anti-captcha")
    assert adapter.call_fields("getQueueStats", {"queueId": 6}) == {"queueId": 6}
    with pytest.raises(ConfigurationError, match="clientKey"):
        adapter.call_fields("getBalance", {"clientKey": "secret"})
    with pytest.raises(ConfigurationError, match="costs money"):
        adapter.call_fields("createTask", {"task": {}})


@pytest.mark.parametrize(
    "method", ["", "../x", "get/Balance", "getBalance?x=1", "a b", "getBalance\r\nX: y", "é", "x" * 65, "1x", "//h"]
)
def test_a_method_that_could_change_the_address_is_refused(method: str) -> None:
    for provider in BUILT_IN:
        with pytest.raises(UnsupportedMethod):
            get(provider).path(method)
        with pytest.raises(UnsupportedMethod):
            get(provider).call_fields(method, {})


@pytest.mark.parametrize("provider", BUILT_IN)
@pytest.mark.parametrize("method", ["createTask", "getTaskResult", "getBalance", "someNewMethod"])
def test_paths(provider: str, method: str) -> None:
    assert get(provider).path(method) == f"/{method}"
