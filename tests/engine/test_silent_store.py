"""An owner whose lease has run out while the store is silent: it polls on, more rarely, until the store answers again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anycap.core.machine import State
from anycap.engine.fleet import Fleet
from anycap.errors import StoreError


class Lease:
    has_lease, denied, silent = True, False, False

    async def still_mine(self, ticket_id: str) -> bool:
        if self.silent:
            raise StoreError("no answer")
        return True


@pytest.mark.anyio
async def test_gaps_are_doubled_once_and_as_before_when_there_is_a_lease_again() -> None:
    lease, told = Lease(), []
    solve: Any = SimpleNamespace(id="t1", state=State.WAITING)
    fleet = Fleet(
        lease,
        solves={"t1": solve},
        resume=_nothing,
        disown=lambda solve: None,
        slow_down=told.append,
        wake_callers=lambda solve: None,
    )
    assert await fleet.may_poll(solve)
    lease.has_lease, lease.silent = False, True
    for _ in range(3):
        assert await fleet.may_poll(solve)
    assert told == [2.0]
    lease.has_lease, lease.silent = True, False
    for _ in range(3):
        assert await fleet.may_poll(solve)
    assert told == [2.0, 1.0]


async def _nothing() -> None:
    pass
