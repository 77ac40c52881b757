"""The fixtures as users have them: under pytest alone, pytest-asyncio and anyio's plugin, in any order, and fast."""

import os
import re
import resource
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import respx

from anycap import Account, Client, ConfigurationError, DeadlineError, RecaptchaV2, Solution
from anycap.emulator import Emulator
from anycap.testing import VirtualTime, emulated_client
from anycap.testing.offline import OfflineGuard
from tests.testing.user_suite import SHUFFLE, SUITE

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
ALONE = ("-p", "no:asyncio", "-p", "no:anyio", "-p", "no:aiohttp")
ASYNCIO = ("-p", "no:anyio", "-p", "no:aiohttp", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = ("-p", "no:asyncio", "-p", "no:aiohttp")
PLUGINS = {
    "pytest alone": ALONE,
    "pytest-asyncio": ASYNCIO,
    "pytest-asyncio, auto": (*ASYNCIO, "-o", "asyncio_mode=auto"),
    "anyio": ANYIO,
    "anyio, auto": (*ANYIO, "-o", "anyio_mode=auto"),
}
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist", "-p", "no:randomly")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test file in a pytest of its own; warnings are errors there."""

    def run(text: str, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_user.py").write_text(textwrap.dedent(text))
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error", *QUIET, *options],
            cwd=tmp_path, env={**os.environ, "PYTEST_ADDOPTS": "", **settings}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    return run


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """Such as `50 passed`, without the time."""
    return re.sub(r" in [\d.]+s.*", "", done.stdout.strip().splitlines()[-1])


def first_example() -> str:
    page = Path(__file__).parents[2].joinpath("docs", "testing.md").read_text(encoding="utf-8")
    return page.split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_fifty_tests_and_the_pages_first_example_pass_in_any_order_within_five_seconds(
    run: Run, tmp_path: Path, plugin: str
) -> None:
    (tmp_path / "conftest.py").write_text(SHUFFLE)
    (tmp_path / "test_page.py").write_text(first_example())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(SUITE, *PLUGINS[plugin], "--strict-markers", ORDER=plugin)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # anyio's auto mode runs each of the async tests on trio, too.
    assert outcome(done) == ("90 passed" if plugin == "anyio, auto" else "51 passed"), done.stdout
    # Processor time, because this machine has other work; waiting adds 50 times 15 ms.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_a_solve_takes_a_tenth_of_a_second_at_most(run: Run) -> None:
    text = """
        import time
        from anycap import RecaptchaV2

        async def test_a_solve(anycap_client):
            await anycap_client.solve(RecaptchaV2("https://example.com/", "k"))
            started = time.perf_counter()
            for _ in range(20):
                await anycap_client.solve(RecaptchaV2("https://example.com/", "k"))
            assert time.perf_counter() - started < 2.0
        """
    assert outcome(run(text, *ALONE)) == "1 passed"


def test_an_async_fixture_of_the_user_may_open_the_client_first(run: Run) -> None:
    text = """
        import pytest, pytest_asyncio
        from anycap import RecaptchaV2

        @pytest_asyncio.fixture
        async def ready(anycap_client):
            await anycap_client.open()
            return anycap_client

        @pytest.mark.asyncio
        async def test_a_solve(ready, anycap_client):
            assert (await ready.solve(RecaptchaV2("https://example.com/", "k"))).token
        """
    assert outcome(run(text, *ASYNCIO)) == "1 passed"


def test_a_plain_test_is_told_which_fixture_it_wants(run: Run) -> None:
    done = run("def test_a_solve(anycap_client): pass", *ALONE)
    assert outcome(done) == "1 error"
    assert "anycap_client is for async tests; a plain test takes anycap_virtual" in done.stdout


def test_an_async_test_without_a_fixture_of_ours_is_left_to_others(run: Run) -> None:
    done = run("async def test_nothing(): pass", *ALONE)
    assert outcome(done) == "1 failed"
    assert "async def functions are not natively supported" in done.stdout


class TestVirtualTime:
    def test_wall_times_follow_the_virtual_clock(self) -> None:
        async def scene(client: Client) -> Solution:
            return await client.solve(PAGE, timeout=300)

        virtual = VirtualTime(Emulator(solve_time=100.0), "yescaptcha")
        first, second = virtual(scene), virtual(scene)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        assert first.ticket is not None
        assert second.received_at is not None
        assert first.received_at is not None
        assert first.expires_at is not None
        assert timedelta(0) <= first.ticket.created_at - start < timedelta(seconds=1)
        assert timedelta(seconds=100) <= first.received_at - start < timedelta(seconds=110)
        assert first.expires_at - first.received_at == timedelta(seconds=120), "YesCaptcha: a token is valid for 120 s"
        assert second.received_at - start >= timedelta(seconds=200), (
            "the second scene goes on where the first one ended"
        )

    def test_what_a_scene_raises_comes_out(self) -> None:
        async def scene(client: Client) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            VirtualTime(Emulator())(scene)

    def test_the_first_vendor_of_the_emulator_is_the_default(self) -> None:
        assert repr(emulated_client(Emulator(providers=["ezcaptcha", "capmonster"]))) == "<Client ezcaptcha, not open>"


class TestOffline:
    """A respx user with the default client: the mock does not cover our own connections, and nothing may reach a vendor."""

    @pytest.mark.anyio
    async def test_the_default_client_is_refused_by_the_variable_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANYCAP_OFFLINE", "1")
        with respx.mock:
            with pytest.raises(ConfigurationError, match=r"would connect to api\.anti-captcha\.com"):
                async with Client(Account("anti-captcha", key="0123456789abcdef")) as client:
                    await client.solve(PAGE, timeout=5)

    @pytest.mark.anyio
    async def test_an_injected_client_that_is_mocked_is_let_through(self, anycap_offline: OfflineGuard) -> None:
        answers = [
            {"errorId": 0, "taskId": 7},
            {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "03A"}},
        ]
        with respx.mock:
            respx.post("https://api.anti-captcha.com/createTask").respond(json=answers[0])
            respx.post("https://api.anti-captcha.com/getTaskResult").respond(json=answers[1])
            async with httpx.AsyncClient() as web:
                account = Account("anti-captcha", key="0123456789abcdef")
                async with Client(account, http=web) as client:
                    ticket = await client.submit(PAGE)
                    assert ticket.task_id == 7

    @pytest.mark.anyio
    @pytest.mark.parametrize("value", ["", "0"])
    async def test_an_empty_variable_means_nothing(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        monkeypatch.setenv("ANYCAP_OFFLINE", value)
        async with Client(Account("anti-captcha", key="0123456789abcdef")):
            pass

    @pytest.mark.anyio
    async def test_loopback_is_let_through(
        self, anycap_emulator_url: dict[str, str], anycap_offline: OfflineGuard
    ) -> None:
        account = Account("capmonster", key="emulator-key", base_url=anycap_emulator_url["capmonster"])
        async with Client(account) as client:
            assert (await client.balance()).amount == 100

    @pytest.mark.anyio
    async def test_any_other_library_is_refused_by_name(self, anycap_offline: OfflineGuard) -> None:
        with pytest.raises(RuntimeError, match=r"anycap_offline refused api\.anti-captcha\.com:443"):
            httpx.get("https://api.anti-captcha.com/", trust_env=False)
        async with httpx.AsyncClient(trust_env=False) as web:
            with pytest.raises(RuntimeError, match=r"anycap_offline refused api\.capmonster\.cloud:443"):
                await web.get("https://api.capmonster.cloud/")
        with socket.socket() as plain, pytest.raises(RuntimeError, match=r"anycap_offline refused 192\.0\.2\.1:80"):
            plain.connect(("192.0.2.1", 80))
        assert anycap_offline.refused == {
            "api.anti-captcha.com:443": 1, "api.capmonster.cloud:443": 1, "192.0.2.1:80": 1,
        }  # fmt: skip

    @pytest.mark.anyio
    async def test_an_injected_client_without_a_mock_runs_into_its_deadline_and_says_why(
        self, anycap_offline: OfflineGuard
    ) -> None:
        async with httpx.AsyncClient(trust_env=False) as web:
            async with Client(Account("anti-captcha", key="0123456789abcdef"), http=web) as client:
                with pytest.raises(DeadlineError, match="RefusedOffline"):
                    await client.solve(PAGE, timeout=0.5)
        assert set(anycap_offline.refused) == {"api.anti-captcha.com:443"}
