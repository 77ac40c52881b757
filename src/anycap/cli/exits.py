"""Exit codes of the command line: one per category of error, so that a shell script can decide as a program would.

`TABLE` is the only place that knows them: `exit_code(error)`, `anycap --help` and the page of exit codes read it.
"""

from __future__ import annotations

from attrs import frozen

from anycap.errors import (
    AnycapError,
    BudgetError,
    ConfigurationError,
    DeadlineError,
    InDoubtError,
    InvalidChallenge,
    JournalError,
    KeyMismatch,
    ReportRefused,
    SolutionExpired,
    SolveError,
    StoreError,
    TicketError,
    TransportError,
    UnsupportedMethod,
)
from anycap.taxonomy import Category

OK = 0
FAULT = 1
USAGE = 2
SOME_FAILED = 19
INTERRUPTED = 130


@frozen
class ExitCode:
    """One exit code: what it means, what to do, and the errors it stands for (categories, or classes of our own side)."""

    code: int
    meaning: str
    action: str
    errors: tuple[Category | type[AnycapError], ...] = ()


TABLE: tuple[ExitCode, ...] = (
    ExitCode(OK, "done", ""),
    ExitCode(FAULT, "a fault inside anycap", "report it"),
    ExitCode(
        USAGE,
        "wrong arguments, settings or challenge; nothing was sent",
        "correct the command",
        (InvalidChallenge, ConfigurationError, UnsupportedMethod),
    ),
    ExitCode(10, "account: key, balance, permissions", "fix the account before trying again", (Category.ACCOUNT,)),
    ExitCode(11, "blocked by the vendor for a while", "wait, find the cause", (Category.BLOCKED,)),
    ExitCode(12, "busy: no workers, or at the vendor's limits", "try again later", (Category.BUSY,)),
    ExitCode(13, "request: a field is wrong", "correct the request", (Category.REQUEST,)),
    ExitCode(
        14,
        "challenge: site key, page address or one-time value",
        "fetch the challenge's values again",
        (Category.CHALLENGE,),
    ),
    ExitCode(15, "proxy of the task failed", "try another proxy", (Category.PROXY,)),
    ExitCode(16, "unsolved: the vendor tried and failed", "a fresh task may succeed", (Category.UNSOLVED,)),
    ExitCode(17, "refused as the vendor's policy", "accept it", (Category.REFUSED,)),
    ExitCode(18, "service: the vendor failed", "try again later", (Category.SERVICE, Category.PROGRESS)),
    ExitCode(SOME_FAILED, "some of many failed", "see the error in each line"),
    ExitCode(20, "network: no answer from the vendor", "try again", (TransportError,)),
    ExitCode(21, "deadline: not solved in time; the ticket is kept", "wait for the ticket printed", (DeadlineError,)),
    ExitCode(
        22,
        "in doubt: a task may exist and be charged",
        "look at the vendor's dashboard, then settle the ticket",
        (InDoubtError,),
    ),
    ExitCode(23, "ticket is of no use here", "list the tickets", (TicketError,)),
    ExitCode(24, "journal cannot be read or written", "see the message", (JournalError,)),
    ExitCode(25, "report refused here", "see the message", (ReportRefused,)),
    ExitCode(26, "budget or max_cost used up; nothing was sent", "wait for the UTC day, or raise it", (BudgetError,)),
    ExitCode(27, "the idempotency key stands for another challenge", "take another key", (KeyMismatch,)),
    ExitCode(
        28,
        "the key's solution was paid for, and has expired",
        "pay for another: reuse expired",
        (SolutionExpired,),
    ),
    ExitCode(29, "the shared store does not answer; nothing was sent", "try again when it does", (StoreError,)),
    ExitCode(INTERRUPTED, "interrupted; open tickets were named", "wait for the tickets printed"),
)

EPILOG = "exit codes:\n" + "\n".join(f"  {row.code:>3}  {row.meaning}" for row in TABLE)


def exit_code(error: AnycapError) -> int:
    """The exit code for an error: by category for what a vendor said, by class for our own side.

    >>> from anycap import ConfigurationError
    >>> exit_code(ConfigurationError("no key"))
    2
    """
    codes = {each: row.code for row in TABLE for each in row.errors}
    if isinstance(error, SolveError):
        return codes[error.category]
    # The nearest class of its own side; one that is not listed is a fault of ours.
    return next((codes[each] for each in type(error).__mro__ if each in codes), FAULT)
