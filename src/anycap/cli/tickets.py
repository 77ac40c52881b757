"""`anycap tickets`: what a journal still holds: list it, show one ticket, resume it, settle what is in doubt.

Listing, showing and settling only look at the file, or at the server that a fleet shares (`observe`): they work beside running
services and take nothing over. Resuming opens a client on a file, which takes over what dead processes left; what a fleet
left is taken over by its members. Solutions are shown by `resume` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from anycap.cli.exits import FAULT, INTERRUPTED, OK, USAGE, exit_code
from anycap.cli.output import Output, error_fields, jsonable, table
from anycap.cli.shared import DEFAULTS as SHARED_DEFAULTS
from anycap.cli.shared import add_shared_options, read_shared
from anycap.errors import (
    AnycapError,
    ConfigurationError,
    InDoubtError,
    JournalError,
    SolveError,
    StoreError,
    TicketError,
)

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.journal.port import Entry
    from anycap.journal.sqlite.journal import SqliteJournal
    from anycap.shared.journal import ValkeyJournal
    from anycap.tickets import Ticket

T = TypeVar("T")

JOURNAL_VARIABLE = "ANYCAP_JOURNAL"
JOURNAL_DEFAULT = "tasks.db"
PREFIX_CHARS_MIN = 4
"""65,536 beginnings: two tickets of a journal rarely share one, and a slip of one key finds nothing."""

# What a user is to make of a ticket; the keys are the values of `standing` in the JSON.
STANDINGS = {
    "submitting": "createTask is being sent by a running process",
    "open": "paid; a running process waits for it",
    "orphaned": "paid, and nobody waits: get it with `anycap tickets resume`",
    "in_doubt": "createTask's answer was lost: look at the vendor's dashboard, then `anycap tickets settle`",
    "unknown": "written by a newer release",
    "closed": "nothing is left to be done",
}
_TO_DO = {"orphaned": "resume", "in_doubt": "settle", "unknown": "newer release"}
"""The same in a word, for the table."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap tickets` and of its actions."""
    journal = os.environ.get(JOURNAL_VARIABLE) or JOURNAL_DEFAULT
    _common(parser, journal=journal, as_json=False, shared=None, cafile=None, **SHARED_DEFAULTS)
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

    line = "say everything about one ticket but its solution; closed ones, too, while they are kept"
    show = actions.add_parser("show", help=line, description=line[0].upper() + line[1:] + ".")
    _common(show)
    show.add_argument("id", metavar="ID", help="the ticket's id, or enough of its beginning")
    show.add_argument(
        "--raw", action="store_true", help="print the vendor's answer with the solution as it came, and nothing else"
    )

    line = "close in-doubt tickets after a look at the vendor's dashboard"
    settle = actions.add_parser("settle", help=line, description=line[0].upper() + line[1:] + ".")
    _common(settle)
    settle.add_argument("ids", metavar="ID", nargs="*", help="tickets' ids, or enough of their beginnings")
    settle.add_argument("--tag", metavar="TAG", help="all in-doubt tickets with this tag")
    settle.add_argument("--all", action="store_true", help="all in-doubt tickets in the journal")
    settle.add_argument("--yes", action="store_true", help="do not ask before settling what --tag or --all find")
    how = settle.add_mutually_exclusive_group(required=True)
    how.add_argument("--lost", dest="how", action="store_const", const="lost", help="the vendor made no task")
    how.add_argument("--charged", dest="how", action="store_const", const="charged", help="the vendor charged for it")


def add_arguments(subparsers: Any) -> None:
    """Add the command `tickets` to the subparsers of another program's parser."""
    configure(subparsers.add_parser("tickets", help="list, show, resume or settle the tickets of a journal"))


