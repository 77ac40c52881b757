"""What must hold when a keyed world is over: by the vendor's ledger, the journal's entries and what every caller got.

The rules are written by hand from the table of keys in the docs and from the reference's table of codes; nothing of
`core/idempotency.py` is asked.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from anycap import DeadlineError, KeyMismatch, SolutionExpired, SolveError
from anycap.emulator.ledger import Task, TaskState
from anycap.errors import ClientClosed, InDoubtError, JournalError, TicketError
from anycap.journal.port import Entry
from anycap.results import Solution, SpendingLine, TokenSolution
from tests.simulation.keyed_watch import Created, Ended

if TYPE_CHECKING:
    from tests.simulation.keyed import KeyedWorld

TOKEN_LIFE_S = {"ezcaptcha": 120.0, "capsolver": 120.0, "anti-captcha": math.inf}
"""How long a token is valid, from the vendors' pages; anti-captcha states nothing, and the journal keeps it for days."""
SLACK_S = 1.0
"""A turn of an event loop, a disk and a round trip."""
DEADLINE_SLACK_S = 0.05
"""A deadline is a deadline, whatever the disk and the network do: only turns of the loop may pass."""
TOLD_WITHIN_S = 3.0
"""A look at the journal, and the disks of two processes that have other things to write."""
NOTICED_WITHIN_S = 20.0
"""A gap between polls, a round trip, a look for dead owners, the disk: and all that once more where processes die."""

_TAXONOMY = {
    (row["provider"], row["vendor_code"]): row
    for row in csv.DictReader(
        Path(__file__).parents[1].joinpath("data", "taxonomy.csv").read_text("utf-8").splitlines()
    )
}


def judge(world: KeyedWorld, entries: Sequence[Entry], lines: Sequence[SpendingLine]) -> None:
    """Write down every promise that the world broke."""
    Judge(world, entries).judge(lines)


