"""pytest fixtures: test your own code against emulated captcha vendors, without a network and without waiting.

Installing anycap registers this plugin (entry point `pytest11`). A client that is open and fast, in an async test:

    from anycap import RecaptchaV2

    async def test_my_page(anycap_client, anycap_emulator):
        solution = await anycap_client.solve(RecaptchaV2("https://example.com/", "6Le-site-key"))
        assert solution.token
        assert anycap_emulator["anti-captcha"].ledger.summary()["solved"] == 1

It works as it stands under pytest alone, pytest-asyncio and anyio's plugin: an async test that uses a fixture of ours, and
that no other plugin claims, is run here. Nothing of anycap is imported before a fixture is used.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.emulator.emulator import Emulator
    from anycap.emulator.in_process import InProcess
    from anycap.emulator.server import Urls
    from anycap.testing.emulated import VirtualTime
    from anycap.testing.offline import OfflineGuard

EMULATOR = "anycap_emulator"
CLIENT = "anycap_client"
VIRTUAL = "anycap_virtual"
_OURS = frozenset({EMULATOR, CLIENT, "anycap_transport", "anycap_emulator_url", "anycap_offline"})
_OTHERS = ("asyncio", "anyio", "trio", "tornasync", "twisted")
"""Markers by which plugins claim an async test."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line(
        "markers",
        f"{EMULATOR}(**options): options of anycap.emulator.Emulator for this test (seed, solve_time, slots, ...)",
    )
    config.addinivalue_line(
        "markers",
        f"{CLIENT}(*providers, **options): vendors with an account, and options of anycap.Client (settings, journal, ...), "
        "for anycap_client and anycap_virtual",
    )


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def anycap_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An `Emulator` of the four main vendors, seed 0; its ledgers are checked after the test.

    Its workers take 10 ms, unless the marker gives a `solve_time` or the test runs in virtual time.
    """
    from anycap.emulator.emulator import Emulator

    marker = request.node.get_closest_marker(EMULATOR)
    options = dict(marker.kwargs) if marker is not None else {}
    if VIRTUAL not in request.fixturenames:
        from anycap.testing.emulated import FAST_SOLVE_S

        options.setdefault("solve_time", FAST_SOLVE_S)
    emulator = Emulator(**options)
    yield emulator
    emulator.check()


@pytest.fixture
def anycap_transport(anycap_emulator: Emulator) -> InProcess:
    """The in-process door onto `anycap_emulator`, ready for `Client(..., http=anycap_transport)`."""
    from anycap.emulator.in_process import InProcess

    return InProcess(anycap_emulator)


@pytest.fixture
def anycap_emulator_url(anycap_emulator: Emulator) -> Iterator[Urls]:
    """Base URL per vendor of `anycap_emulator` on a loopback port, served from a thread while the test runs."""
    from anycap.emulator.thread import serve_in_thread

    with serve_in_thread(anycap_emulator) as urls:
        yield urls


@pytest.fixture
def anycap_client(request: pytest.FixtureRequest, anycap_emulator: Emulator) -> Client:
    """A `Client` of `anycap_emulator` for an async test: open while the test runs, about 15 ms a solve.

    It has one account, at anti-captcha; `@pytest.mark.anycap_client("capmonster", "yescaptcha", journal=...)` names the
    vendors and options of `Client`.
    """
    from anycap.emulator.in_process import InProcess
    from anycap.testing.emulated import FAST, emulated_client

    if not inspect.iscoroutinefunction(inspect.unwrap(request.function)):
        raise pytest.UsageError("anycap_client is for async tests; a plain test takes anycap_virtual")
    marker = request.node.get_closest_marker(CLIENT)
    providers, options = ((), {}) if marker is None else (marker.args, dict(marker.kwargs))
    options.setdefault("settings", FAST)
    if options.get("http") is None:
        options["http"] = InProcess(anycap_emulator, latency_s=0.0)
    return emulated_client(anycap_emulator, *providers, **options)


@pytest.fixture
def anycap_virtual(request: pytest.FixtureRequest, anycap_emulator: Emulator) -> VirtualTime:
    """Runs `async def scene(client)` in virtual time, for tests that are no coroutines: hours take milliseconds.

        def test_a_slow_day(anycap_virtual):
            async def scene(client):
                return await client.solve(CHALLENGE, timeout=1800)

            assert anycap_virtual(scene).token
            assert anycap_virtual.seconds < 1800

    The vendors are at `anycap_virtual.emulator`, the markers are those of `anycap_emulator` and `anycap_client`.
    """
    from anycap.testing.emulated import VirtualTime

    marker = request.node.get_closest_marker(CLIENT)
    providers, options = ((), {}) if marker is None else (marker.args, marker.kwargs)
    return VirtualTime(anycap_emulator, *providers, **options)


@pytest.fixture
def anycap_offline(monkeypatch: pytest.MonkeyPatch) -> OfflineGuard:
    """Refuses every address but this machine's while the test runs, with a message that names it.

    So a test whose stand-in does not cover anycap's own connections fails instead of reaching a vendor. For all tests of
    a run set `ANYCAP_OFFLINE=1`, which holds anycap's own connections alone.
    """
    from anycap.testing.offline import OfflineGuard

    monkeypatch.setenv("ANYCAP_OFFLINE", "1")
    guard = OfflineGuard()
    guard.install(monkeypatch)
    return guard


# -- async tests -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Let the test run with its client open. Whatever plugin runs it then takes the function that stands here."""
    if not isinstance(item, pytest.Function) or CLIENT not in item.fixturenames:
        return
    function = item.obj
    if inspect.iscoroutinefunction(function):
        item.obj = _with_open_client(function, item.funcargs[CLIENT])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test that uses a fixture of ours and that nobody else claims, on asyncio."""
    function = pyfuncitem.obj
    if (
        not inspect.iscoroutinefunction(function)
        or _OURS.isdisjoint(pyfuncitem.fixturenames)
        or _is_claimed(pyfuncitem)
    ):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # what pytest itself passes, see its pytest_pyfunc_call
    asyncio.run(function(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _with_open_client(
    function: Callable[..., Coroutine[Any, Any, object]], client: Any
) -> Callable[..., Coroutine[Any, Any, object]]:
    @functools.wraps(function)
    async def with_open_client(*args: object, **named: object) -> object:
        from anycap.errors import ClientClosed

        try:
            await client.open()
        except ClientClosed:  # an async fixture of the user's has opened it before
            pass
        try:
            return await function(*args, **named)
        finally:
            await client.aclose()

    return with_open_client


def _is_claimed(item: pytest.Function) -> bool:
    # pytest-asyncio (in its auto mode, too) makes items of a class of its own; anyio's plugin adds its backend's fixture.
    if type(item) is not pytest.Function or "anyio_backend" in item.fixturenames:
        return True
    return any(item.get_closest_marker(name) is not None for name in _OTHERS)
