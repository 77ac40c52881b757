"""Exit codes of the command line: one per category of error, so that a shell script can decide as a program would.

The table is shown by `anycap --help` and in docs/exit-codes.md; `exit_code(error)` is what all commands use.
"""

from __future__ import annotations

from anycap.errors import (
    AnycapError,
    ClientClosed,
    ConfigurationError,
    DeadlineError,
    InDoubtError,
    InvalidChallenge,
    JournalError,
    ReportRefused,
    SolveError,
    TicketError,
    TransportError,
    UnsupportedMethod,
)
from anycap.taxonomy import Category

OK = 0
FAULT = 1
USAGE = 2
INTERRUPTED = 130

_OF_CATEGORY = {
    Category.ACCOUNT: 10,
    Category.BLOCKED: 11,
    Category.BUSY: 12,
    Category.REQUEST: 13,
    Category.CHALLENGE: 14,
    Category.PROXY: 15,
    Category.UNSOLVED: 16,
    Category.REFUSED: 17,
    Category.SERVICE: 18,
    Category.PROGRESS: 18,
}
_OF_CLASS: tuple[tuple[type[AnycapError], int], ...] = (
    (InvalidChallenge, USAGE),
    (ConfigurationError, USAGE),
    (UnsupportedMethod, USAGE),
    (TransportError, 20),
    (DeadlineError, 21),
    (InDoubtError, 22),
    (TicketError, 23),
    (JournalError, 24),
    (ReportRefused, 25),
    (ClientClosed, FAULT),
)

# code, what it means, what to do: for --help and the documentation.
TABLE: tuple[tuple[int, str, str], ...] = (
    (OK, "done", ""),
    (FAULT, "a fault inside anycap", "report it"),
    (USAGE, "wrong arguments, settings or challenge; nothing was sent", "correct the command"),
    (10, "account: key, balance, permissions", "fix the account before trying again"),
    (11, "blocked by the vendor for a while", "wait, find the cause"),
    (12, "busy: no workers, or at the vendor's limits", "try again later"),
    (13, "request: a field is wrong", "correct the request"),
    (14, "challenge: site key, page address or one-time value", "fetch the challenge's values again"),
    (15, "proxy of the task failed", "try another proxy"),
    (16, "unsolved: the vendor tried and failed", "a fresh task may succeed"),
    (17, "refused as the vendor's policy", "accept it"),
    (18, "service: the vendor failed", "try again later"),
    (20, "network: no answer from the vendor", "try again"),
    (21, "deadline: not solved in time; the ticket is kept", "wait for the ticket printed"),
    (22, "in doubt: a task may exist and be charged", "look at the vendor's dashboard, then settle the ticket"),
    (23, "ticket is of no use here", "list the tickets"),
    (24, "journal cannot be read or written", "see the message"),
    (25, "report refused here", "see the message"),
    (INTERRUPTED, "interrupted; open tickets were named", "wait for the tickets printed"),
)

EPILOG = "exit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning, _ in TABLE)


def exit_code(error: AnycapError) -> int:
    """The exit code for an error: by category for what a vendor said, by class for our own side.

    >>> from anycap import ConfigurationError
    >>> exit_code(ConfigurationError("no key"))
    2
    """
    if isinstance(error, SolveError):
        return _OF_CATEGORY[error.category]
    return next((code for kind, code in _OF_CLASS if isinstance(error, kind)), FAULT)
