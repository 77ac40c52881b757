"""What must hold when a world is over: no bans, nothing paid twice, nothing lost, every ticket accounted for.

Written against the vendors' ledgers and the network's own notes, not against what the client says of itself.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from anycap.core.machine import ENDS, State
from anycap.emulator.ledger import Task, TaskState
from anycap.journal import RecordKind
from anycap.taxonomy import Code

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_S = 60.0


def final(world: World) -> None:
    """Look over everything; what is wrong goes to `world.fault`."""
    for vendor in world.vendors.values():
        vendor.model.advance_to(world.now + 3600.0)
    _bans(world)
    _ledger(world)
    _tickets(world)
    _doubts(world)
    _results(world)


def _bans(world: World) -> None:
    for provider, vendor in world.vendors.items():
        model = vendor.model
        for ban in model.bans.imposed:
            world.fault(f"{provider} banned {ban.who} at {ban.at:.3f} by its rule {ban.rule}")
        if model.gap_violations:
            world.fault(f"{provider}: {model.gap_violations} polls under the minimum gap")
        if model.poll_violations:
            world.fault(f"{provider}: {model.poll_violations} polls over the limit of a task")


def _ledger(world: World) -> None:
    for account in world.accounts:
        books = account.ledger
        tasks = account.vendor.model.ledger.of(books.name)
        taken = sum((task.paid for task in tasks), Decimal(0))
        if books.balance != books.opened_with + books.topped_up - taken:
            world.fault(f"{account.plan.name}: the balance does not agree with the ledger")


def _tickets(world: World) -> None:
    for ticket, tasks in world.tasks_of.items():
        if len(tasks) > 1:
            world.fault(f"{ticket} was paid {len(tasks)} times")
    for ticket, generations in world.hand_overs.items():
        if len(set(generations)) != len(generations):
            world.fault(f"{ticket} was handed out {len(generations)} times while one process lived")
        if len(generations) > 1 and ticket not in world.cut_short:
            world.fault(f"{ticket} was handed out again after a crash though DELIVERED was durable")
    process = world.process
    if process is None:
        return
    for solve in process.solves.values():
        if solve.state is State.STALLED and not _pages_for_a_minute(world, solve.provider):
            world.fault(f"{solve.id} is stalled, and its account's polls were never pages for a minute")
        if solve.state in ENDS or solve.state is State.STALLED:
            continue
        if solve.state is State.SOLVED and solve.id not in process.present:
            continue
        account = process.sessions[solve.account].account
        if solve.state is State.WAITING and account.ledger.closed:
            continue  # a dead key asks for nothing; its tickets wait for another key
        world.fault(f"{solve.id} is still {solve.state} at the end of the world")
    for ticket in world.arrived:
        known = (
            ticket in process.solves or ticket in world.ends or ticket in world.unsent or ticket in world.ledger.lines
        )
        if not known and ticket not in world.cut_short:
            world.fault(f"{ticket} is forgotten")


def _doubts(world: World) -> None:
    """In doubt is exactly what the network left unknown, and what a crash cut short."""
    doubts = {ticket for ticket, solve in world.ends.items() if solve.state is State.IN_DOUBT}
    doubts |= {
        ticket for ticket, line in world.ledger.lines.items() if line.kind in (RecordKind.IN_DOUBT, RecordKind.INTENT)
    }
    for ticket in sorted(world.ambiguous - doubts):
        # Abandoned while on its way: nobody wants to know any more.
        if ticket not in world.cut_short:
            world.fault(f"{ticket} got no usable answer and is not in doubt")
    for ticket in sorted(doubts - world.ambiguous - world.cut_short):
        world.fault(f"{ticket} is in doubt for no reason")
    for ticket, tasks in world.tasks_of.items():
        if ticket in doubts:
            continue
        solve = world.ends.get(ticket) or (world.process.solves.get(ticket) if world.process else None)
        line = world.ledger.lines.get(ticket)
        known = (solve.task_id if solve is not None else None) or (line.task_id if line is not None else None)
        if known != tasks[0].id and not tasks[0].timing.sync:
            world.fault(f"{ticket}: the vendor's task {tasks[0].id} is known to nobody")


def _results(world: World) -> None:
    """A solution that was paid for is lost only while the client was away or the vendor did not answer."""
    for vendor in world.vendors.values():
        for task in vendor.model.ledger.tasks:
            if task.settled_at is None or task.fail_code is not None or task.timing.sync:
                continue
            ticket = world.task_of[vendor.plan.provider, task.id]
            solve = world.ends.get(ticket)
            if ticket in world.abandoned or ticket in world.ambiguous or ticket in world.cut_short:
                continue
            if solve is None or solve.state is not State.FAILED:
                continue
            if not _excused(world, ticket, task, vendor.plan.provider):
                world.fault(f"{ticket}: solved at {task.settled_at:.3f}, {task.state}, and ended {_why(solve)}")
        for task in vendor.model.ledger.tasks:
            ticket = world.task_of[vendor.plan.provider, task.id]
            if task.state is TaskState.EXPIRED and not _known_end(world, ticket):
                if not _excused(world, ticket, task, vendor.plan.provider):
                    world.fault(f"{ticket}: its result expired, and nobody has noticed")


def _pages_for_a_minute(world: World, provider: str) -> bool:
    outages = world.vendors[provider].plan.outages
    return any(outage.mode in ("firewall", "redirect") and outage.end - outage.start > 60.0 for outage in outages)


def _known_end(world: World, ticket: str) -> bool:
    return ticket in world.ends or ticket in world.abandoned or ticket in world.ambiguous or ticket in world.cut_short


def _why(solve: object) -> str:
    last = getattr(solve, "last", None)
    problem = getattr(last, "problem", None)
    return str(problem.code if problem is not None else getattr(last, "kind", Code.UNKNOWN))


def _excused(world: World, ticket: str, task: Task, provider: str) -> bool:
    assert task.settled_at is not None
    life_s = task.timing.result_life_s or task.timing.life_s or PATIENCE_S
    start, end = task.settled_at - 1.0, task.settled_at + life_s
    for away, back, whose in world.excuses:
        if whose in (None, provider) and away <= end and back + PATIENCE_S >= start:
            return True
    # Polls of this task that got no answer in the time its result was there.
    return any(start - PATIENCE_S <= at <= end for at in world.missed_polls.get(ticket, ()))
