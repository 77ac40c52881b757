"""`anycap tickets`: what a journal still holds: list it, resume it, settle what is in doubt.

Listing and settling only look at the file (`observe`): they work beside a running service and take nothing over. Resuming
opens a client on it, which takes over what dead processes left. Solutions are shown by `resume` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from anycap.cli.exits import FAULT, INTERRUPTED, OK, USAGE, exit_code
from anycap.cli.output import Output, error_fields, jsonable, table
from anycap.errors import AnycapError, ConfigurationError, InDoubtError, JournalError, TicketError

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.journal.port import Entry
    from anycap.journal.sqlite.journal import SqliteJournal
    from anycap.tickets import Ticket

T = TypeVar("T")

JOURNAL_VARIABLE = "ANYCAP_JOURNAL"
JOURNAL_DEFAULT = "tasks.db"
PREFIX_CHARS_MIN = 4

# What a user is to make of a ticket; the keys are the values of `standing` in the JSON.
STANDINGS = {
    "submitting": "createTask is being sent by a running process",
    "open": "paid; a running process waits for it",
    "orphaned": "paid, and nobody waits: get it with `anycap tickets resume`",
    "in_doubt": "createTask's answer was lost: look at the vendor's dashboard, then `anycap tickets settle`",
    "unknown": "written by a newer release",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap tickets` and of its two actions."""
    _common(parser, journal=os.environ.get(JOURNAL_VARIABLE) or JOURNAL_DEFAULT, as_json=False)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    line = "wait for the open and orphaned tickets and print their solutions; keys come from the environment"
    resume = actions.add_parser("resume", help=line, description=line[0].upper() + line[1:] + ".")
    _common(resume)
    resume.add_argument("--timeout", metavar="S", type=float, default=300.0, help="seconds to wait (default 300)")
    resume.add_argument("--base-url", metavar="URL", help="another address of the vendor: a mirror, or the emulator")
    resume.add_argument("--provider", metavar="P", help="only tickets of this vendor; needed with --base-url")
    resume.add_argument("--save", metavar="FILE", help="append the solutions to this file, one JSON document a line")

    line = "look for tickets whose rows cannot be read; other commands leave them out"
    check = actions.add_parser("check", help=line, description=line[0].upper() + line[1:] + ".")
    _common(check)

    line = "close an in-doubt ticket after a look at the vendor's dashboard"
    settle = actions.add_parser("settle", help=line, description=line[0].upper() + line[1:] + ".")
    _common(settle)
    settle.add_argument("id", metavar="ID", help="the ticket's id, or enough of its beginning")
    how = settle.add_mutually_exclusive_group(required=True)
    how.add_argument("--lost", dest="how", action="store_const", const="lost", help="the vendor made no task")
    how.add_argument("--charged", dest="how", action="store_const", const="charged", help="the vendor charged for it")


def add_arguments(subparsers: Any) -> None:
    """Add the command `tickets` to the subparsers of another program's parser."""
    configure(subparsers.add_parser("tickets", help="list, resume or settle the tickets of a journal"))