def _common(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    def default(name: str) -> Any:
        return defaults.get(name, argparse.SUPPRESS)  # an action must not undo what was said before its name

    parser.add_argument(
        "--journal",
        metavar="FILE",
        default=default("journal"),
        help=f"the journal's file (default: {JOURNAL_VARIABLE}, else {JOURNAL_DEFAULT})",
    )
    add_shared_options(parser, what="instead of a file, the journal of a fleet", default=default)
    parser.add_argument("--json", action="store_true", default=default("as_json"), help="print JSON")


def run(options: argparse.Namespace) -> int:
    """List, show, resume or settle; the exit code."""
    output = Output(as_json=options.json)
    actions: dict[str | None, Callable[[], int]] = {
        None: lambda: _list(options, output),
        "show": lambda: _show(options, output),
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
    """What `work` finds in the file at `path`, which is looked at and not taken over. Raises JournalError."""
    from anycap.journal.sqlite.journal import SqliteJournal

    async def main() -> T:
        journal = SqliteJournal(path, observe=True)
        await journal.open()
        try:
            return await work(journal)
        finally:
            await journal.aclose()

    return asyncio.run(main())


def _look(options: argparse.Namespace, work: Callable[[SqliteJournal | ValkeyJournal], Awaitable[T]]) -> T:
    """The same in the journal that the options name: a file, or that of a fleet. Raises JournalError or StoreError."""
    return look(options.journal, work) if options.shared is None else asyncio.run(_in_fleet(options, work))


async def _in_fleet(options: argparse.Namespace, work: Callable[[ValkeyJournal], Awaitable[T]]) -> T:
    from anycap.shared.journal import ValkeyJournal
    from anycap.shared.store import Store

    store = Store(read_shared(options), elapsed=time.monotonic, poll_timeout_s=0.0)
    journal = ValkeyJournal(store, observe=True)
    await journal.open()
    try:
        return await work(journal)
    finally:
        if store.member.fence:  # a write has made it a member, which owns nothing
            with suppress(StoreError):
                await store.member.leave()
        await journal.aclose()


def _place(options: argparse.Namespace) -> str:
    """What the messages call the journal."""
    return str(options.journal) if options.shared is None else read_shared(options).url


def standing(entry: Entry) -> str:
    """What a user is to make of a ticket: a key of `STANDINGS`."""
    if entry.closed:
        return "closed"
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
        "tag": entry.tag,
        "to_do": _TO_DO.get(standing(entry)),
    }


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _list(options: argparse.Namespace, output: Output) -> int:
    entries = _look(options, lambda journal: journal.entries())
    rows = [_entry_fields(entry) for entry in entries]
    if not rows:
        output.result([], f"no open ticket in {_place(options)}")
        return OK
    cells = [
        (row["id"], row["standing"], _what(row), row["tag"] or "-", row["to_do"] or "-", str(row["created_at"])[5:16])
        for row in rows
    ]
    present = [name for name in STANDINGS if any(row["standing"] == name for row in rows)]
    notes = [f"{name}: {STANDINGS[name]}" for name in present]
    head = ("ticket", "standing", "what for", "tag", "to do", "since (UTC)")
    output.result(rows, "\n".join([table(head, cells), "", *notes]))
    return OK


def _what(row: dict[str, Any]) -> str:
    """The page or picture that a ticket is for, shortly."""
    page = row["challenge"].get("website_url")
    image = row["challenge"].get("image")
    if isinstance(page, str):
        of = page.removeprefix("https://").removeprefix("http://")
    else:
        of = f"sha256:{str(image.get('sha256'))[:8]}" if isinstance(image, dict) else ""
    return f"{row['type']} {of}".strip()


def _show(options: argparse.Namespace, output: Output) -> int:
    async def work(journal: SqliteJournal | ValkeyJournal) -> Entry:
        return _pick(options.id, await journal.entries(closed=True), _place(options), "ticket")

    entry = _look(options, work)
    if options.raw:
        return _show_raw(entry)
    row = _entry_fields(entry) | {
        "owner": entry.owner,
        "held": entry.held,
        "ended_at": _time(entry.ended_at),
        "cost": entry.cost,
        "charged": entry.charged,
        "error": jsonable(entry.error),
        "reported": entry.reported,
        "has_key": entry.key is not None,
        "has_solution": entry.result is not None,
    }
    lines = [(name.replace("_", " "), _said(value)) for name, value in row.items() if value not in (None, "", {})]
    output.result(row, "\n".join([table(("", entry.ticket_id), lines), "", STANDINGS[row["standing"]]]))
    return OK


def _show_raw(entry: Entry) -> int:
    """The answer of a solved task, with its solution: for what `resume` cannot read, and what its page has no name for."""
    if entry.result is None:
        raise TicketError(
            f"The journal holds no answer with a solution for ticket {entry.ticket_id}: it was not solved, or the solution was "
            "erased after it was delivered, or when it expired."
        )
    Output(as_json=True).result(entry.result)
    return OK


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_said(inner)}" for name, inner in value.items() if inner is not None)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _file_only(options: argparse.Namespace) -> None:
    if options.shared is not None:
        raise ConfigurationError(
            f"anycap tickets {options.action} is for a file: a fleet's tickets are taken over by its members, and what cannot "
            "be read is named in their logs. Leave --shared out, or open a client."
        )


