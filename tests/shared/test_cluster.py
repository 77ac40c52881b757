"""A namespace on a cluster of three real nodes: all keys in one hash slot, any node leads there, and a slot may move."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.errors import StoreError
from anycap.journal.limits import LimitReport, ReportKind, SlotWish
from anycap.journal.port import SlotClaim
from anycap.shared.connections import script
from anycap.shared.journal import ValkeyJournal
from anycap.shared.limits import ValkeyLimits
from anycap.shared.names import Names
from anycap.shared.settings import Shared
from anycap.shared.status import connected, read_status
from tests.shared.members import BODY, K, member, record
from tests.shared.processes import fleet
from tests.valkey_server import Valkey, free_port, namespace

LUA = Path(__file__).parents[2] / "src" / "anycap" / "shared" / "lua"
SLOTS = 16_384


class Cluster:
    """Three nodes, each with a third of the slots."""

    def __init__(self, nodes: list[Valkey]) -> None:
        self.nodes = nodes
        for place, node in enumerate(nodes):
            first, last = place * SLOTS // 3, (place + 1) * SLOTS // 3 - 1
            assert node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)) == b"+OK\r\n"
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", str(place + 1))
        for node in nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port), nodes[0].settings["cluster-port"])
        self._until(lambda node: node.info_of("CLUSTER", "INFO")["cluster_state"].strip() == "ok")

    def _until(self, condition: Any) -> None:
        end = time.monotonic() + 30
        while not all(condition(node) for node in self.nodes):
            assert time.monotonic() < end
            time.sleep(0.05)

    def node_of(self, name: str) -> Valkey:
        """The node that has the namespace."""
        answer = self.nodes[0].ask("HGET", Names(name).of("meta"), "generation")
        port = int(answer.split(b":")[-1]) if answer.startswith(b"-MOVED") else self.nodes[0].port
        return next(node for node in self.nodes if node.port == port)

    def stranger_of(self, name: str) -> Valkey:
        """A node that does not have it."""
        return next(node for node in self.nodes if node is not self.node_of(name))

    def move(self, name: str, target: Valkey) -> None:
        """Move the namespace's slot, with all keys, to another node."""
        source = self.node_of(name)
        slot = source.ask("CLUSTER", "KEYSLOT", Names(name).of("meta")).strip(b":\r\n").decode()
        ids = {node: node.ask("CLUSTER", "MYID").decode().strip() for node in self.nodes}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        keys = [key for key in Names(name).keys if source.ask("EXISTS", key) == b":1\r\n"]
        source.ask("MIGRATE", "127.0.0.1", str(target.port), "", "0", "10000", "KEYS", *keys)
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        self._until(lambda node: node is target or b"MOVED" in node.ask("HGET", Names(name).of("meta"), "x"))


@pytest.fixture
def cluster(make_valkey: Any) -> Cluster:
    settings = {"cluster_enabled": "yes", "cluster_node_timeout": "5000"}
    return Cluster([make_valkey(cluster_port=str(free_port()), **settings) for _ in range(3)])


def test_every_script_touches_declared_keys_only_and_all_are_in_one_slot(cluster: Cluster) -> None:
    names = Names("a-fleet")
    slots = {cluster.nodes[0].ask("CLUSTER", "KEYSLOT", key) for key in names.keys}
    assert len(slots) == 1
    for path in LUA.glob("*.lua"):
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        for target in re.findall(r"""\b(?:call|try)\(\s*'[A-Z]+'\s*,\s*([^,)]+)""", text):
            # Upper case stands for one of KEYS; `key` and `hash` run over such, and `channel` is no key.
            words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", target)))
            lower = {word for word in words if not word.isupper()}
            assert lower <= {"and", "or", "what", "key", "hash", "channel"}, f"{path.name}: {target}"
    common = (LUA / "common.lua").read_text(encoding="utf-8")
    assert set(re.findall(r"KEYS\[(\d+)\]", common)) == {str(number + 1) for number in range(len(names.keys))}
    assert script("write")[0].count("KEYS[") == len(names.keys)


@pytest.mark.anyio
async def test_a_client_that_names_any_node_works_with_the_one_that_has_the_namespace(cluster: Cluster) -> None:
    name = namespace()
    right, wrong = cluster.node_of(name), cluster.stranger_of(name)
    journal = member(wrong.url, name)
    await journal.open()
    version = f"{journal.store.member.generation} 0"
    journal.wish_for = lambda intent: SlotWish("api.example.com main", "RecaptchaV2", 20, 8, version, 60.0, 120.0)
    assert await journal.claim([SlotClaim(record(K.INTENT, "t1"))]) == [None]
    await journal.write([record(K.ACCEPTED, "t1", task_id=7)])
    await journal.write([record(K.RESULT, "t1", body=BODY, expires_at=9e9)])
    bad = LimitReport(ReportKind.BAD, "rule", window_s=1.0)
    await ValkeyLimits(journal.store).exchange("api.example.com main", [bad])
    await journal.store.member.renew()
    await journal.erase_expired(0.0)
    (entry,) = await journal.open_entries()
    assert entry.task_id == 7
    assert await journal.spending(0.0) == []
    async with connected(Shared(wrong.url, namespace=name)) as link:
        assert (await read_status(link, name)).tickets()["solved"] == 1
    assert right.ask("HLEN", Names(name).of("logs")) == b":1\r\n"
    # Another joins through another node, and takes over what the first leaves.
    await journal.aclose()
    other = member(right.url, name)
    await other.open()
    assert [it.ticket_id for it in await other.open_entries()] == ["t1"]
    await other.aclose()


async def written(journal: ValkeyJournal, ticket_id: str) -> None:
    """As the engine's queue does: a connection that is made anew is waited for."""
    with anyio.fail_after(30):
        while True:
            try:
                return await journal.write([record(K.INTENT, ticket_id)])
            except StoreError:
                await anyio.sleep(0.05)


@pytest.mark.anyio
async def test_a_namespace_that_moves_is_followed_and_nothing_is_lost(cluster: Cluster) -> None:
    name = namespace()
    journal = member(cluster.nodes[0].url, name)
    await journal.open()
    await journal.write([record(K.INTENT, "t1"), record(K.ACCEPTED, "t1", task_id=7)])
    target = cluster.stranger_of(name)
    cluster.move(name, target)
    await written(journal, "t2")
    assert {it.ticket_id for it in await journal.open_entries()} == {"t1", "t2"}
    assert target.ask("HLEN", Names(name).of("logs")) == b":2\r\n"
    # The node is gone for a while: the URL's host is asked again where the namespace is.
    target.kill()
    with pytest.raises(StoreError):
        await journal.write([record(K.INTENT, "t3")])
    target.start()
    await written(journal, "t4")
    assert "t4" in {it.ticket_id for it in await journal.open_entries()}
    await journal.aclose()


def test_a_fleet_of_processes_on_a_cluster(cluster: Cluster) -> None:
    name = namespace()
    pages = [f"https://example.com/{number}" for number in range(12)]
    with fleet(cluster.stranger_of(name), name, solve_time=0.3, slots=4) as it:
        workers = [it.start(pages[place::3], guard={"max_in_flight": 4}) for place in range(3)]
        for worker in workers:
            worker.end()
        assert sum(len(worker.said("solved")) for worker in workers) == 12
        assert sorted(it.pages_paid) == sorted(pages)
