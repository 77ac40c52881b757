"""The tasks of one vendor: found by id, finished when their time has come, charged or refunded, dropped when they expire.

Nothing here answers a request; `model.py` does, and says what becomes of a finished task's callback.
"""

from __future__ import annotations

import heapq
import math
import random
import uuid
from collections.abc import Mapping
from typing import TypeGuard

from anycap.emulator.accounts import VendorAccount
from anycap.emulator.dialects import Dialect, Trouble
from anycap.emulator.ledger import Ledger, Task, TaskState


class TaskBoard:
    """All tasks that a vendor ever made, and a heap of what falls due next: the end of a task, then of its result."""

    def __init__(self, dialect: Dialect, accounts: Mapping[str, VendorAccount], rng: random.Random) -> None:
        self.ledger = Ledger()
        self.unfinished = 0
        """Tasks of all accounts that a worker holds or that wait for a variable."""
        self._dialect = dialect
        self._accounts = accounts
        self._rng = rng
        self._tasks: dict[int | str, Task] = {}
        self._next_id = dialect.first_task_id
        # Each task stands in it once at most: first with its end, then with the end of its result.
        self._due: list[tuple[float, int, Task]] = []
        # Ties are broken by the order of entry: two tasks themselves cannot be compared.
        self._order = 0

    def new_id(self) -> int | str:
        """The next id in the vendor's manner: a UUID, or the next number."""
        if self._dialect.uuid_ids:
            return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        self._next_id += 1
        return self._next_id - 1

    def add(self, task: Task, now: float) -> None:
        """Take a new task in: its price leaves the balance, and a worker begins unless it waits for a variable."""
        account = self._accounts[task.account]
        account.balance -= task.amount
        account.unfinished += 1
        self.unfinished += 1
        self._tasks[task.id] = task
        self.ledger.add(task)
        if not task.waits_for:
            self.start(task, now)

    def start(self, task: Task, now: float) -> None:
        """Put a worker on the task: it is done after its solve time."""
        task.done_at = now + task.solve_s
        self._put(task.done_at, task)

    def advance_to(self, now: float) -> list[Task]:
        """Do what has fallen due until now; gives the tasks that were finished, in order."""
        finished: list[Task] = []
        due = self._due
        while due and due[0][0] <= now:
            at, _, task = heapq.heappop(due)
            if task.state is TaskState.PENDING:
                self._finish(task, at)
                finished.append(task)
            else:
                self.drop(task)
        return finished

    def drop(self, task: Task) -> None:
        """Forget a task, as the vendor does after its time: a result that nobody fetched stays paid for."""
        task.gone = True
        if task.state is TaskState.SOLVED and not task.delivered:
            task.state = TaskState.EXPIRED

    def find(self, account: VendorAccount, task_id: object) -> Task | Trouble:
        """The account's living task with this id (a numeric string is taken for a number), or what is wrong with it."""
        if self._dialect.uuid_ids:
            if not isinstance(task_id, str):
                return Trouble.MALFORMED_ID
        elif _is_number(task_id):
            task_id = int(task_id)
        elif isinstance(task_id, bool) or not isinstance(task_id, int):
            return Trouble.MALFORMED_ID
        task = self._tasks.get(task_id)
        # Another account's task is as unknown as none: ids must not tell who else is a customer.
        if task is None or task.gone or task.account != account.name:
            return Trouble.UNKNOWN_ID
        return task

    def known(self, task_id: object) -> Task | None:
        """The task that a request means by this id, whoever asks and however old it is; None when there is none."""
        if not self._dialect.uuid_ids and _is_number(task_id):
            task_id = int(task_id)
        return self._tasks.get(task_id) if isinstance(task_id, int | str) else None

    def next_due_at(self) -> float | None:
        """When the next task is finished or dropped; None when nothing is under way."""
        return self._due[0][0] if self._due else None

    def _finish(self, task: Task, at: float) -> None:
        account = self._accounts[task.account]
        account.unfinished -= 1
        self.unfinished -= 1
        task.settled_at = at
        if task.fail_code is None:
            task.state = TaskState.SOLVED
        else:
            task.state = TaskState.FAILED
            if task.fail_code not in self._dialect.charges_failures:
                task.refunded = task.amount
                account.balance += task.amount
        timing = task.timing
        kept_until = math.inf if timing.result_life_s is None else at + timing.result_life_s
        if timing.life_s is not None:
            # Never before its own end, or a task that takes longer than its life would be dropped unfinished.
            kept_until = min(kept_until, max(at, task.created_at + timing.life_s))
        if kept_until < math.inf:
            self._put(kept_until, task)

    def _put(self, at: float, task: Task) -> None:
        self._order += 1
        heapq.heappush(self._due, (at, self._order, task))


def _is_number(task_id: object) -> TypeGuard[str]:
    # Nineteen digits hold every id a vendor gives; int() of a longer text would only cost time.
    return isinstance(task_id, str) and task_id.isascii() and task_id.isdecimal() and len(task_id) < 20
