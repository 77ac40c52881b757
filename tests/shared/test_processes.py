"""Real processes on a real server: killed, stopped, and with the store away. Counted in the books of the emulated vendor."""

from __future__ import annotations

import signal
from collections import Counter

from tests.shared.processes import fleet, wait_until
from tests.valkey_server import Valkey, namespace

PAGES = [f"https://example.com/{number}" for number in range(6)]


def test_the_tasks_of_a_killed_process_are_polled_by_another_and_none_is_paid_twice(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=3.0) as it:
        other = it.start([], stay=True, lease_s=1.0, poll_timeout_s=0.2)
        other.wait_for("open")
        victim = it.start(PAGES, lease_s=1.0, poll_timeout_s=0.2)
        wait_until(lambda: it.logs().count(b'["accepted"') == 6, "six tasks")
        victim.kill()
        wait_until(lambda: all(task.delivered for task in it.vendor.ledger.tasks), "all delivered to the other")
        assert Counter(it.pages_paid) == Counter(PAGES)
        assert it.vendor.ledger.lost == []


def test_a_process_that_slept_longer_than_its_lease_polls_no_more_and_its_callers_are_told(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=4.0) as it:
        other = it.start([], stay=True, lease_s=1.0, poll_timeout_s=0.2)
        other.wait_for("open")
        sleeper = it.start(PAGES, lease_s=1.0, poll_timeout_s=0.2)
        wait_until(lambda: it.logs().count(b'["accepted"') == 6, "six tasks")
        sleeper.signal(signal.SIGSTOP)
        polls = sum(task.polls for task in it.vendor.ledger.tasks)
        wait_until(lambda: sum(task.polls for task in it.vendor.ledger.tasks) > polls + 12, "the other polls")
        sleeper.signal(signal.SIGCONT)
        sleeper.end()
        assert [line[2] for line in sleeper.said("failed")] == ["Fenced"] * 6
        assert other.is_running
        wait_until(lambda: all(task.delivered for task in it.vendor.ledger.tasks), "all delivered to the other")
        assert Counter(it.pages_paid) == Counter(PAGES)


def test_tasks_are_polled_on_while_the_store_is_away_and_the_records_follow(own_valkey: Valkey) -> None:
    with fleet(own_valkey, namespace(), solve_time=1.5) as it:
        worker = it.start(PAGES, lease_s=1.0, poll_timeout_s=0.2, stay=True)
        wait_until(lambda: it.logs().count(b'["accepted"') == 6, "six tasks")
        own_valkey.kill()
        worker.wait_for("solved", 6)  # handed out all the same
        own_valkey.start()
        wait_until(lambda: it.logs().count(b'["delivered"') == 6, "the records")
        assert Counter(it.pages_paid) == Counter(PAGES)


def test_a_call_with_a_key_waits_for_a_store_that_is_away(own_valkey: Valkey) -> None:
    with fleet(own_valkey, namespace()) as it:
        patient = it.start(PAGES[:1], keyed=True, go=True)
        hasty = it.start(PAGES[1:2], keyed=True, go=True, wait_for_capacity=False)
        for worker in (patient, hasty):
            worker.wait_for("open")
        own_valkey.kill()
        for worker in (patient, hasty):
            worker.go()
        hasty.wait_for("failed")
        assert hasty.said("failed")[0][2:4] == ["Unanswered", None]  # nothing was sent, as it says
        patient.wait_for("asks")
        own_valkey.start()
        patient.wait_for("solved")
        assert it.pages_paid == PAGES[:1]


def test_a_store_that_comes_back_empty_in_the_middle_loses_no_paid_task(own_valkey: Valkey) -> None:
    with fleet(own_valkey, namespace(), solve_time=2.0) as it:
        workers = [it.start(PAGES[place::2], lease_s=1.0, poll_timeout_s=0.2) for place in range(2)]
        wait_until(lambda: it.logs().count(b'["accepted"') == 6, "six tasks")
        own_valkey.kill()
        own_valkey.lose_everything()
        own_valkey.start()
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == 6
        assert Counter(it.pages_paid) == Counter(PAGES)
        assert it.vendor.ledger.lost == []
