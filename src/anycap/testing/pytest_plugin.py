"""pytest fixtures on the emulator: test your own code against four captcha vendors that cost nothing.

Installing anycap registers this plugin (entry point `pytest11`). In process, on any event loop and in virtual time:

    import pytest
    from anycap import Account, Client, RecaptchaV2
    from anycap.emulator import DEFAULT_KEY, Fault, InProcess

    @pytest.mark.anyio
    @pytest.mark.anycap_emulator(solve_time=0.1)
    async def test_my_crawler_survives_a_bad_gateway(anycap_emulator):
        anycap_emulator.faults.add(Fault(action="http", method="getTaskResult", status=502, count=2))
        account = Account("capmonster", key=DEFAULT_KEY, base_url=anycap_emulator.base_url("capmonster"))
        async with Client(account, http=InProcess(anycap_emulator)) as client:
            solution = await client.solve(RecaptchaV2(website_url="https://example.com/", website_key="6Le-"))
        assert solution.token
        assert anycap_emulator["capmonster"].ledger.summary()["solved"] == 1

Over HTTP, for sync code and for any other client (the vendors' own ones too):

    def test_balance(anycap_emulator_url):
        answer = httpx.post(anycap_emulator_url["anti-captcha"] + "/getBalance", json={"clientKey": DEFAULT_KEY})
        assert answer.json()["errorId"] == 0

The marker's arguments are those of `anycap.emulator.Emulator`. Nothing is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from anycap.emulator.emulator import Emulator
    from anycap.emulator.in_process import InProcess
    from anycap.emulator.server import Urls

MARKER = "anycap_emulator"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**options): options of anycap.emulator.Emulator for this test (seed, solve_time, slots, ...)",
    )


@pytest.fixture
def anycap_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An `Emulator` of the four main vendors, seed 0; its books are checked after the test."""
    from anycap.emulator.emulator import Emulator

    marker = request.node.get_closest_marker(MARKER)
    emulator = Emulator(**(marker.kwargs if marker is not None else {}))
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
