"""Two members and the model of a store, step by step: what each may send, and what it has to ask first."""

from __future__ import annotations

import pytest

from anycap import Account, Client
from anycap.core.admission.decisions import Deferred, Limit
from anycap.emulator import DEFAULT_KEY
from anycap.engine.account_session import AccountSession
from anycap.engine.fleet_limits import FleetLimits
from anycap.taxonomy import Code
from anycap.testing.model_limits import ModelFleet
from tests.core.admission.guard_answers import problem, submit

KIND = "RecaptchaV2"


class Clock:
    """Of the store and of both members."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Member:
    """One account of one client, and what it shares."""

    def __init__(self, fleet: ModelFleet, name: str) -> None:
        self._clock = fleet.clock
        client = Client(Account("anti-captcha", DEFAULT_KEY, name="main"))
        self.session: AccountSession = client._sessions["main"]
        self._limits = FleetLimits(fleet.member(name), client._sessions, fleet.clock)
        self._limits.join()

    def wants(self) -> Deferred:
        """What somebody is told who wants to send a createTask, while there is a stop."""
        held = self.session.guard.admit_submit(self._clock(), KIND)
        assert isinstance(held, Deferred)
        return held

    async def hears(self) -> None:
        """The store is told and asked."""
        await self._limits.sync(self.session)


@pytest.mark.anyio
async def test_a_probe_that_was_granted_and_not_sent_for_a_minute_is_asked_for_again() -> None:
    clock = Clock()
    fleet = ModelFleet(clock)
    one, other = Member(fleet, "one"), Member(fleet, "other")
    submit(one.session.guard, clock.now, problem(Code.NO_FUNDS))
    await one.hears()
    await other.hears()
    clock.now += 70.0  # 60 s, and what chance adds
    assert one.wants().limit is Limit.PROBE
    await one.hears()
    assert one.wants().probe == "getBalance"  # it is this one's turn, but its caller goes away
    clock.now += 49.0
    assert one.wants().probe == "getBalance"
    clock.now += 21.0
    other.wants()
    await other.hears()
    assert other.wants().probe == "getBalance"  # the store has waited for a minute
    held = one.wants()  # before it has heard of that
    assert (held.limit, held.probe) == (Limit.PROBE, None)
    await one.hears()
    assert one.wants().probe is None
