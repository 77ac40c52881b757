"""What must hold when a world of a fleet is over: by the vendor's ledger, the store, and what every caller got.

By hand from design and docs: no task is lost and none is paid for twice, one poller but for what the contract allows, slots
and budgets are kept and given back, and every call ends in time with something that has a reason. What nobody may do at any
step is in `fleet_watch.py`. Each exception says which sentence of the contract allows it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from anycap.journal.port import Entry
from anycap.results import SpendingLine
from anycap.shared.connections import RECONNECT_LONGEST_S
from tests.simulation.fleet_plan import POLL_TIMEOUT_S, PRICE, Arrival

if TYPE_CHECKING:
    from tests.simulation.fleet import Ended, FleetWorld, HandOut, Loss, Poll
    from tests.simulation.fleet_watch import Denial

SILENT_GAP_S = 3.1
"""Between two polls without a lease: twice the usual, which is 1.6 to 3 s here."""
VENDORS_GAP_S = 1.0
SETTLE_S = 3.0
"""So long nobody gets a slot in a store that came back empty: who lives has told it of its tasks by then."""
SLOW_S = 2.0
"""A script's way, there and back, at its slowest."""
CALM_S = 20.0
"""So long after a trouble everything that was left is written: an answer's limit, a reconnection, and what stood before it."""
ANSWER_S = 0.5
"""The vendor's answer, there and back, at its slowest."""
DROPPED_AFTER_S = 60.0
"""So long after a task is done anti-captcha knows nothing of it any more."""
DOUBT = ("intent", "in_doubt")


def is_denied(denial: Denial, ticket_id: str, lost_call: float) -> bool:
    """Whether this answer said that the ticket, which this script gave to others, was not its own any more."""
    return denial.call >= lost_call and (denial.tickets is None or ticket_id in denial.tickets)