def _common(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    def default(name: str) -> Any:
        return defaults.get(name, argparse.SUPPRESS)  # an action must not undo what was said before its name

    parser.add_argument(
        "--journal",
        metavar="FILE",
        default=default("journal"),
        help=f"the journal's file (default: {JOURNAL_VARIABLE}, else {JOURNAL_DEFAULT})",
    )
    parser.add_argument("--json", action="store_true", default=default("as_json"), help="print JSON")


def run(options: argparse.Namespace) -> int:
    """List, resume or settle; the exit code."""
    output = Output(as_json=options.json)
    actions: dict[str | None, Callable[[], int]] = {
        None: lambda: _list(options, output),
        "resume": lambda: _resume(options, output),
        "settle": lambda: _settle(options, output),
        "check": lambda: _check(options, output),
    }
    try:
        return actions[options.action]()
    except AnycapError as error:
        output.error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        output.say(f"anycap: interrupted; what is not printed stays in {options.journal}", "yellow")
        return INTERRUPTED


def look(path: str, work: Callable[[SqliteJournal], Awaitable[T]]) -> T:
    """What `work` finds in the journal at `path`, which is looked at and not taken over. Raises JournalError."""
    from anycap.journal.sqlite.journal import SqliteJournal

    async def main() -> T:
        journal = SqliteJournal(path, observe=True)
        await journal.open()
        try:
            return await work(journal)
        finally:
            await journal.aclose()

    return asyncio.run(main())


def standing(entry: Entry) -> str:
    """What a user is to make of an open ticket: a key of `STANDINGS`."""
    match entry.kind:
        case "in_doubt":
            return "in_doubt"
        case "intent":
            return "submitting" if entry.held else "in_doubt"
        case "accepted" | "result":
            return "open" if entry.held else "orphaned"
        case _:
            return "unknown"


def _entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.ticket_id,
        "standing": standing(entry),
        "kind": entry.kind,
        "provider": entry.provider,
        "account": entry.account,
        "type": entry.type,
        "task_id": entry.task_id,
        "created_at": _time(entry.created_at),
        "accepted_at": _time(entry.accepted_at),
        "expires_at": _time(entry.expires_at),
        "challenge": jsonable(entry.summary),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _list(options: argparse.Namespace, output: Output) -> int:
    entries = look(options.journal, lambda journal: journal.entries())
    rows = [_entry_fields(entry) for entry in entries]
    if not rows:
        output.result([], f"no open ticket in {options.journal}")
        return OK
    head = ("ticket", "standing", "solved", "provider", "account", "type", "task id", "since (UTC)")
    cells = [
        (
            row["id"], row["standing"], "yes" if row["kind"] == "result" else "no", row["provider"], row["account"],
            row["type"], row["task_id"] if row["task_id"] is not None else "-", str(row["created_at"])[:19],
        )
        for row in rows
    ]  # fmt: skip
    present = [name for name in STANDINGS if any(row["standing"] == name for row in rows)]
    notes = [f"{name}: {STANDINGS[name]}" for name in present]
    output.result(rows, "\n".join([table(head, cells), "", *notes]))
    return OK


def _check(options: argparse.Namespace, output: Output) -> int:
    bad = look(options.journal, lambda journal: journal.unreadable())
    rows = [{"id": ticket_id, "why": why} for ticket_id, why in bad.items()]
    if not rows:
        output.result([], f"every ticket in {options.journal} can be read")
        return OK
    text = table(("ticket", "what is wrong"), [(row["id"], row["why"]) for row in rows])
    output.result(
        rows, f"{text}\n\nThese were not written by anycap, or the disk has damaged them. They stay as they are."
    )
    return exit_code(JournalError())


def _settle(options: argparse.Namespace, output: Output) -> int:
    from anycap.journal.port import Record, RecordKind

    async def work(journal: SqliteJournal) -> Entry:
        entry = _pick(options.id, await journal.entries(), options.journal)
        if standing(entry) != "in_doubt":
            raise TicketError(
                f"Ticket {entry.ticket_id} is not in doubt but {standing(entry)}: "
                f"{STANDINGS[standing(entry)]}. Nothing was changed."
            )
        await journal.write([Record(entry.ticket_id, RecordKind.SETTLED, time.time(), {"as": options.how})])
        return entry

    entry = look(options.journal, work)
    output.result({"id": entry.ticket_id, "settled": options.how}, f"{entry.ticket_id} settled as {options.how}")
    return OK


def _pick(name: str, entries: list[Entry], path: str) -> Entry:
    """The open ticket whose id is `name`, or the only one whose id begins with it."""
    exact = [entry for entry in entries if entry.ticket_id == name]
    if exact:
        return exact[0]
    found = [entry for entry in entries if entry.ticket_id.startswith(name)] if len(name) >= PREFIX_CHARS_MIN else []
    if len(found) == 1:
        return found[0]
    if found:
        raise TicketError(f"{len(found)} open tickets in {path} begin with {name!r}; give more of the id.")
    raise TicketError(f"No open ticket in {path} is called {name!r}. See them with: anycap tickets --journal {path}")


def _resume(options: argparse.Namespace, output: Output) -> int:
    if options.base_url is not None and options.provider is None:
        output.say("anycap: --base-url needs --provider: a journal may hold tickets of several vendors", "red")
        return USAGE
    entries = look(options.journal, lambda journal: journal.entries())
    wanted = [entry for entry in entries if options.provider in (None, entry.provider)]
    accounts = sorted({(entry.provider, entry.account) for entry in wanted if entry.provider})
    if not accounts:
        output.result([], f"no open ticket in {options.journal}")
        return OK
    with ExitStack() as stack:
        saved = None if options.save is None else stack.enter_context(_private_file(options.save))
        return asyncio.run(_Resumption(options, output, saved).run(accounts))


def _private_file(path: str) -> TextIO:
    """A file to append solutions to; made readable by its owner only. Opened before anything is fetched."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    raise ConfigurationError(f"--save: {path} cannot be written ({reason}). Nothing was fetched.")


class _Resumption:
    """One run of `anycap tickets resume`: waits for all tickets at once, prints each as it comes."""

    def __init__(self, options: argparse.Namespace, output: Output, saved: TextIO | None) -> None:
        self._options = options
        self._output = output
        self._saved = saved
        self._code = OK
        self._results: list[dict[str, Any]] = []

    async def run(self, accounts: list[tuple[str, str]]) -> int:
        """Resume the tickets of `accounts`, pairs of provider and account name."""
        from anycap.accounts import Account
        from anycap.client import Client

        opened = [Account(provider, name=name, base_url=self._options.base_url) for provider, name in accounts]
        names = {account.name for account in opened}
        try:
            async with Client(*opened, journal=self._options.journal) as client:
                tickets = [ticket for ticket in await client.resume() if ticket.account in names]
                self._output.say(f"{len(tickets)} ticket(s) taken up")
                await asyncio.gather(*(self._one(client, ticket) for ticket in tickets))
        finally:
            if self._output.as_json:  # also when interrupted: what was handed out is not in the journal any more
                self._output.result(self._results)
        return self._code

    async def _one(self, client: Client, ticket: Ticket) -> None:
        from anycap.cli.solution import solution_fields, solution_text

        try:
            solution = await client.wait(ticket, timeout=self._options.timeout)
        except AnycapError as error:
            self._failed(ticket, error)
            return
        fields = solution_fields(solution)
        if self._saved is not None:
            self._saved.write(json.dumps(jsonable(fields)) + "\n")
            self._saved.flush()
            os.fsync(self._saved.fileno())
        if self._output.as_json:
            self._results.append(fields)
        else:
            text = "saved" if self._saved is not None else solution_text(solution)
            self._output.result(None, f"{ticket.id}  {text}")

    def _failed(self, ticket: Ticket, error: AnycapError) -> None:
        if error.ticket is None:
            error.ticket = ticket
        self._results.append(error_fields(error))
        self._output.say(f"anycap: {error}", "yellow" if isinstance(error, InDoubtError) else "red")
        if isinstance(error, InDoubtError):
            self._output.say(f"  settle it with: anycap tickets settle {ticket.id} --lost|--charged")
        if self._code == OK or isinstance(error, JournalError):
            self._code = exit_code(error) or FAULT
