"""Eight processes on one account: the vendor's limits, its bans and its pauses are the fleet's. Counted in the vendor's books."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from anycap import Account, AccountError, BusyError, Client, RecaptchaV2, Shared, StoreError
from anycap.contrib.prometheus import Prometheus
from anycap.emulator import DEFAULT_KEY, Fault
from anycap.events import AccountEvent, Event
from anycap.settings import GuardSettings, Polling, Settings
from tests.shared.processes import Fleet, Worker, fleet, wait_until
from tests.shared.test_journal import until
from tests.valkey_server import Valkey, namespace

QUICK = {"first_s": 0.1, "gap_s": 0.1}


def pages(count: int) -> list[str]:
    return [f"https://example.com/{number}" for number in range(count)]


def start_all(it: Fleet, count: int, all_pages: list[str], **more: Any) -> list[Worker]:
    """Processes that are all open before the first of them sends anything."""
    workers = [it.start(all_pages[place::count], go=True, **QUICK, **more) for place in range(count)]
    for worker in workers:
        worker.wait_for("open")
    for worker in workers:
        worker.go()
    return workers


def busiest(it: Fleet) -> int:
    """The most tasks that were unfinished at one moment."""
    changes = []
    for task in it.vendor.ledger.tasks:
        assert task.settled_at is not None
        changes += [(task.created_at, 1), (task.settled_at, -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def test_eight_processes_share_twenty_slots_and_the_vendor_refuses_none(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.5, slots=20) as it:
        workers = start_all(it, 8, pages(240), guard={"max_in_flight": 20})
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == 240
        assert Counter(it.pages_paid) == Counter(pages(240))
        assert busiest(it) <= 20
        refused = [
            line for line in it.emulator.trace if line.method == "createTask" and line.outcome.startswith("ERROR")
        ]
        assert refused == []


def test_a_dead_key_costs_the_whole_fleet_one_request(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.5) as it:
        workers = start_all(it, 8, pages(1_200), key="00000000000000000000000000000000")
        for worker in workers:
            worker.end()
        failed = [line for worker in workers for line in worker.said("failed")]
        assert len(failed) == 1_200
        assert {line[2] for line in failed} == {"AccountError"}
        assert it.emulator.requests <= 2
        assert [line[3] for line in failed].count(True) == it.emulator.requests  # the others know that nothing was sent


def test_a_fleet_finds_the_vendors_limit_and_keeps_to_it(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.4, slots=6) as it:
        workers = start_all(it, 3, pages(60), guard={"busy_backoff_s": 0.5, "submit_window_max": 8})
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == 60
        refused = [
            line.time for line in it.emulator.trace if line.method == "createTask" and line.outcome.startswith("ERROR")
        ]
        # Until the limit is known, what the submit window lets out at once: 8 of all three, not of each. The pause that
        # follows is theirs, too. How the window steps back and grows from then on is in test_limits.py.
        assert 1 <= sum(at < refused[0] + 0.5 for at in refused) <= 8


def test_one_process_probes_for_all_when_a_pause_is_over(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.2) as it:
        it.emulator.faults.add(Fault(action="error", code="ERROR_NO_SLOT_AVAILABLE", method="createTask", nth=1))
        workers = start_all(it, 4, pages(40), guard={"busy_backoff_s": 1.0})
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == 40
        creates = [line for line in it.emulator.trace if line.method == "createTask"]
        assert creates[0].outcome == "ERROR_NO_SLOT_AVAILABLE"
        # Nothing for the length of the pause, then one, and the others only after its answer.
        assert creates[1].time - creates[0].time >= 1.0
        assert sum(1 for line in creates if line.time < creates[0].time + 1.0) == 1


def test_slots_are_free_again_when_the_tasks_of_a_killed_process_end(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=1.5, slots=4) as it:
        more = {"guard": {"max_in_flight": 4}, "lease_s": 1.0, "poll_timeout_s": 0.2}
        victim = it.start(pages(4), **QUICK, **more)
        wait_until(lambda: it.logs().count(b'["accepted"') == 4, "four tasks")
        other = it.start(["https://example.com/other"], **QUICK, **more)
        other.wait_for("open")
        victim.kill()
        other.wait_for("solved")
        assert busiest(it) <= 4
        other.end()


def test_a_solve_costs_four_round_trips(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.2) as it:
        worker = it.start(pages(20), go=True, stay=True, at_once=1, lease_s=60.0, **QUICK)
        worker.wait_for("open")
        wait_until(lambda: valkey.calls().get("evalsha", 0) > 0)
        before = settled_calls(valkey)
        worker.go()
        worker.wait_for("solved", 20)
        wait_until(lambda: it.logs().count(b'["delivered"') == 20)
        after = settled_calls(valkey)
        assert after["evalsha"] - before["evalsha"] == 4 * 20


@pytest.mark.anyio
async def test_what_a_client_knows_of_an_account_outlives_the_store(own_valkey: Valkey) -> None:
    with fleet(own_valkey, "n", solve_time=0.1) as it:
        account = Account("anti-captcha", "0" * 32, base_url=it.url)
        async with Client(account, shared=Shared(own_valkey.url, namespace="n")) as client:
            with pytest.raises(AccountError):
                await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
            assert it.emulator.requests == 1
            own_valkey.kill()
            own_valkey.lose_everything()
            own_valkey.start()
            await until(lambda: own_valkey.ask("HLEN", "anycap:{n}:stops") == b":1\r\n")
            # Neither this client nor another asks the vendor again.
            async with Client(account, shared=Shared(own_valkey.url, namespace="n")) as other:
                for each in (client, other):
                    with pytest.raises(AccountError) as caught:
                        await each.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
                    assert not caught.value.sent
            assert it.emulator.requests == 1


def test_eight_processes_cost_four_round_trips_a_solve_and_one_for_each_wait(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.2) as it:
        more = {"go": True, "stay": True, "at_once": 1, "lease_s": 600.0, **QUICK}
        first = it.start(pages(8), **more)  # finds that the vendor takes several requests at once
        workers = [it.start([f"https://example.com/{place}/{page}" for page in range(5)], **more) for place in range(8)]
        assert scripts_of(it, valkey, first, workers, 5) == 4 * 40


def test_where_slots_are_few_a_solve_costs_one_round_trip_more_for_its_wait(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.5, slots=6) as it:
        more = {"go": True, "stay": True, "lease_s": 600.0, "guard": {"max_in_flight": 6}, **QUICK}
        first = it.start(pages(8), at_once=2, **more)  # finds that the vendor takes several requests at once
        workers = [
            it.start([f"https://example.com/{place}/{page}" for page in range(15)], **more) for place in range(8)
        ]
        calls = scripts_of(it, valkey, first, workers, 15)
        assert busiest(it) <= 6
        assert 4 * 120 <= calls <= (4 + 1) * 120, calls / 120


@pytest.mark.anyio
async def test_while_the_store_is_silent_nothing_new_is_sent(own_valkey: Valkey) -> None:
    page = RecaptchaV2("https://example.com", "6Le-site-key")
    with fleet(own_valkey, "n", solve_time=0.05) as it:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        async with Client(account, shared=Shared(own_valkey.url, namespace="n")) as client:
            await client.solve(page)
            sent = it.emulator.requests
            own_valkey.kill()
            with pytest.raises(StoreError) as caught:
                await client.solve(page, wait_for_capacity=False)
            assert caught.value.ticket is None or caught.value.ticket.task_id is None
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.solve, page)  # waits for the store
                await anyio.sleep(0.3)
                assert it.emulator.requests == sent
                own_valkey.start()
            assert len(it.pages_paid) == 2


@pytest.mark.anyio
async def test_a_rejected_key_stops_who_has_it_and_nobody_with_another(own_valkey: Valkey) -> None:
    page = RecaptchaV2("https://example.com", "6Le-site-key")

    def client_with(key: str) -> Client:
        account = Account("anti-captcha", key, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        return Client(account, shared=Shared(own_valkey.url, namespace="n"))

    with fleet(own_valkey, "n", solve_time=0.05) as it:
        async with client_with("0" * 32) as old:
            with pytest.raises(AccountError):
                await old.solve(page)
            async with client_with(DEFAULT_KEY) as new:
                assert (await new.solve(page)).token
                new.reset("anti-captcha")
                assert (await new.solve(page)).token
                sent = it.emulator.requests
                with pytest.raises(AccountError) as caught:
                    await old.solve(page)
                assert not caught.value.sent
            async with client_with("0" * 32) as late:
                with pytest.raises(AccountError) as caught:
                    await late.solve(page)
                assert not caught.value.sent
            assert it.emulator.requests == sent


@pytest.mark.anyio
async def test_every_member_hears_once_when_a_stop_begins_and_ends_whoever_has_found_it(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    page, name = RecaptchaV2("https://example.com", "6Le-site-key"), namespace()
    heard: dict[str, list[AccountEvent]] = {"finder": [], "idle": []}
    registry = CollectorRegistry()

    def member(who: str, *hooks: Any) -> Client:
        def hear(event: Event) -> None:
            if isinstance(event, AccountEvent):
                heard[who].append(event)

        account = Account("anti-captcha", DEFAULT_KEY, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        guard = GuardSettings(busy_backoff_s=0.3)
        shared = Shared(valkey.url, namespace=name)
        return Client(account, shared=shared, on_event=[hear, *hooks], settings=Settings(guard=guard))

    def told(who: str) -> list[tuple[tuple[str, ...], tuple[str, ...], str | None, bool]]:
        return [(event.begun, event.ended, event.error, event.found_here) for event in heard[who]]

    def shown() -> list[str]:
        return [str(stop.code) for stop in idle.health()["anti-captcha"].guard.cooldowns]

    def metric(code: str) -> float | None:
        labels = {"provider": "anti-captcha", "account": "anti-captcha", "code": code}
        covers = "RecaptchaV2" if code == "no_workers" else "account"
        return registry.get_sample_value("anycap_cooldown_seconds", {**labels, "covers": covers})

    caplog.set_level("DEBUG", "anycap.accounts")
    with fleet(valkey, name, solve_time=0.05) as it:
        it.emulator.faults.add(Fault(action="error", code="ERROR_NO_SLOT_AVAILABLE", method="createTask", nth=1))
        async with member("finder") as finder, member("idle", Prometheus(registry)) as idle:
            # A pause: it ends by itself, with the next task of the one that found it.
            with pytest.raises(BusyError):
                await finder.solve(page, wait_for_capacity=False)
            await until(lambda: heard["idle"])
            assert told("finder") == [(("RecaptchaV2: no_workers",), (), "no_workers", True)]
            assert told("idle") == [(("RecaptchaV2: no_workers",), (), "no_workers", False)]
            assert shown() == ["no_workers"]
            assert metric("no_workers") is not None
            await finder.solve(page)
            await until(lambda: len(heard["idle"]) == 2)
            assert told("finder")[1:] == [((), ("RecaptchaV2: no_workers",), None, True)]
            assert told("idle")[1:] == [((), ("RecaptchaV2: no_workers",), None, False)]
            assert (shown(), metric("no_workers")) == ([], None)

            # A stop: it ends when the finder's user says so.
            it.emulator.faults.add(Fault(action="error", code="ERROR_ZERO_BALANCE", method="createTask", nth=1))
            with pytest.raises(AccountError):
                await finder.solve(page, wait_for_capacity=False)
            await until(lambda: len(heard["idle"]) == 3)
            assert idle.health()["anti-captcha"].readiness == "stopped"
            remaining = metric("no_funds")
            assert remaining is not None
            assert 30 < remaining <= 70  # 60 s, and what chance adds
            finder.reset("anti-captcha")
            await until(lambda: len(heard["idle"]) == 4)
            assert told("idle")[2:] == [
                (("account: no_funds",), (), "no_funds", False),
                ((), ("account: no_funds",), None, False),
            ]
            assert idle.health()["anti-captcha"].readiness == "ready"
            for _ in range(3):  # nothing is said twice
                await idle.solve(page)
            assert (len(heard["finder"]), len(heard["idle"])) == (4, 4)
    said = [(record.levelname, record.message) for record in caplog.records if "no_funds" in record.message]
    assert sorted(said) == [
        ("INFO", "anti-captcha: goes on (account: no_funds is over)"),
        ("INFO", "anti-captcha: goes on (account: no_funds is over)"),
        ("WARNING", "anti-captcha: stopped (account: no_funds)"),
        ("WARNING", "anti-captcha: stopped (account: no_funds, found elsewhere)"),
    ]


def scripts_of(it: Fleet, server: Valkey, first: Worker, workers: list[Worker], each: int) -> int:
    """How many scripts the solves of the workers cost, `each` of them; the first one has solved its eight before."""
    for worker in (first, *workers):
        worker.wait_for("open")
    first.go()
    first.wait_for("solved", 8)
    wait_until(lambda: it.logs().count(b'["delivered"') == 8)
    before = settled_calls(server)
    for worker in workers:
        worker.go()
    for worker in workers:
        worker.wait_for("solved", each)
    wait_until(lambda: it.logs().count(b'["delivered"') == 8 + each * len(workers))
    return settled_calls(server)["evalsha"] - before["evalsha"]


def settled_calls(server: Valkey) -> dict[str, int]:
    """The counts once nobody has asked for a while."""
    last: dict[str, int] = {}
    same = 0

    def settled() -> bool:
        nonlocal last, same
        calls = {name: count for name, count in server.calls().items() if name == "evalsha"}
        same, last = (same + 1 if calls == last else 0), calls
        return same > 50

    wait_until(settled)
    return last
