"""The server dies, comes back from its file, or a replica takes its place: what the contract says of each, by the ledger.

Away and back, and back empty, are in `tests/shared/test_processes.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.fleet.switch import Switch, switch
from tests.shared.processes import Fleet, fleet, wait_until
from tests.valkey_server import Valkey, namespace

PAGES = [f"https://example.com/{number}" for number in range(6)]
QUICK = {"lease_s": 1.0, "poll_timeout_s": 0.2}


def through(it: Fleet, door: Switch, pages: list[str], **more: Any) -> Any:
    return it.start(pages, shared=door.url, **QUICK, **more)


def all_accepted(it: Fleet) -> None:
    wait_until(lambda: it.logs().count(b'["accepted"') == len(PAGES), "six tasks")


def logs_of(it: Fleet, server: Valkey) -> bytes:
    return server.ask("HVALS", f"anycap:{{{it.namespace}}}:logs")


def follows(replica: Valkey) -> bool:
    return replica.info("replication").get("master_link_status") == "up"


def has_all(replica: Valkey, it: Fleet) -> bool:
    return logs_of(it, replica).count(b'["accepted"') == len(PAGES)


def test_a_server_that_dies_together_with_a_process_comes_back_with_all_of_its_tickets(own_valkey: Valkey) -> None:
    with fleet(own_valkey, namespace(), solve_time=3.0) as it:
        other = it.start([], stay=True, **QUICK)
        other.wait_for("open")
        victim = it.start(PAGES, **QUICK)
        all_accepted(it)
        own_valkey.kill()
        victim.kill()
        own_valkey.start()
        wait_until(lambda: all(task.delivered for task in it.vendor.ledger.tasks), "all delivered to the other")
        assert Counter(it.pages_paid) == Counter(PAGES)
        assert it.vendor.ledger.lost == []


def test_what_a_replica_has_never_heard_of_is_written_to_it_by_the_living(make_valkey: Any) -> None:
    primary = make_valkey()
    replica = make_valkey(replicaof=f"127.0.0.1 {primary.port}")
    wait_until(lambda: follows(replica), "the replica")
    with switch(primary.port) as door, fleet(primary, namespace(), solve_time=2.0) as it:
        workers = [through(it, door, PAGES[place::2], go=True) for place in range(2)]
        for worker in workers:
            worker.wait_for("open")
        wait_until(
            lambda: len(replica.ask("ZRANGE", f"anycap:{{{it.namespace}}}:members", "0", "-1")) > 40, "both members"
        )
        replica.ask("REPLICAOF", "NO", "ONE")  # cut off, and soon in the primary's place
        for worker in workers:
            worker.go()
        all_accepted(it)
        primary.kill()
        door.point_at(replica.port)
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == len(PAGES)
        assert logs_of(it, replica).count(b'["delivered"') == len(PAGES)
        assert Counter(it.pages_paid) == Counter(PAGES)
        assert it.vendor.ledger.lost == []


def test_with_durability_replica_a_failover_loses_nothing_even_of_a_process_that_dies_with_the_primary(
    make_valkey: Any,
) -> None:
    primary = make_valkey()
    successor = make_valkey(replicaof=f"127.0.0.1 {primary.port}")
    wait_until(lambda: follows(successor), "the successor")
    second = make_valkey(replicaof=f"127.0.0.1 {successor.port}")
    wait_until(lambda: follows(second), "the successor's own replica")
    with switch(primary.port) as door, fleet(primary, namespace(), solve_time=3.0) as it:
        other = through(it, door, [], durability="replica", stay=True)
        other.wait_for("open")
        victim = through(it, door, PAGES, durability="replica")
        all_accepted(it)
        wait_until(lambda: has_all(successor, it), "the successor has them")
        victim.kill()
        primary.kill()
        successor.ask("REPLICAOF", "NO", "ONE")
        door.point_at(successor.port)
        wait_until(lambda: all(task.delivered for task in it.vendor.ledger.tasks), "all delivered to the other")
        assert Counter(it.pages_paid) == Counter(PAGES)
        assert it.vendor.ledger.lost == []


def test_with_durability_replica_nothing_is_sent_while_the_replica_is_cut_off(make_valkey: Any) -> None:
    primary = make_valkey()
    replica = make_valkey(replicaof=f"127.0.0.1 {primary.port}")
    wait_until(lambda: follows(replica), "the replica")
    with fleet(primary, namespace(), solve_time=0.2) as it:
        worker = it.start(PAGES, durability="replica", go=True, wait_for_capacity=False, **QUICK)
        worker.wait_for("open")
        replica.ask("REPLICAOF", "NO", "ONE")
        worker.go()
        worker.wait_for("failed", len(PAGES))
        assert {line[2] for line in worker.said("failed")} == {"StoreError"}
        assert all("No replica confirmed" in line[4] for line in worker.said("failed"))
        assert it.pages_paid == []