def _check(options: argparse.Namespace, output: Output) -> int:
    _file_only(options)
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

    chosen = [bool(options.ids), options.tag is not None, options.all]
    if sum(chosen) != 1:
        output.say("anycap: say which tickets: ids, --tag TAG or --all", "red")
        return USAGE

    async def find(journal: SqliteJournal | ValkeyJournal) -> list[Entry]:
        entries = await journal.entries()
        if options.ids:
            picked = [_pick(name, entries, _place(options)) for name in options.ids]
            return list({entry.ticket_id: _in_doubt(entry) for entry in picked}.values())
        return [entry for entry in entries if standing(entry) == "in_doubt" and options.tag in (None, entry.tag)]

    async def settle(journal: SqliteJournal | ValkeyJournal) -> None:
        # Looked at again: others may have settled meanwhile, and what has come out of doubt stays as it is.
        still = {entry.ticket_id for entry in await journal.entries() if standing(entry) == "in_doubt"}
        at = time.time()
        await journal.write(
            [Record(entry.ticket_id, RecordKind.SETTLED, at, {"as": options.how}) for entry in found
             if entry.ticket_id in still]
        )  # fmt: skip

    found = _look(options, find)
    if not found:
        output.result(
            [], f"no ticket in doubt in {_place(options)}" + (f" with tag {options.tag}" if options.tag else "")
        )
        return OK
    if not options.ids and not options.yes and not _confirmed(found, options.how, output):
        return USAGE
    _look(options, settle)
    settled = [{"id": entry.ticket_id, "settled": options.how} for entry in found]
    text = "\n".join(f"{row['id']} settled as {row['settled']}" for row in settled)
    output.result(settled[0] if len(options.ids) == 1 else settled, text)
    return OK


def _in_doubt(entry: Entry) -> Entry:
    if standing(entry) != "in_doubt":
        raise TicketError(
            f"Ticket {entry.ticket_id} is not in doubt but {standing(entry)}: {STANDINGS[standing(entry)]}. "
            "Nothing was changed."
        )
    return entry


def _confirmed(found: list[Entry], how: str, output: Output) -> bool:
    """Whether the person at the terminal says yes. Where there is none, `--yes` has to."""
    for entry in found:
        row = _entry_fields(entry)
        output.say(f"{entry.ticket_id}  {_what(row)}  {row['tag'] or '-'}  {row['created_at']}")
    # A script that settles by mistake writes money off, so it has to say that it means it.
    if not sys.stdin.isatty():
        output.say(
            f"anycap: {len(found)} tickets would be settled as {how}; --yes does it. Nothing was changed.", "red"
        )
        return False
    output.say(f"Settle these {len(found)} tickets as {how}? Type yes: ")
    if sys.stdin.readline().strip().lower() == "yes":
        return True
    output.say("Nothing was changed.")
    return False


def _pick(name: str, entries: list[Entry], path: str, what: str = "open ticket") -> Entry:
    """The ticket whose id is `name`, or the only one whose id begins with it."""
    # The whole id first: it may be the beginning of another one.
    exact = [entry for entry in entries if entry.ticket_id == name]
    if exact:
        return exact[0]
    found = [entry for entry in entries if entry.ticket_id.startswith(name)] if len(name) >= PREFIX_CHARS_MIN else []
    if len(found) == 1:
        return found[0]
    if found:
        raise TicketError(f"{len(found)} {what}s in {path} begin with {name!r}; give more of the id.")
    raise TicketError(f"No {what} in {path} is called {name!r}. See them with: anycap tickets --journal {path}")


def _resume(options: argparse.Namespace, output: Output) -> int:
    _file_only(options)
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
                # All at once: the client paces its polls, and one that is slow must not keep the others.
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
            # On the disk before the next ticket: the journal erases what was delivered, so this may be the only copy.
            os.fsync(self._saved.fileno())
        if self._output.as_json:
            self._results.append(fields)
        else:
            text = "saved" if self._saved is not None else solution_text(solution)
            self._output.result(None, f"{ticket.id}  {text}")

    def _failed(self, ticket: Ticket, error: AnycapError) -> None:
        if error.ticket is None:
            error.ticket = ticket
        fields = error_fields(error)
        self._output.say(f"anycap: {error}", "yellow" if isinstance(error, InDoubtError) else "red")
        if isinstance(error, SolveError) and error.raw is not None:
            # Paid for, and of a shape that nobody here knows: whoever asked for the solution gets what came.
            fields["raw"] = jsonable(error.raw)
            self._output.text(f"{ticket.id}  {json.dumps(fields['raw'])}")
        self._results.append(fields)
        if isinstance(error, InDoubtError):
            self._output.say(f"  settle it with: anycap tickets settle {ticket.id} --lost|--charged")
        if self._code == OK or isinstance(error, JournalError):
            self._code = exit_code(error) or FAULT
