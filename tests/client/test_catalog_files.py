"""Vendors that are a file: `Account(Path("acme.toml"))`, and whoever speaks createTask at an address of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess, run_virtual
from anycap.errors import ConfigurationError
from tests.providers_toy import TOY

CHALLENGE = RecaptchaV2("https://example.com", "KEY")
ACME = """
[provider]
schema = 1
extends = "2captcha"
name = "acme"
title = "Acme"
base_url = "https://api.acme.example"
docs = "https://docs.acme.example"
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    path = tmp_path / "my-file.toml"
    path.write_text(ACME)
    return path


def test_a_file_is_a_vendor_in_client_and_emulator_alike(acme: Path) -> None:
    async def main() -> None:
        emulator = Emulator(providers=[acme])
        account = Account(acme, DEFAULT_KEY, base_url=emulator.base_url("acme"))
        client = Client(account, http=InProcess(emulator))
        async with client:
            solution = await client.solve(CHALLENGE, timeout=300)
            assert solution.ticket is not None
            assert (solution.ticket.account, solution.ticket.provider) == ("acme", "acme")
            assert list(client.health()) == ["acme"]

    run_virtual(main)


def test_the_file_names_the_account_and_the_variable_of_its_key(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_ACME_KEY", DEFAULT_KEY)

    async def main() -> None:
        emulator = Emulator(providers=[acme])
        async with Client(Account(acme, base_url=emulator.base_url("acme")), http=InProcess(emulator)) as client:
            assert (await client.solve(CHALLENGE, account="acme")).token

    run_virtual(main)


def test_nothing_is_read_before_open(tmp_path: Path) -> None:
    client = Client(Account(tmp_path / "missing.toml", "0123456789abcdef"))

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="missing.toml: the catalog cannot be read"):
            await client.open()

    run_virtual(main)


@pytest.mark.parametrize("name", ["anti-captcha", "anti.captcha", "compatible"])
def test_a_file_with_a_built_in_name_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(TOY.replace('name = "toy"', f'name = "{name}"'))

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="is taken"):
            await Client(Account(path, "0123456789abcdef")).open()

    run_virtual(main)


def test_two_accounts_of_one_file_need_names(acme: Path) -> None:
    async def main() -> None:
        emulator = Emulator(providers=[acme])
        where = emulator.base_url("acme")
        twice = [Account(acme, DEFAULT_KEY, base_url=where), Account(acme, DEFAULT_KEY, base_url=where)]
        with pytest.raises(ConfigurationError, match="two accounts are named 'acme'"):
            await Client(*twice, http=InProcess(emulator)).open()
        named = [Account(acme, DEFAULT_KEY, base_url=where), Account(acme, DEFAULT_KEY, name="second", base_url=where)]
        async with Client(*named, http=InProcess(emulator)) as client:
            assert list(client.health()) == ["acme", "second"]

    run_virtual(main)


def test_accounts_of_files_keep_their_place_in_the_order_given(acme: Path) -> None:
    async def main() -> None:
        emulator = Emulator(providers=[acme, "yescaptcha"])
        acme_account = Account(acme, DEFAULT_KEY, base_url=emulator.base_url("acme"))
        other = Account("yescaptcha", DEFAULT_KEY, base_url=emulator.base_url("yescaptcha"))
        async with Client(acme_account, other, http=InProcess(emulator)) as client:
            assert list(client.health()) == ["acme", "yescaptcha"]
            ticket = (await client.solve(CHALLENGE, timeout=300)).ticket
            assert ticket is not None and ticket.account == "acme"

    run_virtual(main)


def test_services_at_two_addresses_are_two_vendors_and_rucaptcha_is_not_another_than_2captcha() -> None:
    def families(*accounts: Account) -> list[str]:
        return [session.family for session in Client(*accounts)._sessions.values()]

    first, second = (
        Account("compatible", DEFAULT_KEY, name=host, base_url=f"https://{host}.example") for host in ("one", "two")
    )
    assert len(set(families(first, second))) == 2
    assert families(Account("rucaptcha", DEFAULT_KEY), Account("2captcha", DEFAULT_KEY)) == ["2captcha"] * 2


@pytest.mark.parametrize("provider", ["compatible", "compatible-capmonster", "compatible-yescaptcha"])
def test_an_unlisted_service_is_solved_with_at_the_users_address(provider: str) -> None:
    async def main() -> None:
        emulator = Emulator(providers=[provider])
        account = Account(provider, DEFAULT_KEY, base_url=emulator.base_url(provider))
        async with Client(account, http=InProcess(emulator)) as client:
            assert (await client.solve(CHALLENGE, timeout=300)).token
            assert emulator[provider].gap_violations == 0

    run_virtual(main)


def test_compatible_without_an_address_says_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match=r"Account\('compatible', base_url='http://127.0.0.1:8080'\)"):
        Client(Account("compatible", "0123456789abcdef"))


@pytest.mark.parametrize("provider", ["rucaptcha", "nextcaptcha"])
def test_a_sister_of_a_built_in_vendor_is_solved_with(provider: str) -> None:
    async def main() -> None:
        emulator = Emulator(providers=[provider])
        account = Account(provider, DEFAULT_KEY, base_url=emulator.base_url(provider))
        async with Client(account, http=InProcess(emulator)) as client:
            assert (await client.solve(CHALLENGE, timeout=300)).token
            assert (await client.balance()).currency == {"rucaptcha": "RUB", "nextcaptcha": "USD"}[provider]

    run_virtual(main)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/\tb", "https://a.example/?key=1", "https://a.example#x", "https://a.example:0", "https://a b.example",
        "https://a.example:99999", "https://a.example/\n", "https://[::1",
    ],
)  # fmt: skip
def test_an_address_that_hides_something_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        Account("compatible", "0123456789abcdef", base_url=url)
