"""What `anycap demo` shows at the end: per account what became of its challenges, per fault how it was survived.

The vendors' ledgers are the judge: a charged task must be delivered, failed, or reported to the caller as in doubt.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, field

from anycap.cli.demo_script import ACTS, VENDORS, WRONG_KEY_ACCOUNT
from anycap.cli.output import table
from anycap.errors import AnycapError, InDoubtError, SolveError

if TYPE_CHECKING:
    from anycap.emulator import Emulator
    from anycap.outcomes import Outcome
    from anycap.results import Solution


@define
class Line:
    """One account's share of the result."""

    tasks: int = 0
    solved: int = 0
    in_doubt: int = 0
    errors: dict[str, int] = field(factory=dict)
    created: int = 0
    polls: int = 0
    requests: int = 0
    cost: Decimal = Decimal(0)
    currency: str = ""

    @property
    def polls_per_task(self) -> float:
        """Polls for each task that the vendor made."""
        return self.polls / self.created if self.created else 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "tasks": self.tasks, "solved": self.solved, "in_doubt": self.in_doubt, "errors": dict(sorted(self.errors.items())),
            "created": self.created, "polls_per_task": round(self.polls_per_task, 2), "requests": self.requests,
            "cost": str(self.cost), "currency": self.currency,
        }  # fmt: skip


@define
class Report:
    """Everything that is known after the show. `troubles` is what the vendors' ledgers hold against the client."""

    seed: int
    lines: dict[str, Line] = field(factory=lambda: {name: Line() for name in (*VENDORS, WRONG_KEY_ACCOUNT)})
    hits: list[int] = field(factory=list)
    troubles: list[str] = field(factory=list)
    bans: int = 0
    seconds: float = 0.0

    def add(self, account: str, outcome: Outcome[Solution]) -> None:
        """One finished challenge."""
        line = self.lines[account]
        line.tasks += 1
        if outcome.error is None:
            line.solved += 1
            return
        line.in_doubt += isinstance(outcome.error, InDoubtError)
        name = _name(outcome.error)
        line.errors[name] = line.errors.get(name, 0) + 1

    def read_ledgers(self, emulator: Emulator, seconds: float) -> None:
        """Requests, polls and money from the vendors' side, and whether they agree with what the caller was told."""
        from anycap.providers import get

        self.seconds = seconds
        self.hits = [int(entry["hits"]) for entry in emulator.faults.to_json()]
        good_keys = {name: next(iter(emulator[name].accounts.values())).name for name in VENDORS}
        for entry in emulator.trace:
            good = entry.account == good_keys[entry.provider]
            line = self.lines[entry.provider if good else WRONG_KEY_ACCOUNT]
            line.requests += 1
            line.polls += entry.method == "getTaskResult"
        ledgers = emulator.ledgers()
        for name in VENDORS:
            line, tasks = self.lines[name], emulator[name].ledger.tasks
            line.created, line.cost = len(tasks), emulator[name].ledger.charged
            line.currency = get(name).catalog.currency
            self.bans += len(ledgers[name]["bans"])
            twice = sum(task.delivered > 0 for task in tasks) - line.solved
            lost = len(emulator[name].ledger.lost) - line.in_doubt
            if twice or lost:
                self.troubles.append(f"{name}: {twice} solved tasks too many, {lost} paid tasks lost")
        emulator.check()

    @property
    def sound(self) -> bool:
        """Whether the promises held: nothing lost, nothing paid twice, no ban, every fault played."""
        return not self.troubles and not self.bans and all(self.hits)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "accounts": {name: line.to_json() for name, line in self.lines.items()},
            "faults": [
                {"provider": act.fault.provider, "happens": act.happens, "times": hits, "survived": act.survived}
                for act, hits in zip(ACTS, self.hits, strict=True)
            ],
            "bans": self.bans,
            "troubles": self.troubles,
            "sound": self.sound,
        }


def _name(error: AnycapError) -> str:
    return str(error.code) if isinstance(error, SolveError) else type(error).__name__


def tables(report: Report) -> str:
    """What the vendors did and what came of it; the result per account."""
    faults = table(
        ("vendor", "what it did", "times", "what came of it"),
        [(act.fault.provider, act.happens, hits, act.survived) for act, hits in zip(ACTS, report.hits, strict=True)],
        right=(2,),
    )
    rows = [
        (
            name, line.tasks, line.solved, ", ".join(f"{count} {code}" for code, count in sorted(line.errors.items())) or "-",
            f"{line.polls_per_task:.1f}", f"{line.cost} {line.currency}".strip(), line.requests,
        )
        for name, line in report.lines.items()
    ]  # fmt: skip
    result = table(
        ("account", "tasks", "solved", "errors by code", "polls", "cost", "requests"),
        rows,
        right=(1, 2, 4, 5, 6),
    )
    return f"{faults}\n\n{result}"


BAR_CHARS = 40
"""With its label it fits a terminal of 80."""


def picture(report: Report) -> str:
    """What a person remembers: a bar a vendor, solved and not solved, and below what did not happen.

    `#` is a solved challenge, `.` one that the vendor could not solve or that is in doubt.
    """
    most = max((line.tasks for name, line in report.lines.items() if name != WRONG_KEY_ACCOUNT), default=1) or 1
    rows = []
    for name in VENDORS:
        line = report.lines[name]
        scale = BAR_CHARS / most
        solved, rest = round(line.solved * scale), round((line.tasks - line.solved) * scale)
        rows.append(f"  {name:<14}{'#' * solved}{'.' * rest}  {line.solved} of {line.tasks}")
    lost = "none" if not report.troubles else "see above"
    rows += ["", f"  paid and lost: {lost}   paid twice: {lost}   bans: {report.bans}"]
    return "\n".join(rows)


def verdict(report: Report) -> str:
    """Whether the promises held, in a few lines."""
    if not report.sound:
        idle = [act.happens for act, hits in zip(ACTS, report.hits, strict=True) if not hits]
        return "\n".join(
            [*report.troubles, *(f"this fault never happened: {each}" for each in idle), f"{report.bans} bans"]
        )
    wrong = report.lines[WRONG_KEY_ACCOUNT]
    solved = sum(line.solved for line in report.lines.values())
    tasks = sum(line.tasks for line in report.lines.values())
    sent = f"{wrong.requests} request was sent" if wrong.requests == 1 else f"{wrong.requests} requests were sent"
    return (
        f"{solved} of {tasks} solved in {report.seconds:.1f} s. By the vendors' ledgers: none lost, none paid twice, "
        f"{report.bans} bans.\n{wrong.tasks} challenges met a wrong key: {sent},\nthe rest stopped here with the same error."
    )
