"""The public suite for shared limits, run against the model in process and the server; and seen to find what is broken."""

from __future__ import annotations

from typing import Any

import pytest

from anycap.journal.limits import AccountSeen, LimitReport, ReportKind, SlotWish
from anycap.journal.port import NoSlot, SlotClaim
from anycap.shared.limits import ValkeyLimits
from anycap.testing.conformance.limits import LimitsBench, LimitsConformance, LimitsMember
from anycap.testing.model_limits import ModelFleet, ModelLimits
from tests.shared.members import K, member, record
from tests.shared.test_journal import until
from tests.valkey_server import Valkey, namespace


class InProcess:
    """A member of the model, whose tasks it tells again after a loss."""

    def __init__(self, limits: ModelLimits) -> None:
        self.limits = limits
        self.tasks: dict[str, SlotWish] = {}
        self._wishes: dict[str, SlotWish] = {}

    async def take(self, ticket_id: str, wish: SlotWish) -> NoSlot | None:
        self._wishes[ticket_id] = wish
        return self.limits.take(ticket_id, wish)

    async def accepted(self, ticket_id: str) -> None:
        self.tasks[ticket_id] = self._wishes[ticket_id]
        self.limits.fleet.accepted(ticket_id)

    async def ended(self, ticket_id: str) -> None:
        self.tasks.pop(ticket_id, None)
        self.limits.fleet.ended(ticket_id)

    async def exchange(self, account: str, reports: Any) -> AccountSeen:
        return await self.limits.exchange(account, reports)


class ModelBench(LimitsBench):
    def __init__(self, fleet: type[ModelFleet] = ModelFleet) -> None:
        self.fleet = fleet(lambda: 1_000.0)
        self.members: list[InProcess] = []

    async def member(self) -> LimitsMember:
        it = InProcess(self.fleet.member(f"m{len(self.members)}"))
        self.members.append(it)
        return it

    async def kill(self, member: LimitsMember) -> None:
        assert isinstance(member, InProcess)
        self.fleet.dead.add(member.limits.name)

    async def lose_store(self) -> None:
        self.fleet.lose()
        for it in self.members:
            for ticket_id, wish in it.tasks.items():
                self.fleet.restore(ticket_id, wish)

    async def settle(self) -> None:
        self.fleet.settle()


class OnServer:
    def __init__(self, url: str, name: str) -> None:
        self.journal = member(url, name, durability="memory")
        self.limits = ValkeyLimits(self.journal.store)

    async def take(self, ticket_id: str, wish: SlotWish) -> NoSlot | None:
        self.journal.wish_for = lambda intent: wish
        (answer,) = await self.journal.claim([SlotClaim(record(K.INTENT, ticket_id, type=wish.task_type))])
        assert answer is None or isinstance(answer, NoSlot)
        return answer

    async def accepted(self, ticket_id: str) -> None:
        await self.journal.write([record(K.ACCEPTED, ticket_id, task_id=1)])

    async def ended(self, ticket_id: str) -> None:
        await self.journal.write([record(K.SETTLED, ticket_id)])

    async def exchange(self, account: str, reports: Any) -> AccountSeen:
        return await self.limits.exchange(account, reports)


class ServerBench(LimitsBench):
    def __init__(self, server: Valkey, name: str) -> None:
        self.server = server
        self.name = name
        self.members: list[OnServer] = []

    async def member(self) -> LimitsMember:
        it = OnServer(self.server.url, self.name)
        await it.journal.open()
        self.members.append(it)
        return it

    async def kill(self, member: LimitsMember) -> None:
        assert isinstance(member, OnServer)
        it = member.journal.store.member
        self.server.ask("ZADD", it.names.of("members"), "1", it.owner)

    async def lose_store(self) -> None:
        self.server.kill()
        await until(lambda: not any(it.journal.store.is_up for it in self.members))
        self.server.lose_everything()
        self.server.start()
        await until(lambda: all(it.journal.store.is_up for it in self.members))
        for it in self.members:
            await it.journal.open_entries()

    async def settle(self) -> None:
        names = self.members[0].journal.store.member.names
        self.server.ask("HSET", names.of("meta"), "slots_from", "0")

    async def close(self) -> None:
        for it in self.members:
            await it.journal.aclose()


class TestModel(LimitsConformance):
    @pytest.fixture
    def bench(self) -> LimitsBench:
        return ModelBench()


class TestValkey(LimitsConformance):
    @pytest.fixture
    async def bench(self, anyio_backend: str, request: pytest.FixtureRequest) -> Any:
        own = "lost" in request.node.name or "remember" in request.node.name  # a server for itself
        bench = ServerBench(request.getfixturevalue("own_valkey" if own else "valkey"), namespace())
        yield bench
        await bench.close()


# -- the suite finds what is broken


class Alone(ModelFleet):
    """Each member has slots of its own."""

    def member(self, name: str) -> ModelLimits:
        return ModelLimits(ModelFleet(self.clock), name)


class Polite(ModelFleet):
    """Everybody may probe."""

    def exchange(self, who: str, account: str, reports: Any) -> AccountSeen:
        seen = super().exchange(who, account, reports)
        granted = [it.key for it in reports if it.what is ReportKind.PROBE]
        return AccountSeen(seen.version, seen.stops, seen.bad, granted, seen.windows)


class Forgetful(ModelFleet):
    """Nobody need know of stops."""

    def version(self, account: str) -> str:
        return "1"


class Hasty(ModelFleet):
    """Grants at once after a loss."""

    def lose(self) -> None:
        super().lose()
        self.settle()


class Blind(ModelFleet):
    """Refusals and bad answers are not counted."""

    def exchange(self, who: str, account: str, reports: Any) -> AccountSeen:
        kept: list[LimitReport] = [it for it in reports if it.what not in (ReportKind.REFUSED, ReportKind.BAD)]
        return super().exchange(who, account, kept)


SUITE = LimitsConformance()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Alone, SUITE.test_slow_start_is_of_all_members),
        (Polite, SUITE.test_one_member_probes_and_what_it_finds_holds),
        (Forgetful, SUITE.test_who_does_not_know_of_a_stop_gets_no_slot_before_it_has_looked),
        (Hasty, SUITE.test_a_store_that_was_lost_grants_nothing_until_all_have_told_it_of_their_tasks),
        (Blind, SUITE.test_a_full_vendor_is_one_step_back_for_all),
        (Blind, SUITE.test_bad_answers_of_one_hold_the_submits_of_all_and_are_no_news),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_broken_promise_is_found(broken: type[ModelFleet], test: Any) -> None:
    with pytest.raises(AssertionError):
        await test(ModelBench(broken))
