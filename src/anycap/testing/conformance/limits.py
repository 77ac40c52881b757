"""What every store of shared limits promises, as a pytest class that anyone can run against one of their own.

Subclass `LimitsConformance` in a test file and give it a fixture `bench`, as for `journals.py`.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import pytest

from anycap.journal.limits import AccountSeen, LimitReport, Limits, ReportKind, RuleWish, SlotWish
from anycap.journal.port import NoSlot

R = ReportKind
ACCOUNT = "api.example.com main"
TASKS_MAX, SUBMITS_MAX = 12, 4
STOP = '{"code":"no_funds"}'
NEWS = NoSlot("")


class LimitsMember(Limits, Protocol):
    """One machine, as the suite drives it: the `Limits` port, and its journal's steps that concern slots."""

    async def take(self, ticket_id: str, wish: SlotWish) -> NoSlot | None:
        """Record an INTENT with this wish (`SlotClaim`)."""
        ...

    async def accepted(self, ticket_id: str) -> None:
        """Record ACCEPTED."""
        ...

    async def ended(self, ticket_id: str) -> None:
        """Record FAILED, or whatever else ends a task."""
        ...


class LimitsBench:
    """A store of limits for one test, and the levers that the suite pulls. What a store lacks is left as it is here."""

    async def member(self) -> LimitsMember:
        """One more machine, open."""
        raise NotImplementedError

    async def kill(self, member: LimitsMember) -> None:
        """End the lease of a machine that died."""
        raise NotImplementedError

    async def lose_store(self) -> None:
        """Empty the store under its members, which write their tasks again; returns when they have."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Let the time pass in which a store that was lost grants nothing."""
        raise NotImplementedError


def opened(key: str, ends_in_s: float | None = 60.0) -> LimitReport:
    """The report of a stop."""
    return LimitReport(R.OPENED, key, ends_in_s=ends_in_s, said=STOP)


class Driver:
    """A member that asks with the version it saw last."""

    def __init__(self, member: LimitsMember) -> None:
        self.member = member
        self.version = ""

    async def tell(self, *reports: LimitReport) -> AccountSeen:
        """Exchange, and know the version."""
        seen = await self.member.exchange(ACCOUNT, reports)
        self.version = seen.version
        return seen

    async def ask(self, ticket_id: str, task_type: str = "RecaptchaV2", *rules: RuleWish) -> NoSlot | None:
        """Ask for a slot."""
        wish = SlotWish(ACCOUNT, task_type, TASKS_MAX, SUBMITS_MAX, self.version, 60.0, 120.0, rules)
        return await self.member.take(ticket_id, wish)

    async def make(self, *ticket_ids: str, task_type: str = "RecaptchaV2") -> None:
        """Tasks that the vendor takes, one after another."""
        for ticket_id in ticket_ids:
            assert await self.ask(ticket_id, task_type) is None
            await self.member.accepted(ticket_id)


async def drivers(bench: LimitsBench, count: int = 2) -> list[Driver]:
    """So many machines that know the account."""
    found = [Driver(await bench.member()) for _ in range(count)]
    for driver in found:
        await driver.tell()
    return found


async def _pull(lever: Any) -> None:
    try:
        await lever
    except NotImplementedError:
        pytest.skip("the bench lacks this lever")


