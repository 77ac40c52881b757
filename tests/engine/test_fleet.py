"""A client among others: what it polls and hands out when the store denies it, is silent, or gave it something unheard."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from anycap.core.machine import State
from anycap.emulator import run_virtual
from anycap.engine.fleet import Fleet
from anycap.engine.notifier import AnyNotifier
from anycap.errors import StoreError


class Store:
    """A lease as the store grants it, by hand."""

    def __init__(self) -> None:
        self.has_lease = self.denied = self.silent = False
        self.mine = True

    async def still_mine(self, ticket_id: str) -> bool:
        if self.silent:
            raise StoreError("no answer")
        return self.mine


class Solve:
    """As much of one as is looked at here."""

    def __init__(self, state: State) -> None:
        self.id, self.state = "t1", state


@pytest.mark.parametrize(
    ("lease", "silent", "denied", "mine", "may"),
    [
        (True, False, False, True, True),
        (False, False, False, True, True),
        (False, False, False, False, False),
        (False, True, False, True, True),  # paid results must be fetched
        (False, True, True, True, False),  # others may have it, and the store has said so
        (False, False, True, True, True),  # now it says which
    ],
)
def test_a_silent_store_forbids_no_poll_unless_it_has_denied_us(
    lease: bool, silent: bool, denied: bool, mine: bool, may: bool
) -> None:
    async def main() -> None:
        store, solve = Store(), Solve(State.WAITING)
        store.has_lease, store.silent, store.denied, store.mine = lease, silent, denied, mine
        fleet, _ = made(store, {"t1": solve})
        assert await fleet.may_poll(solve) is may  # type: ignore[arg-type]

    run_virtual(main)


def test_a_solution_is_kept_from_callers_until_the_store_has_said_that_it_is_ours() -> None:
    store, solved, waiting = Store(), Solve(State.SOLVED), Solve(State.WAITING)
    fleet, woken = made(store, {"t1": solved, "t2": waiting})
    assert fleet.may_hand_out(solved)  # type: ignore[arg-type]
    store.denied = True
    assert not fleet.may_hand_out(solved)  # type: ignore[arg-type]
    assert fleet.may_hand_out(Solve(State.FAILED))  # type: ignore[arg-type] # an error is nobody's
    assert woken == []
    store.denied = False
    fleet.confirmed()
    assert woken == [solved]


def test_what_others_left_is_looked_for_until_the_store_has_answered() -> None:
    async def main() -> list[float]:
        looks: list[float] = []

        async def resume() -> None:
            looks.append(anyio.current_time() - began)
            if len(looks) < 3:
                raise StoreError("no answer")

        began = anyio.current_time()
        fleet, _ = made(Store(), {}, resume)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.keep_watch, AnyNotifier())
            await anyio.sleep(10.0)
            fleet.orphans()
            await anyio.sleep(10.0)
            tasks.cancel_scope.cancel()
        return looks

    assert run_virtual(main) == [0.0, 1.0, 2.0, 10.0]


def made(store: Store, solves: dict[str, Any], resume: Any = None) -> tuple[Fleet, list[Any]]:
    woken: list[Any] = []
    fleet = Fleet(
        store, solves=solves, resume=resume, disown=lambda solve: None, slow_down=lambda stretch: None, wake_callers=woken.append
    )  # fmt: skip
    return fleet, woken
