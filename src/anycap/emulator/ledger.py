"""A vendor's ledger: one entry per created task, with its money, and totals that must always add up.

It shows keys as fingerprints only. Tasks get here through `task_board.py`; nothing here decides about a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import define, field

from anycap.core.vendor_limits import Timing


class TaskState(StrEnum):
    """Where a task stands. EXPIRED: solved and paid, but the result was dropped before anyone had it."""

    PENDING = "pending"
    SOLVED = "solved"
    FAILED = "failed"
    EXPIRED = "expired"


@define(eq=False)
class Task:
    """One task, and its line in the ledger. Times in seconds of the vendor's clock; `amount` is what was taken for it.

    `delivered` counts the answers that carried the solution, `answer_lost` says that an injected fault kept the id of
    the task from the client, `report` is the kind of the accepted report ("" without one) and `report_counted` whether
    the account had enough tasks in 24 h for the vendor to count it.
    """

    id: int | str
    account: str
    type: str
    timing: Timing
    fields: Mapping[str, Any] = field(repr=False)
    address: str
    created_at: float
    amount: Decimal
    solve_s: float
    seed: int
    fail_code: str | None = None
    done_at: float | None = None
    state: TaskState = TaskState.PENDING
    refunded: Decimal = Decimal(0)
    settled_at: float | None = None
    polls: int = 0
    last_poll_at: float | None = None
    delivered: int = 0
    answer_lost: bool = False
    gone: bool = False
    report: str = ""
    report_counted: bool = True
    callback_url: str | None = None
    soft_id: int | str | None = None
    waits_for: set[str] = field(factory=set)

    @property
    def paid(self) -> Decimal:
        """What the task has cost for good, or holds until it is settled."""
        return self.amount - self.refunded

    def to_json(self) -> dict[str, Any]:
        """The ledger line as JSON values; amounts are decimal strings, the key is a fingerprint."""
        return {
            "time": round(self.created_at, 6),
            "account": self.account,
            "task_id": self.id,
            "type": self.type,
            "amount": str(self.amount),
            "refunded": str(self.refunded),
            "state": str(self.state),
            "code": self.fail_code if self.state is TaskState.FAILED else None,
            "settled_at": None if self.settled_at is None else round(self.settled_at, 6),
            "polls": self.polls,
            "delivered": self.delivered,
            "answer_lost": self.answer_lost,
            "report": self.report,
            "report_counted": self.report_counted,
        }


class Ledger:
    """All tasks of one vendor in order of creation, and the injected losses that a client cannot see through.

    `ambiguous_drops` counts createTask requests whose outcome an injected fault hid from the client, whether or not a
    task was made: a client that keeps its promises has exactly that many solves in doubt.
    """

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.ambiguous_drops = 0

    def add(self, task: Task) -> None:
        self.tasks.append(task)

    def of(self, account: str) -> list[Task]:
        """The tasks of one account (named by its fingerprint)."""
        return [task for task in self.tasks if task.account == account]

    def count(self, state: TaskState) -> int:
        """How many tasks are in this state."""
        return sum(1 for task in self.tasks if task.state is state)

    @property
    def charged(self) -> Decimal:
        """Everything taken and not given back."""
        return sum((task.paid for task in self.tasks), Decimal(0))

    @property
    def lost(self) -> list[Task]:
        """Paid tasks whose solution never reached anyone and, so far, never will: expired, or their id was lost."""
        return [t for t in self.tasks if t.paid > 0 and not t.delivered and (t.gone or t.answer_lost)]

    def summary(self) -> dict[str, Any]:
        """Counts and sums as JSON values."""
        counts = dict.fromkeys((str(state) for state in TaskState), 0)
        for task in self.tasks:
            counts[str(task.state)] += 1
        return {
            "tasks": len(self.tasks),
            **counts,
            "delivered": sum(1 for task in self.tasks if task.delivered),
            "polls": sum(task.polls for task in self.tasks),
            "charged": str(self.charged),
            "ambiguous_drops": self.ambiguous_drops,
            "answers_lost": sum(1 for task in self.tasks if task.answer_lost),
        }

    def to_json(self) -> dict[str, Any]:
        """The summary and every line."""
        return {"summary": self.summary(), "tasks": [task.to_json() for task in self.tasks]}