@pytest.mark.anyio
class LimitsConformance:
    """The promises, a test each."""

    # -- slots

    async def test_slow_start_is_of_all_members(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        assert await a.ask("a1") is None
        assert await b.ask("b1") == NoSlot("submit_window")
        await a.member.accepted("a1")
        assert [await b.ask("b1"), await a.ask("a2")] == [None, None]
        assert await a.ask("a3") == NoSlot("submit_window")

    async def test_a_slot_is_the_tasks_and_is_freed_by_who_records_its_end(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.make(*(f"a{number}" for number in range(TASKS_MAX)))
        assert await b.ask("b1") == NoSlot("max_in_flight")
        await b.member.ended("b1")  # it has none
        assert await b.ask("b1") == NoSlot("max_in_flight")
        await a.member.ended("a0")
        assert await b.ask("b1") is None

    async def test_a_request_that_came_to_nothing_gives_its_slot_back(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        assert await a.ask("a1") is None
        await a.member.ended("a1")
        assert await b.ask("b1") is None
        assert await b.ask("b2") == NoSlot("submit_window")  # it was answered badly: no doubling

    async def test_a_dead_members_tasks_keep_their_slots(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.make(*(f"a{number}" for number in range(TASKS_MAX)))
        await _pull(bench.kill(a.member))
        assert await b.ask("b1") == NoSlot("max_in_flight")

    async def test_a_full_vendor_is_one_step_back_for_all(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.make(*"12345")
        for it in (a, b, a):
            seen = await it.tell(opened("busy"), LimitReport(R.REFUSED))
        assert seen.windows == {"tasks": 4.0}  # 0.8 of 5
        await a.tell(LimitReport(R.LIFTED, "busy"))
        await b.tell()
        assert await b.ask("b1") == NoSlot("max_in_flight")
        await a.member.ended("1")
        await a.member.ended("2")
        assert await b.ask("b1") is None
        assert await b.ask("b2") == NoSlot("max_in_flight")

    async def test_a_dry_queue_narrows_its_task_type_alone(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.make("1", "2")
        await a.make("image", task_type="ImageToText")
        await a.tell(opened("dry"), LimitReport(R.REFUSED, "ImageToText"))
        await b.tell()
        assert await b.ask("b1", "ImageToText") == NoSlot("task_type", "ImageToText")
        assert await b.ask("b1") is None

    # -- stops

    async def test_who_does_not_know_of_a_stop_gets_no_slot_before_it_has_looked(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("no_funds"))
        assert await b.ask("b1") == NEWS
        stop = (await b.tell()).stops["no_funds"]
        assert stop.said == {"code": "no_funds"}
        assert 50.0 < stop.ends_in_s <= 60.0
        assert await b.ask("b1") is None  # what a stop means is the guard's matter

    async def test_of_two_ends_the_later_one_holds(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("busy", 200.0))
        seen = await b.tell(opened("busy", 5.0), opened("key", None), opened("key", 5.0))
        assert seen.stops["busy"].ends_in_s > 150.0
        assert seen.stops["key"].ends_in_s == math.inf

    async def test_one_member_probes_and_what_it_finds_holds(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("busy", None))
        assert (await b.tell(LimitReport(R.PROBE, "busy"))).granted == ["busy"]
        assert (await a.tell(LimitReport(R.PROBE, "busy"))).granted == []
        assert (await b.tell(opened("busy", 0.0))).stops["busy"].ends_in_s <= 0.0
        assert (await a.tell(LimitReport(R.PROBE, "busy"))).granted == ["busy"]
        assert (await a.tell(LimitReport(R.LIFTED, "busy"))).stops == {}
        assert await b.ask("b1") == NEWS
        assert (await b.tell(LimitReport(R.PROBE, "busy"))).granted == []  # there is nothing to find out

    async def test_a_stop_that_runs_is_not_probed(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("busy", 200.0))
        assert (await b.tell(LimitReport(R.PROBE, "busy"))).granted == []

    async def test_the_probe_of_a_dead_member_is_given_to_another(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("busy", 0.0), LimitReport(R.PROBE, "busy"))
        assert (await b.tell(LimitReport(R.PROBE, "busy"))).granted == []
        await _pull(bench.kill(a.member))
        assert (await b.tell(LimitReport(R.PROBE, "busy"))).granted == ["busy"]

    async def test_a_reset_leaves_the_stops_of_another_key(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await a.tell(opened("invalid_key @one", None), opened("invalid_key @two", None), opened("no_funds"))
        assert list((await b.tell(LimitReport(R.RESET, "two"))).stops) == ["invalid_key @one"]

    # -- bad answers

    async def test_bad_answers_of_one_hold_the_submits_of_all_and_are_no_news(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        rule = RuleWish("burst", 60.0, 4)
        await a.make("1", "2")
        await a.tell(*[LimitReport(R.BAD, "burst", window_s=60.0)] * 2)
        assert await b.ask("b1", "RecaptchaV2", rule) is None  # two bad, and one that may be
        assert await a.ask("a1", "RecaptchaV2", rule) is None
        assert await b.ask("b2", "RecaptchaV2", rule) == NoSlot("ban_rule", "burst")
        await b.member.accepted("b1")
        assert await b.ask("b2", "RecaptchaV2", rule) is None
        assert len((await b.tell()).bad["burst"]) == 2

    # -- a store that has lost everything

    async def test_a_store_that_was_lost_grants_nothing_until_all_have_told_it_of_their_tasks(
        self, bench: LimitsBench
    ) -> None:
        a, b = await drivers(bench)
        await a.make(*(f"a{number}" for number in range(TASKS_MAX - 1)))
        await _pull(bench.lose_store())
        assert await b.ask("b1") == NEWS
        await a.tell()
        await b.tell()
        assert await b.ask("b1") == NoSlot("store")
        await bench.settle()
        assert await b.ask("b1") is None
        await b.member.accepted("b1")
        assert await b.ask("b2") == NoSlot("max_in_flight")

    async def test_what_several_remember_counts_once(self, bench: LimitsBench) -> None:
        a, b = await drivers(bench)
        await _pull(bench.lose_store())
        await a.tell(LimitReport(R.COUNTED, "burst", window_s=60.0, ages_s=(5.0, 20.0, 20.001, 70.0)))
        seen = await b.tell(LimitReport(R.COUNTED, "burst", window_s=60.0, ages_s=(2.0, 5.1, 19.9, 30.0)))
        assert [round(age) for age in seen.bad["burst"]] == [2, 5, 20, 20, 30]
        assert (await a.tell(LimitReport(R.WINDOW, "tasks", size=4.0))).windows == {"tasks": 4.0}
        assert (await b.tell(LimitReport(R.WINDOW, "tasks", size=9.0))).windows == {"tasks": 4.0}
