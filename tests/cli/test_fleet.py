"""`anycap fleet` and `anycap doctor --shared`: what they show of a real server, in 80 columns and as JSON."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from anycap.cli import main
from anycap.journal.limits import LimitReport, ReportKind
from anycap.shared.journal import ValkeyJournal
from anycap.shared.limits import ValkeyLimits
from tests.shared.members import K, expire, member, record
from tests.valkey_server import Valkey, namespace

LIMITED = "api.anti-captcha.com anti-captcha"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANYCAP_SHARED_URL", "ANYCAP_SHARED_PASSWORD", "ANYCAP_SHARED_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


async def fill(server: Valkey, name: str) -> None:
    """One member that works, and one that was killed in the middle of a submission."""
    works, killed = member(server.url, name), member(server.url, name)
    for journal in (works, killed):
        await journal.open()
    money = {"currency": "USD", "price": "0.002"}
    await works.write([record(K.INTENT, "t1", time.time(), **money), record(K.ACCEPTED, "t1", task_id=7)])
    await killed.write([record(K.INTENT, "t2")])
    limits = ValkeyLimits(works.store)
    no_funds = {"name": None, "blocks": ["submit"], "code": "no_funds", "vendor_code": "ERROR_ZERO_BALANCE"}
    dry = {"name": "ImageToText", "code": "no_workers", "description": "\x1b[2Jno slot available"}
    await limits.exchange(
        LIMITED,
        [
            LimitReport(ReportKind.OPENED, "no_funds", 200.0, json.dumps(no_funds)),
            LimitReport(ReportKind.OPENED, "no_workers ImageToText", None, json.dumps(dry)),
            LimitReport(ReportKind.PROBE, "no_workers ImageToText"),
            LimitReport(ReportKind.REFUSED, "ImageToText"),
            LimitReport(ReportKind.BAD, "no-worker-answers", window_s=60.0),
        ],
    )
    expire(server, killed)
    await gone(works)
    await gone(killed)


async def gone(journal: ValkeyJournal) -> None:
    """Disconnected without signing out, as a killed process."""
    await journal.store.close()


def test_what_a_fleet_looks_like(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    name = namespace()
    asyncio.run(fill(valkey, name))
    code, out, err = command("fleet", "--shared", valkey.url, "--namespace", name)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if len(line) > 80 and "://" not in line] == []
    assert out.startswith(f"namespace {name} at {valkey.url}/0: 1 member, 2 open tickets\n")
    lines = [line.split() for line in out.splitlines()]
    (works,) = [line for line in lines if "left" in line]
    (dead,) = [line for line in lines if "over" in line]
    assert works[-4:] == ["0", "1", "0", "0"]
    assert dead[-4:] == ["0", "0", "0", "1"]  # killed in the middle: nobody knows
    settle = f"anycap tickets --shared {valkey.url} --namespace {name} settle"
    assert f"  {settle} ID --lost" in out.splitlines()
    assert command(*settle.split()[1:], "t2", "--lost")[0] == 0  # what it names is where the ticket is
    (funds,) = [line for line in out.splitlines() if " no_funds " in line]
    assert "account" in funds and "in 3 min" in funds
    (dry,) = [line for line in out.splitlines() if " no_workers " in line]
    assert "ImageToText" in dry and "when you mend it" in dry and works[0] in dry
    assert "of -: no such limit of the vendor's was met" in out  # that of the task type was
    assert "no_funds: api.anti-captcha.com says ERROR_ZERO_BALANCE" in out
    assert "\x1b" not in out  # the vendor's words reach no terminal as commands
    assert ["main", "0", "0", "0.002", "USD"] in lines  # nothing is spent yet
    (rule,) = [line for line in out.splitlines() if "no-worker-answers" in line]
    assert "anti-captcha" in rule and " 1 " in rule


def test_the_same_as_json(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    name = namespace()
    asyncio.run(fill(valkey, name))
    code, out, _ = command("fleet", "--shared", valkey.url, "--namespace", name, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    assert found["server"] == f"{valkey.url}/0"
    assert found["open_tickets"] == {"submitting": 0, "pending": 1, "solved": 0, "in_doubt": 1}
    assert [it["alive"] for it in found["members"]] == [True, False]
    (account,) = found["accounts"]
    assert account["name"] == "anti-captcha"
    assert {it["code"]: it["ends_in_s"] is None for it in account["stops"]} == {"no_funds": False, "no_workers": True}


def test_what_a_fleet_has_spent(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    name = namespace()
    asyncio.run(fill(valkey, name))
    where = ("spending", "--shared", valkey.url, "--namespace", name)
    code, out, _ = command(*where, "--by", "type")
    assert code == 0
    assert ["RecaptchaV2", "0", "0", "0.002", "USD"] in [line.split() for line in out.splitlines()]
    (line,) = json.loads(command(*where, "--json")[1])
    assert (line["account"], line["reserved"]) == ("main", "0.002")
    assert command("spending", "--shared", "redis://127.0.0.1:1")[0] == 29


def test_the_tickets_of_a_fleet_are_listed_shown_and_settled(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]]
) -> None:
    name = namespace()
    asyncio.run(fill(valkey, name))
    where = ("--shared", valkey.url, "--namespace", name)
    code, out, _ = command("tickets", *where)
    assert code == 0
    assert {tuple(line.split()[:2]) for line in out.splitlines() if line[:1] == "t" and line[1:2].isdigit()} == {
        ("t1", "open"), ("t2", "in_doubt"),
    }  # fmt: skip
    code, out, _ = command("tickets", "show", "t1", *where)
    assert code == 0
    assert "example.com/login" in out
    before = valkey.ask("ZCARD", f"anycap:{{{name}}}:members")
    assert command("tickets", *where, "settle", "t2", "--lost")[0] == 0
    assert valkey.ask("ZCARD", f"anycap:{{{name}}}:members") == before  # it has left again
    code, out, _ = command("tickets", *where, "--json")
    assert [row["id"] for row in json.loads(out)] == ["t1"]
    code, _, err = command("tickets", *where, "settle", "t1", "--lost")
    assert code == 23
    assert "not in doubt but open" in err
    for action in ("resume", "check"):
        code, _, err = command("tickets", action, *where)
        assert code == 2
        assert "is for a file" in err


@pytest.mark.parametrize(
    ("ends_in_s", "probed", "said"),
    [
        (200.0, False, "in 3 min"),
        (0.0, False, "a probe is due"),
        (0.0, True, "with a probe"),
        (None, True, "when you mend it"),
    ],
)
def test_when_a_stop_ends(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]], ends_in_s: float | None, probed: bool, said: str
) -> None:
    name = namespace()

    async def scene() -> None:
        journal = member(valkey.url, name)
        await journal.open()
        stop = json.dumps({"name": None, "blocks": ["submit"], "code": "no_funds"})
        probes = [LimitReport(ReportKind.PROBE, "no_funds")] if probed else []
        opened = LimitReport(ReportKind.OPENED, "no_funds", ends_in_s, stop)
        await ValkeyLimits(journal.store).exchange(LIMITED, [opened, *probes])
        await gone(journal)

    asyncio.run(scene())
    _, out, _ = command("fleet", "--shared", valkey.url, "--namespace", name)
    (line,) = [line for line in out.splitlines() if line.startswith("anti-captcha  account ")]
    assert said in line
    assert (re.search(r"[0-9a-f]{8}$", line) is not None) is probed


def test_unfinished_tasks_of_unknown_price_are_not_taken_for_free(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]]
) -> None:
    name = namespace()

    async def scene() -> None:
        journal = member(valkey.url, name)
        await journal.open()
        await journal.write([record(K.INTENT, "t1", time.time(), currency="USD"), record(K.ACCEPTED, "t1", task_id=7)])
        await gone(journal)

    asyncio.run(scene())
    _, out, _ = command("fleet", "--shared", valkey.url, "--namespace", name)
    assert ["main", "0", "0", "0", "USD"] in [line.split() for line in out.splitlines()]
    assert "reserved 0: what unfinished tasks cost is known when they end" in out


def test_a_namespace_that_nobody_uses(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = command("fleet", "--shared", valkey.url, "--namespace", namespace())
    assert code == 0
    assert "no client has used it" in out


def test_tickets_that_are_nobodys(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    name = namespace()

    async def scene() -> None:
        journal = member(valkey.url, name)
        await journal.open()
        await journal.write([record(K.INTENT, "t1"), record(K.ACCEPTED, "t1", task_id=7)])
        await journal.aclose()

    asyncio.run(scene())
    _, out, _ = command("fleet", "--shared", valkey.url, "--namespace", name)
    assert ["nobody", "0", "1", "0", "0"] in [line.split() for line in out.splitlines()]
    assert "the next client that opens takes the open tickets over" in out
    assert "reserved 0" not in out  # it holds back nothing, as it has no price and no currency
    assert "no account is stopped or paused" in out


def test_the_url_and_the_password_come_from_the_environment(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey.ask("ACL", "SETUSER", "cli", "reset", "on", ">hunter2", "allkeys", "allchannels", "allcommands")
    monkeypatch.setenv("ANYCAP_SHARED_URL", f"redis://cli@127.0.0.1:{valkey.port}")
    monkeypatch.setenv("ANYCAP_SHARED_PASSWORD", "hunter2")
    for words in (("fleet",), ("fleet", "--shared"), ("doctor", "--shared")):
        code, out, err = command(*words)
        assert (code, err) == (0, "")
        assert "hunter2" not in out
    monkeypatch.setenv("ANYCAP_SHARED_PASSWORD", "wrong")
    code, _, err = command("fleet")
    assert code == 2
    assert "does not accept the user or the password" in err


def test_a_password_in_an_argument_is_refused(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    for name in ("fleet", "doctor"):
        code, out, err = command(name, "--shared", f"redis://:hunter2@127.0.0.1:{valkey.port}")
        assert code == 2
        assert "ANYCAP_SHARED_PASSWORD" in err
        assert "hunter2" not in out + err


def test_no_url_at_all(command: Callable[..., tuple[int, str, str]]) -> None:
    for words in (("fleet",), ("doctor", "--shared")):
        code, _, err = command(*words)
        assert code == 2
        assert "ANYCAP_SHARED_URL is not set" in err


def test_a_server_that_does_not_answer(command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("fleet", "--shared", "redis://127.0.0.1:1")
    assert code == 29
    assert "cannot be reached" in err
    code, out, _ = command("doctor", "--shared", "redis://127.0.0.1:1")
    assert code == 29
    assert "PROBLEM  The shared server" in out


def test_doctor_finds_a_server_fit(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = command("doctor", "--shared", valkey.url)
    assert (code, err) == (0, "")
    for words in (
        "engine   Valkey ", ", primary, replicas: 0", "disk     appendonly yes, appendfsync always",
        "maxmemory-policy noeviction", "clock    ", "against the server's, fine", "answers  in ",
        'writes   are safe ("fsync") in ', "rights   all that are needed",
    ):  # fmt: skip
        assert words in out
    assert "PROBLEM" not in out
    found = json.loads(command("doctor", "--shared", valkey.url, "--json")[1])
    assert 0 < found["round_trip_ms"]["median"] <= found["round_trip_ms"]["max"]
    assert found["write_ms"]["median"] > found["round_trip_ms"]["median"]
    assert found["clock"]["fine"]
    # It leaves nothing behind.
    assert b"probe " not in valkey.ask("HKEYS", "anycap:{anycap}:about")


def test_doctor_says_everything_that_is_wrong(make_valkey: Any, command: Callable[..., tuple[int, str, str]]) -> None:
    server = make_valkey(appendonly="no", maxmemory="100mb", maxmemory_policy="allkeys-lru", appendfsync="everysec")
    code, out, _ = command("doctor", "--shared", server.url, "--durability", "replica")
    assert code == 2
    problems = [line for line in out.splitlines() if line.startswith("  PROBLEM")]
    assert [words for words in ("appendonly is no", "appendfsync is everysec", "allkeys-lru", "it has no replica")
            if not any(words in line for line in problems)] == []  # fmt: skip
    assert "of 104.9 MB" in out
    assert "rights" not in out


def test_doctor_says_what_it_may_not_see_and_which_rights_are_missing(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYCAP_SHARED_PASSWORD", "secret")
    rules = "~anycap:{anycap}:* &anycap:{anycap}:* +@all -info -config -hdel"
    valkey.ask("ACL", "SETUSER", "half", "reset", "on", ">secret", *rules.split())
    code, out, _ = command("doctor", "--shared", f"redis://half@127.0.0.1:{valkey.port}")
    assert code == 2
    assert "unseen   INFO is not allowed" in out
    assert "unseen   appendfsync" in out
    assert "missing: +hdel" in out
    assert "engine" not in out
    valkey.ask(
        "HDEL", "anycap:{anycap}:about", *valkey.ask("HKEYS", "anycap:{anycap}:about").decode().split("\r\n")[2::2]
    )


def test_doctor_says_that_a_clock_is_off(
    valkey: Valkey, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from anycap.cli import doctor_shared

    real = doctor_shared.time.time
    monkeypatch.setattr(doctor_shared.time, "time", lambda: real() + 60)
    _, out, _ = command("doctor", "--shared", valkey.url)
    assert "clock    +60.0 s against the server's, set the clocks" in out


def test_doctor_looks_at_the_server_alone(valkey: Valkey, command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("doctor", "--shared", valkey.url, "--provider", "capmonster")
    assert code == 2
    assert "the server alone" in err
