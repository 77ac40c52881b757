"""Whatever is given to a public constructor that is made from secrets, no exception of it shows one.

Every argument in turn gets a key, a login and a password in many shapes, and of what is raised every frame, note, cause and
attribute is searched.
"""

from __future__ import annotations

import inspect
import itertools
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import anycap
from anycap import Account, Challenge, Client, ConfigurationError, InvalidChallenge, Proxy, Secret

KEY = "canary0key0123456789abcdef0123456789"
PASSWORD = "canary:p@ss/word"
LOGIN = "canary-login-of-nobody"
CANARIES = (KEY, PASSWORD, "canary%3Ap%40ss", LOGIN)

SHAPES: dict[str, Any] = {
    "text": KEY, "bytes": KEY.encode(), "list": [KEY], "dict": {KEY: KEY}, "set": {KEY}, "password": PASSWORD,
    "url": f"http://{LOGIN}:canary%3Ap%40ss@192.0.2.7:8080", "bare": f"{LOGIN}:{PASSWORD}@192.0.2.7:8080",
    "two lines": f"{KEY}\n{KEY}", "nul": f"{KEY}\0", "NFKC": f"http://{LOGIN}:x@\u2100.example:80",
    "nested": {"a": [{"b": {KEY}}]}, "assignment": f"KEY={KEY}", "quoted": f'"{KEY}"',
    "exception": ValueError(KEY), "cookies": f"{KEY}={KEY}; ;={KEY}",
}  # fmt: skip

PAGE = {"website_url": "https://example.com", "website_key": "6Le-site-key"}
GIVEN: dict[str, dict[str, Any]] = {
    "Account": {"provider": "capmonster", "key": KEY},
    "Proxy": {"scheme": "http", "host": "192.0.2.7", "port": 8080, "login": LOGIN, "password": PASSWORD},
    "AmazonWaf": PAGE | {"iv": "iv", "context": "context"},
    "AntiGate": {"website_url": "https://example.com", "template_name": "t"},
    "ComplexImage": {"images": [b"\x89PNG\r\n\x1a\n"], "question": "q"},
    "Altcha": {"website_url": "https://example.com", "challenge": "c"},
}
CLASSES = [
    each
    for each in (getattr(anycap, name) for name in anycap.__all__)
    if inspect.isclass(each) and (each in (Account, Proxy) or (issubclass(each, Challenge) and each is not Challenge))
]


def everything_of(error: BaseException) -> Iterator[str]:
    """What an error reporter with locals would show, without the frames of this file, which hold the secrets."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            yield from (f"{frame.f_code.co_qualname}: {name}={_shown(value)}" for name, value in frame.f_locals.items())
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield from everything_of(other)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # half made; a reporter shows as much
        return "no repr"


def raises_without_showing(what: str, make: Callable[..., object], *args: Any, **kwargs: Any) -> bool:
    """Whether `make` raised; the error is searched."""
    try:
        make(*args, **kwargs)
    except Exception as error:
        shown = [line for line in everything_of(error) if any(canary in line for canary in CANARIES)]
        assert not shown, f"{what}: {type(error).__name__} shows it: {[line[:80] for line in shown]}"
        return True
    return False


@pytest.mark.parametrize("cls", CLASSES, ids=[each.__name__ for each in CLASSES])
def test_no_refused_argument_shows_a_secret(cls: type[Any]) -> None:
    names = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    good = GIVEN.get(cls.__name__, PAGE)
    refused = 0
    for name, (shape, value) in itertools.product([*names, "unknown"], SHAPES.items()):
        refused += raises_without_showing(f"{name} as {shape}", cls, **{**good, name: value})
    for shape, value in SHAPES.items():  # too many, in the wrong order
        refused += raises_without_showing(f"positional {shape}", cls, *[value] * len(names))
    assert refused > len(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_proxy_urls_secrets_and_clients_show_nothing_either(shape: str) -> None:
    value = SHAPES[shape]
    good = Account("capmonster", KEY)
    for work in (
        Proxy.from_url, Secret, Client, lambda: Client(good, value), lambda: Client(value, http=5),  # type: ignore[arg-type] # wrong
        lambda: Account(value, "capmonster"), lambda: Client(Account(value)), lambda: Client(good, good), Client,
        lambda: Client(Account(value, "capmonster"), value),
    ):  # fmt: skip
        takes = len(inspect.signature(work).parameters) > 0
        raises_without_showing(shape, work, *[value] * takes)


@pytest.mark.parametrize("make", [lambda: Client(KEY), lambda: Account(KEY, "capmonster"), lambda: Account("x" * 500)])
def test_a_key_in_the_place_of_a_name_is_not_repeated_and_the_order_is_told(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"A key is the second argument: Account\('anti-captcha', key\)"):
        make()


def test_a_name_with_a_slip_is_repeated() -> None:
    with pytest.raises(ConfigurationError, match="'anticaptcha'"):
        Client(Account("anticaptcha", KEY))


def test_a_whole_url_in_the_place_of_a_scheme_is_told_the_way() -> None:
    with pytest.raises(InvalidChallenge, match=r"Proxy\.from_url"):
        Proxy(f"http://{LOGIN}:{PASSWORD}@192.0.2.7", "192.0.2.7", 8080)
    with pytest.raises(InvalidChallenge, match=r"Proxy\.from_url"):
        anycap.Turnstile("https://example.com", "0x4", proxy="http://192.0.2.7:80")  # type: ignore[arg-type] # wrong


def test_the_search_finds_what_a_careless_constructor_shows() -> None:
    elsewhere: dict[str, Any] = {}
    exec(compile("def careless(key):\n    raise ValueError('refused')", "elsewhere", "exec"), elsewhere)
    with pytest.raises(AssertionError, match="ValueError shows it"):
        raises_without_showing("key", elsewhere["careless"], KEY)