class Judge:
    """One world that is over."""

    def __init__(self, world: KeyedWorld, entries: Sequence[Entry]) -> None:
        self._world = world
        self._watch = world.watch
        self._provider = world.plan.provider
        self._entries = entries
        self._known = {str(entry.task_id): entry for entry in entries if entry.task_id is not None}
        """By the vendor's id: the tasks that the journal knows of. Others are in doubt."""
        self._tasks: dict[str, list[Task]] = defaultdict(list)
        """By page."""
        for task in world.emulator[self._provider].ledger.tasks:
            self._tasks[str(task.fields["websiteURL"])].append(task)
        self._created: dict[str, list[Created]] = defaultdict(list)
        for made in self._watch.created:
            self._created[made.page].append(made)

    def judge(self, lines: Sequence[SpendingLine]) -> None:
        for page, tasks in self._tasks.items():
            self._paid_once(page, tasks)
            self._never_lost(page, tasks)
        self._one_challenge_per_key()
        self._nothing_after_a_final_answer()
        self._one_poller()
        self._one_charge()
        for end in self._watch.ends:
            if not end.left and not end.cut_off:
                self._answer(end)
            elif isinstance(end.result, Solution):
                self._solution(end, end.result)
            else:
                self._waited_for_something(end)
        self._reserves(lines)
        for ban in self._world.emulator[self._provider].bans.imposed:
            self._fault(f"the vendor banned {ban.who} by its rule {ban.rule}")

    def _fault(self, text: str) -> None:
        self._world.fault(text)

    # -- money

    def _paid_once(self, page: str, tasks: Sequence[Task]) -> None:
        asks = [(at, life, ask) for at, life, ask in self._watch.asks if ask.page == page]
        for before, after in itertools.pairwise(tasks):
            now = after.created_at
            # Who may have asked for it: callers of the process that sent it. One that has left or ended may be the cause still.
            life = max((made for made in self._created[page] if made.at <= now), key=lambda made: made.at).life
            reuses = {ask.reuse for at, of, ask in asks if of == life and at <= now}
            lost = any(
                before.created_at <= each.at <= now and not each.charged
                for each in self._watch.settlements
                if each.ticket.challenge.get("website_url") == page
            )
            if before.state is TaskState.FAILED and before.paid == 0:
                # A call that made the first one may make another by itself, where the vendor charges for no failure.
                same_call = any(of == life and at <= before.created_at for at, of, _ in asks)
                if reuses == {"never"} and not same_call:
                    self._fault(f"{page}: a new task at {now:.2f} although reuse='never'")
                continue
            in_doubt = str(before.id) not in self._known
            if in_doubt and lost and reuses != {"never"}:
                continue
            ended = before.settled_at if before.settled_at is not None else math.inf
            expired = now >= ended + TOKEN_LIFE_S[self._provider] - SLACK_S
            if before.state in (TaskState.SOLVED, TaskState.EXPIRED) and expired and "expired" in reuses:
                continue
            what = "in doubt" if in_doubt else str(before.state)
            self._fault(f"{page}: paid again at {now:.2f}; the task of {before.created_at:.2f} was {what}")

    def _never_lost(self, page: str, tasks: Sequence[Task]) -> None:
        """Every task that was made is in the journal, or there is a ticket of its page that says that one may be."""
        unknown = sum(str(task.id) not in self._known for task in tasks)
        doubts = sum(
            entry.task_id is None
            and entry.summary.get("website_url") == page
            and entry.kind in ("intent", "in_doubt", "settled")
            for entry in self._entries
        )
        if unknown > doubts:
            self._fault(f"{page}: {unknown} tasks that the journal knows nothing of, {doubts} tickets in doubt")
        for task in tasks:
            entry = self._known.get(str(task.id))
            if entry is not None and not entry.closed and entry.kind != "result":
                self._fault(f"{page}: task {task.id} was left {entry.kind}")

    def _one_challenge_per_key(self) -> None:
        pages: dict[str, set[str]] = defaultdict(set)
        for page in self._tasks:
            pages[page.rsplit("/", 1)[0]].add(page)
        for key, found in pages.items():
            if len(found) > 1:
                self._fault(f"{key} stood for {len(found)} challenges")

    def _nothing_after_a_final_answer(self) -> None:
        for page, created in self._created.items():
            for before, after in itertools.pairwise(created):
                if self._is_final(before.outcome) and before.answered_at < after.at and self._was_told(before):
                    self._fault(f"{page}: asked again at {after.at:.2f} after {before.outcome}")

    def _category(self, outcome: str) -> str | None:
        row = _TAXONOMY.get((self._provider, outcome))
        return None if row is None else row["category"]

    def _is_final(self, outcome: str) -> bool:
        row = _TAXONOMY.get((self._provider, outcome))
        return row is not None and (
            row["category"] == "refused" or (row["category"] in ("challenge", "request") and row["retry"] == "never")
        )

    def _was_told(self, made: Created) -> bool:
        """Whether the process lived on for long enough to write down what it was answered; else it is in doubt."""
        return self._watch.spans[made.life].over > made.answered_at + SLACK_S

    def _reserves(self, lines: Sequence[SpendingLine]) -> None:
        """What is held back is for tickets that are open; what is spent is what the tickets have cost."""
        if len({line.day for line in lines}) > 1 or not self._world.plan.budget:
            return
        reserved = sum((line.reserved for line in lines), Decimal(0))
        held = sum(
            (Decimal(entry.price or 0) for entry in self._entries if entry.kind in ("intent", "accepted", "in_doubt")),
            Decimal(0),
        )
        if reserved != held:
            self._fault(f"{reserved} held back, {held} by the tickets")

    # -- polls and events

    def _one_poller(self) -> None:
        last: dict[str, int] = {}
        for poll in self._watch.polls:
            before = last.get(poll.task_id, poll.life)
            if before != poll.life and self._watch.spans[before].over > poll.at:
                self._fault(f"task {poll.task_id}: polled by process {poll.life} at {poll.at:.2f} beside {before}")
            last[poll.task_id] = poll.life

    def _one_charge(self) -> None:
        for ticket_id, count in Counter(charge.ticket_id for charge in self._watch.charges).items():
            if count > 1:
                self._fault(f"ticket {ticket_id}: {count} events of a charge")
        told = {charge.task_id for charge in self._watch.charges}
        for task_id, entry in self._known.items():
            pollers = {poll.life for poll in self._watch.polls if poll.task_id == task_id}
            killed = any(self._watch.spans[life].killed for life in pollers)
            if entry.kind in ("result", "delivered") and not killed and task_id not in told:
                self._fault(f"task {task_id}: nobody was told of its charge")

    # -- what callers got

    def _answer(self, end: Ended) -> None:
        ask, result = end.ask, end.result
        name = f"{ask.page} ask {ask.number} of process {end.life}"
        if end.at > end.began + ask.timeout_s + DEADLINE_SLACK_S:
            self._fault(f"{name}: ended {end.at - end.began - ask.timeout_s:.1f} s after its deadline")
        tasks, created = self._tasks[ask.page], self._created[ask.page]
        abandoned = any(other.abandon for _, _, other in self._watch.asks if other.page == ask.page)
        match result:
            case Solution():
                self._solution(end, result)
            case InDoubtError():
                if not any(self._may_be_in_doubt(made) for made in created if made.at <= end.at):
                    self._fault(f"{name}: {result!r}, and nothing is in doubt")
            case KeyMismatch():
                if not any(
                    other.key == ask.key and other.page != ask.page for at, _, other in self._watch.asks if at <= end.at
                ):
                    self._fault(f"{name}: a mismatch of nothing")
            case SolutionExpired():
                life_s = TOKEN_LIFE_S[self._provider]
                if ask.reuse == "expired" or not any(
                    task.settled_at is not None and task.settled_at + life_s <= end.at + SLACK_S for task in tasks
                ):
                    self._fault(f"{name}: {result!r}")
            case DeadlineError():
                self._deadline(end, name)
            case SolveError():
                codes = {made.outcome for made in created} | {
                    self._watch.poll_errors.get(str(task.id)) for task in tasks
                }
                if result.vendor_code is not None and result.vendor_code not in codes:
                    self._fault(f"{name}: {result!r}, which nobody answered")
            case ClientClosed():
                self._fault(f"{name}: {result!r}")
            case JournalError():
                self._fault(f"{name}: {result!r}")
            case TicketError():
                settled = any(
                    (each.charged or ask.reuse == "never") and each.ticket.challenge.get("website_url") == ask.page
                    for each in self._watch.settlements
                )
                # Nothing was made so far, be it that the vendor is busy or that a process was killed: an end, for "never".
                unsent = ask.reuse == "never" and (
                    any(made.outcome != "made" for made in created)
                    or any(
                        entry.kind == "not_created" and entry.summary.get("website_url") == ask.page
                        for entry in self._entries
                    )
                )
                # A solution without a key is erased once somebody has it: a late `wait` has nothing to give.
                if not (abandoned or settled or unsent or (ask.how == "elsewhere" and ask.key is None)):
                    self._fault(f"{name}: {result!r}")
            case _:
                self._fault(f"{name}: {result!r}")

    def _may_be_in_doubt(self, made: Created) -> bool:
        if made.outcome == "unclear":
            return True
        if made.outcome == "made":
            return made.task_id not in self._known  # killed before it was written down
        return not self._was_told(made)

    def _solution(self, end: Ended, solution: Solution) -> None:
        assert isinstance(solution, TokenSolution)
        name = f"{end.ask.page} ask {end.ask.number} of process {end.life}"
        of = [task_id for task_id, token in self._watch.tokens.items() if token == solution.token]
        task = next((task for task in self._tasks[end.ask.page] if str(task.id) in of), None)
        if task is None:
            self._fault(f"{name}: got a token of another page")
            return
        noticed = max(at for at, _ in self._watch.noticed[str(task.id)])
        if end.at > noticed + TOKEN_LIFE_S[self._provider] + SLACK_S:
            self._fault(f"{name}: got a token that has expired")
        if solution.redelivered and not any(
            isinstance(other.result, TokenSolution) and other.result.token == solution.token and other.began <= end.at
            for other in self._watch.ends
            if other is not end
        ):
            # A caller of a process that was killed may have had it; so may one that left at that moment.
            if not any(
                other.cut_off or other.left
                for other in self._watch.ends
                if other.ask.page == end.ask.page and other.began <= end.at
            ) and not self._waited_for_elsewhere(task):
                self._fault(f"{name}: redelivered, and nobody has had it")

    def _waited_for_elsewhere(self, task: Task) -> bool:
        """Whether a process waited for what `resume` gave it: such callers are not written down."""
        return any(life.resumes and life.start > task.created_at for life in self._world.plan.lives)

    def _deadline(self, end: Ended, name: str) -> None:
        ask = end.ask
        # A pause of its own process that is longer than the time left ends a call at once.
        answers = [made.outcome for made in self._watch.created if made.life == end.life and made.at <= end.at]
        paused = any(self._category(answer) in ("busy", "service") for answer in answers)
        if end.at < end.began + ask.timeout_s - SLACK_S and not paused:
            self._fault(f"{name}: its time was up {end.began + ask.timeout_s - end.at:.1f} s early")
        self._waited_for_something(end)

    def _waited_for_something(self, end: Ended) -> None:
        """Whoever has got nothing so far: nobody had the answer, and nobody could have had it."""
        ask = end.ask
        name = f"{ask.page} ask {ask.number} of process {end.life}"
        latest = self._created[ask.page][-1] if self._created[ask.page] else None
        if latest is not None and self._may_be_in_doubt(latest):
            since = min(latest.answered_at, self._watch.spans[latest.life].over)
            if max(since, end.began) + NOTICED_WITHIN_S < end.at:
                self._fault(f"{name}: waited until {end.at:.2f}; nobody said that it was in doubt since {since:.2f}")
        life_s = TOKEN_LIFE_S[self._provider]
        for task in self._tasks[ask.page]:
            task_id = str(task.id)
            noticed = min(  # by a process that lived for long enough to write it down
                (at for at, life in self._watch.noticed[task_id] if self._watch.spans[life].over > at + SLACK_S),
                default=math.inf,
            )
            if max(noticed, end.began) + TOLD_WITHIN_S < end.at < noticed + life_s:
                self._fault(f"{name}: waited until {end.at:.2f}, the token was here at {noticed:.2f}")
            solved = task.settled_at if task.state is not TaskState.FAILED and task.settled_at is not None else math.inf
            if task_id in self._known and max(solved, end.began) + NOTICED_WITHIN_S < min(end.at, noticed):
                self._fault(f"{name}: waited until {end.at:.2f}, the task was solved at {solved:.2f}, nobody looked")