class Judge:
    """One world that is over; `entries`, `lines`, `slots` and `counts` are what the store has at the end."""

    def __init__(
        self, world: FleetWorld, entries: list[Entry], lines: list[SpendingLine], slots: list[str], counts: dict[str, str]
    ) -> None:  # fmt: skip
        self._world, self._plan, self._watch = world, world.plan, world.watch
        self._entries, self._lines, self._slots, self._counts = entries, lines, slots, counts
        self._keyed = {arrival.page for arrival in world.plan.arrivals if arrival.key}
        self._tasks: dict[str, list[Any]] = defaultdict(list)
        for task in world.vendor.ledger.tasks:
            self._tasks[str(task.fields["websiteURL"])].append(task)
        self._by_page: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._by_page[str(entry.summary.get("website_url"))].append(entry)

    def judge(self) -> None:
        """Write down every promise that the world broke."""
        for ban in self._world.vendor.bans.imposed:
            self._fault(f"banned {ban.who} by {ban.rule}")
        for page, tasks in self._tasks.items():
            self._paid_once(page, tasks)
            for task in tasks:
                self._not_lost(page, task)
        for task_id, polls in self._world.polls.items():
            self._one_poller(task_id, polls)
            for life in {poll.life for poll in polls}:
                self._slow_without_a_lease(task_id, [poll for poll in polls if poll.life == life])
        self._hand_outs()
        for arrival, end in self._world.ended.items():
            self._end(arrival, end)
        self._doubts()
        self._unfinished()
        self._given_back()
        self._budget()

    def _fault(self, text: str) -> None:
        self._world.fault(text)

    # -- who had what

    def _owners(self, page: str) -> list[str]:
        """The lives that had a ticket of this page, in turn; all that wrote an INTENT for it."""
        changes = [change for entry in self._by_page[page] for change in self._watch.changes.get(entry.ticket_id, ())]
        begun = [self._watch.begun_by.get(entry.ticket_id, "") for entry in self._by_page[page]]
        made = [self._world.makers[task.id] for task in self._tasks[page] if task.id in self._world.makers]
        return [life for life in (*(change.life for change in changes), *begun, *made) if life]

    def _changed_hands(self, page: str) -> bool:
        return len(set(self._owners(page))) > 1

    def _was_well(self, life: str, since: float, until: float) -> bool:
        """Whether it had time with the store between to write down what it knew since then."""
        was_calm = not self._world.was_troubled(life, since - CALM_S, since)
        return any(
            end - start >= (SLOW_S if start == since and was_calm else CALM_S)
            for start, end in self._world.calm_within(life, since, until)
        )

    def _could_be_polled(self, task: Any) -> bool:
        """Whether somebody who was well had the task for a while before the vendor dropped it, or should have taken it over.

        A lease may be longer than the minute for which the vendor keeps a result.
        """
        done_at = task.done_at if task.done_at is not None else math.inf
        dropped_at, ticket_id = done_at + DROPPED_AFTER_S, self._watch.tickets.get(task.id, "")
        changes = [*self._watch.changes.get(ticket_id, ())]
        over, ends = self._world.over, [change.at for change in changes[1:]] + [math.inf]
        for change, until in zip(changes, ends, strict=True):
            if change.life:
                start = max(change.at, done_at)
                alive_until = min(until, dropped_at, over.get(change.life, math.inf))
                calm = self._world.calm_within(change.life, start, alive_until)
                if any(end - begin >= CALM_S for begin, end in calm):
                    return True
        patience_s = 1.5 * self._plan.lease_s + POLL_TIMEOUT_S + CALM_S
        world_over = max((at for life, at in over.items() if life not in self._world.killed), default=0.0)
        calm = self._world.calm_within(None, done_at, min(dropped_at, world_over))
        return any(end - begin >= patience_s for begin, end in calm)

    # -- money

    def _paid_once(self, page: str, tasks: list[Any]) -> None:
        for before, after in itertools.pairwise(tasks):
            if not (page in self._keyed and self._forgotten(before, after.created_at)):
                self._fault(f"{page}: {len(tasks)} tasks, the second at {after.created_at:.2f}")

    def _forgotten(self, task: Any, at: float) -> bool:
        """Whether the store may have lost all of a task and its key, and nobody was there to tell it again.

        Closed tickets are not told again, nor those of the dead and of who cannot be reached. What was written between the
        replica's last word and its promotion is lost at once, unless the durability is `replica`: then nothing was sent.
        """
        for loss in self._world.losses:
            if not loss.since <= at:
                continue
            if loss.failover:  # the replica knows of what was begun before
                if loss.since <= task.created_at <= loss.until + SLOW_S and self._plan.durability != "replica":
                    return True
                continue
            closed = task.settled_at is not None and task.settled_at <= loss.until
            if task.created_at <= loss.until and (closed or self._has_no_holder(task, loss)):
                return True
        return False

    def _has_no_holder(self, task: Any, loss: Loss) -> bool:
        """Whether who had the task was not there to tell the store of it."""
        holder = self._holder(task, loss)
        return holder is None or self._world.is_away(holder, loss.until, loss.until + SETTLE_S)

    def _holder(self, task: Any, loss: Loss) -> str | None:
        """Who had the task when the store was lost, and knew it: who has just taken it over has yet to read its records."""
        ticket_id = self._watch.tickets.get(task.id, "")
        holder = self._watch.owner_at(ticket_id, loss.call)
        taken_at = self._watch.taken_over_at(ticket_id, loss.call)
        if holder and taken_at is not None and not self._was_well(holder, taken_at, loss.since):
            return None
        return holder or self._world.makers.get(task.id)

    def _not_lost(self, page: str, task: Any) -> None:
        known = [entry for entry in self._by_page[page] if entry.task_id == task.id]
        if len(known) == 1 and str(known[0].kind) == "delivered":
            return
        if len(known) == 1 and str(known[0].kind) == "failed" and not self._could_be_polled(task):
            return
        if not known and any(entry.kind in DOUBT for entry in self._by_page[page]):
            return  # `_doubts` asks why
        ticket_id = self._watch.tickets.get(task.id, "")
        for loss in self._world.losses:
            since = loss.since if loss.failover else -math.inf
            if any(since <= at <= loss.until for at, _ in self._watch.delivered_at[ticket_id]):
                return  # what was closed is not told again
            holder = self._holder(task, loss)
            if task.created_at <= loss.until and (
                holder is None or not self._was_well(holder, loss.until, self._world.over.get(holder, math.inf))
            ):
                return  # who had it was gone before it could tell
        what = [(str(entry.kind), entry.task_id) for entry in self._by_page[page]]
        self._fault(f"task {task.id} of {page} is lost: {what}")

    def _doubts(self) -> None:
        """In doubt is what nobody can know: no answer came to createTask, or who got it died before it could say so.

        Or the word that nothing was sent went with a failover: what is closed is not told again.
        """
        for page, entries in self._by_page.items():
            for entry in entries:
                if entry.kind in DOUBT and not self._may_be_in_doubt(page, entry.ticket_id):
                    maker = self._watch.begun_by.get(entry.ticket_id)
                    self._fault(f"{page}: {entry.kind} of {maker} for no reason")

    def _may_be_in_doubt(self, page: str, ticket_id: str) -> bool:
        watch, world = self._watch, self._world
        maker, begun_at = watch.begun_by.get(ticket_id, ""), watch.begun_at.get(ticket_id, 0.0)
        taken_back_at = watch.taken_back_at.get(ticket_id, -math.inf)
        if any(loss.failover and loss.since <= taken_back_at <= loss.until for loss in world.losses):
            return True
        if (page, maker) in world.unclear:
            return True
        return maker in world.killed and not self._was_well(maker, begun_at + ANSWER_S, world.over[maker])

    # -- polls

    def _one_poller(self, task_id: Any, polls: list[Poll]) -> None:
        """Who has a task is its only poller, but for one poll that was on its way, and while the store is silent.

        The first answer that denies it ends that: that the fence is over, or a refused record. Other answers say nothing of it.
        """
        ticket_id = self._watch.tickets.get(task_id)
        if ticket_id is None:
            if len({poll.life for poll in polls}) > 1:
                self._fault(f"task {task_id}, of which the store never heard, has several pollers")
            return
        late: Counter[tuple[str, int]] = Counter()
        for poll in polls:
            if poll.call < self._watch.known_since[task_id] and poll.life == self._world.makers.get(task_id):
                continue  # whoever has the ticket has it in doubt: nobody else knows the task's id, or can poll
            owner = self._watch.owner_at(ticket_id, poll.call)
            if not owner or owner == poll.life or self._world.over.get(owner, math.inf) <= poll.at:
                continue
            lost_call = self._watch.lost_at(ticket_id, poll.life, poll.call)
            if lost_call is None:
                self._fault(f"task {task_id}: {poll.life} polled what it never had")
                continue
            if any(is_denied(denial, ticket_id, lost_call) and denial.at < poll.at for denial in poll.denials):
                self._fault(f"task {task_id}: {poll.life} polled at {poll.at:.3f} though the store had denied it")
            elif not poll.silent:
                late[poll.life, lost_call] += 1
        self._world.late_polls += late.total()
        for (life, _), count in late.items():
            if count > 1:
                self._fault(f"task {task_id}: {life} polled {count} times after it had lost it")

    def _slow_without_a_lease(self, task_id: Any, polls: list[Poll]) -> None:
        """Without a lease it polls at twice the vendor's gap; the first may be late, as it waited for the store's answer."""
        floor_s = VENDORS_GAP_S
        for before, after in itertools.pairwise(polls):
            if before.has_lease or after.has_lease:
                floor_s = VENDORS_GAP_S
                continue
            gap_s = after.at - before.at
            held = self._world.stopped_for(before.life, before.at - SILENT_GAP_S, after.at)
            if gap_s < floor_s and not held:
                self._fault(f"task {task_id}: {before.life} polled after {gap_s:.1f} s without a lease")
            floor_s = SILENT_GAP_S

    def _hand_outs(self) -> None:
        """One caller gets it: whoever hands it out says so in the store, if it lives on and reaches that."""
        for page, tasks in self._tasks.items():
            if page in self._keyed:
                continue
            for task in tasks:
                told: dict[str, HandOut] = {}
                for out in self._world.handed_out[task.id]:
                    told.setdefault(out.life, out)
                firm = [life for life, out in told.items() if not self._could_not_say(task.id, out)]
                if len(firm) > 1:
                    self._fault(f"task {task.id}: handed out by {sorted(told)}")

    def _could_not_say(self, task_id: Any, out: HandOut) -> bool:
        """Whether what it had handed out could not be written ("hands results out ... records follow").

        Others had taken it over, and the store was silent to it and had not denied it; or it had no calm moment with the
        store until others took it over, or it was over itself; or what it wrote went with a failover.
        """
        world, life = self._world, out.life
        ticket_id = self._watch.tickets.get(task_id, "")
        written = [at for at, by in self._watch.delivered_at[ticket_id] if by == life]
        if any(loss.failover and loss.since <= at <= loss.until for loss in world.losses for at in written):
            return True
        lost_call = self._watch.lost_at(ticket_id, life, out.call)
        if lost_call is not None:
            return out.silent and not any(is_denied(denial, ticket_id, lost_call) for denial in out.denials)
        until = min(self._watch.has_until(ticket_id, life, out.call), world.over.get(life, math.inf))
        return not self._was_well(life, out.at, until)

    # -- what callers got

    def _end(self, arrival: Arrival, end: Ended) -> None:
        page, plan = arrival.page, self._plan
        stopped_s = self._world.stopped_for(end.life, end.began, end.at)
        if end.at > end.began + arrival.timeout_s + stopped_s + 0.1:
            self._fault(f"{page}: ended {end.at - end.began - arrival.timeout_s:.1f} s after its deadline")
        match end.what:
            case "solved":
                self._solved(page, end)
            case "DeadlineError":
                self._deadline(arrival, end)
            case "SolutionExpired" if arrival.key and self._world.losses:
                self._fault(f"{page}: expired, and no token of this vendor does")
            case "InDoubtError" if self._changed_hands(page) or any(page == each for each, _ in self._world.unclear):
                pass
            case "UnsolvedError" if not any(
                self._could_be_polled(task) for task in self._tasks[page] if task.id == end.task_id
            ):
                pass
            case "Fenced" if self._lost(end):
                pass
            case "BudgetError" if plan.budget_tasks is not None:
                begun = len(self._watch.begun_by)  # what is held back for tasks on their way counts, too
                if begun < plan.budget_tasks:
                    self._fault(f"{page}: no budget after {begun} tasks of {plan.budget_tasks}")
            case "InvalidKey" | "AccountError" | "SolveError" if end.at >= plan.key_dies_at:
                pass
            case _:
                self._fault(f"{page}: {end.what} in {end.life}")

    def _lost(self, end: Ended) -> bool:
        """Whether others had taken it over. By the ticket that the error names: the store may have lost that since."""
        return self._watch.was_taken_from(end.ticket_id, end.life)

    def _solved(self, page: str, end: Ended) -> None:
        if end.task_id not in {task.id for task in self._tasks[page]}:
            self._fault(f"{page}: {end.life} got task {end.task_id}, which is none of it")

    def _deadline(self, arrival: Arrival, end: Ended) -> None:
        page, plan = arrival.page, self._plan
        if end.at < end.began + arrival.timeout_s - 0.1 and not plan.pauses and plan.key_dies_at == math.inf:
            self._fault(f"{page}: its time was up {end.began + arrival.timeout_s - end.at:.1f} s early")
        patience_s = 1.5 * plan.lease_s + POLL_TIMEOUT_S + 20.0
        for task in self._tasks[page]:
            solved = max(task.done_at or math.inf, end.began)
            calm = not self._world.was_troubled(None, solved - patience_s, end.at)
            if calm and solved + patience_s < end.at and end.life not in self._world.killed:
                self._fault(f"{page}: waited until {end.at:.2f}, the task was solved at {solved:.2f}")
        rounds = math.ceil(len({each.page for each in plan.arrivals}) / plan.slots)
        if plan.is_calm and rounds * (plan.solve_s[1] + 8.0) + 10.0 < arrival.timeout_s:
            self._fault(f"{page}: not solved, and nothing had happened")

    # -- slots and budgets

    def _unfinished(self) -> None:
        """Never more tasks unfinished than the account has slots.

        Beyond that may be what is in doubt, which nobody knows to be unfinished, and what the store has lost: the tasks of
        who was not there to tell it, and those of the scripts that a failover has taken with it. And what somebody sends who
        has come to an empty store before all others: to it the namespace is a new one.
        """
        known = {entry.task_id for entry in self._entries}
        changes = []
        for tasks in self._tasks.values():
            for task in tasks:
                if task.id in known and not self._untold(task) and not self._came_first(task):
                    over = task.settled_at if task.settled_at is not None else task.done_at
                    changes += [(task.created_at, 1), (over, -1)]
        now = most = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        lost = self._plan.failover_lag if self._plan.failover_at and self._plan.durability != "replica" else 0
        if most > self._plan.slots + lost:
            self._fault(f"{most} tasks were unfinished at once, with {self._plan.slots} slots")

    def _came_first(self, task: Any) -> bool:
        """Whether it was made by a process that signed in to an empty store, in the seconds until others had found it."""
        joined = self._world.joined.get(self._world.makers.get(task.id, ""), -math.inf)
        return any(
            not loss.failover and loss.until <= joined and task.created_at <= loss.until + RECONNECT_LONGEST_S + SLOW_S
            for loss in self._world.losses
        )

    def _untold(self, task: Any) -> bool:
        """Whether the store did not know of it for a while: in doubt, or lost with who could have told."""
        if self._watch.tickets.get(task.id) in self._watch.in_doubt:
            return True
        return any(
            # What was begun before the replica was cut off has its slot there.
            (not loss.failover or task.created_at >= loss.since)
            and task.created_at <= loss.until
            and self._has_no_holder(task, loss)
            for loss in self._world.losses
        )

    def _given_back(self) -> None:
        """Whoever is done has no slot; in doubt is done."""
        open_tickets = {entry.ticket_id for entry in self._entries if not entry.closed and entry.kind not in DOUBT}
        for ticket_id in set(self._slots) - open_tickets:
            self._fault(f"ticket {ticket_id} keeps its slot")
        counts = {name: count for name, count in self._counts.items() if int(count)}
        if counts and not self._slots:
            self._fault(f"no slot is taken, and yet there are counted {counts}")

    def _budget(self) -> None:
        """No more is spent than allowed, what is spent is what was paid, and nothing is held back for what is over."""
        plan, tasks = self._plan, self._world.vendor.ledger.tasks
        if plan.budget_tasks is None:
            return
        if not self._world.losses and len(tasks) > plan.budget_tasks:
            self._fault(f"{len(tasks)} tasks, and the budget was for {plan.budget_tasks}")
        held = sum((line.reserved for line in self._lines), Decimal(0))
        doubts = sum(entry.kind in DOUBT for entry in self._entries)
        if held != doubts * PRICE:
            self._fault(f"{held} is held back for {doubts} tickets in doubt")
        spent = sum((line.spent for line in self._lines), Decimal(0))
        known = {entry.task_id for entry in self._entries if entry.task_id is not None}
        paid = sum((task.paid for task in tasks if task.id in known), Decimal(0))
        if spent != paid and not self._world.losses:
            self._fault(f"{spent} is spent by the store's books, {paid} by the vendor's")
