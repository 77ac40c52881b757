"""examples/blocking.py: tokens for a program without an event loop, from many threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycap import Account, AccountError, Client, Polling
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess
from examples.blocking import tokens

KEY = "6Lc_aCMTAAAAABx7u2N0D1XnVbI"
URLS = [f"https://example.com/{number}" for number in range(40)]


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=1, solve_time=0.01)


@pytest.fixture
def client(emulator: Emulator, tmp_path: Path) -> Client:
    base_url = emulator.base_url("capmonster")
    account = Account("capmonster", DEFAULT_KEY, base_url=base_url, polling=Polling(fixed=(0.01, 0.01)))
    return Client(account, http=InProcess(emulator, latency_s=0), journal=tmp_path / "tasks.db")


def test_every_page_gets_a_token_of_its_own(emulator: Emulator, client: Client) -> None:
    assert len(set(tokens(KEY, URLS, client))) == len(URLS)
    assert emulator["capmonster"].ledger.summary()["tasks"] == len(URLS)


def test_an_error_comes_out_and_the_client_is_closed(emulator: Emulator, client: Client) -> None:
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_ZERO_BALANCE"))
    with pytest.raises(AccountError, match="no_funds"):
        tokens(KEY, URLS, client)
    assert "closed" in repr(client)
