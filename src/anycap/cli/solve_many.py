"""`anycap solve --from FILE`: many challenges, one JSON object a line; one JSON object a line comes back, as each is done.

Results go to stdout in the order of completion, each with the number of its line; where that is a terminal, and without
`--json`, a person reads them: number and token. Progress, rate and cost go to stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycap.cli.exits import OK, SOME_FAILED, USAGE, exit_code
from anycap.cli.output import Output, error_fields, jsonable
from anycap.cli.running import OpenTickets, run_with_client
from anycap.cli.solution import solution_fields, solution_text
from anycap.errors import AnycapError, InvalidChallenge

if TYPE_CHECKING:
    from anycap.challenges import Challenge
    from anycap.client import Client
    from anycap.outcomes import Outcome
    from anycap.results import Solution

EVERY_S = 5.0
"""How often progress is a line of its own where stderr is no terminal: a log must not grow by a line a challenge."""


def solve_file(options: argparse.Namespace, output: Output) -> int:
    """Solve every line of `options.source`; exit code 0 only if all were solved."""
    if options.source == "-" and options.key_stdin:
        output.say("anycap: stdin cannot hold the key and the challenges: put the key into the environment", "red")
        return USAGE
    try:
        lines = sys.stdin.readlines() if options.source == "-" else Path(options.source).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        output.say(f"anycap: {options.source} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}", "red")
        return USAGE
    try:
        challenges = [_challenge(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    except AnycapError as error:  # found before anything is sent: nothing was paid for half a file
        output.error(error)
        return exit_code(error)
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
    progress = Progress(output, len(challenges))

    def show(number: int, outcome: Outcome[Solution]) -> None:
        if output.as_json or not output.out.isatty():
            print(json.dumps(jsonable(_line(number, outcome))), file=output.out, flush=True)
        elif outcome.solution is not None:
            # A token is wider than a line, and is copied by people: not broken.
            print(f"{number}  {solution_text(outcome.solution)}", file=output.out, flush=True)
        else:
            output.text(f"{number}  failed: {outcome.error}", "red")

    async def work(client: Client, tickets: OpenTickets) -> int:
        async with client.solve_many(challenges, limit=options.limit, timeout=options.timeout) as outcomes:
            async for outcome in outcomes:
                progress.clear()
                show(numbers[outcome.index], outcome)
                progress.add(outcome)
        progress.close()
        return progress.exit_code()

    return run_with_client(options, output, work)


def _challenge(number: int, line: str) -> Challenge[Solution]:
    from anycap.challenges import KINDS

    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InvalidChallenge(f"line {number} is not JSON: {error}") from None
    if not isinstance(fields, dict) or fields.get("type") not in KINDS:
        raise InvalidChallenge(f'line {number}: an object with a "type" is expected, one of {", ".join(KINDS)}')
    try:
        return KINDS[fields["type"]](**dict(_values(KINDS[fields["type"]], fields)))
    except InvalidChallenge as error:
        raise InvalidChallenge(f"line {number}: {error}") from None
    except TypeError as error:
        raise InvalidChallenge(f"line {number}: {error}") from None


def _values(kind: type[Challenge[Any]], fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields as the challenge takes them: a picture is a file name here, as on the command line."""
    from attrs import fields as fields_of

    images = {field.name for field in fields_of(kind) if "Image" in str(field.type)}
    for name, value in fields.items():
        if name == "type":
            continue
        if name in images:
            yield name, [Path(part) for part in value] if isinstance(value, list) else Path(str(value))
        else:
            yield name, value


def _line(number: int, outcome: Outcome[Solution]) -> dict[str, Any]:
    if outcome.solution is not None:
        return {"line": number, "solved": True, **solution_fields(outcome.solution)}
    assert outcome.error is not None  # noqa: S101 - an outcome has one of the two
    return {"line": number, "solved": False, **error_fields(outcome.error)}


class Progress:
    """How far the file is: a moving line on a terminal, else a line every few seconds and one at the end."""

    def __init__(self, output: Output, total: int) -> None:
        self.output = output
        self.total = total
        self.solved = 0
        self.costs: dict[str, Decimal] = {}
        self.codes: Counter[int] = Counter()
        self._began = self._shown = time.monotonic()
        self._moving = output.err.isatty()

    def add(self, outcome: Outcome[Solution]) -> None:
        """One more is done."""
        if outcome.solution is not None:
            self.solved += 1
            if outcome.solution.cost is not None:
                currency = outcome.solution.currency or ""
                self.costs[currency] = self.costs.get(currency, Decimal(0)) + outcome.solution.cost
        elif outcome.error is not None:
            self.codes[exit_code(outcome.error)] += 1
        now = time.monotonic()
        if self._moving:
            print(f"\r{self._text(now):<79}", end="", file=self.output.err, flush=True)
        elif now - self._shown >= EVERY_S:
            self._shown = now
            self.output.say(self._text(now))

    def clear(self) -> None:
        """Take the moving line away, for what is printed next."""
        if self._moving:
            print(f"\r{'':<79}\r", end="", file=self.output.err, flush=True)

    def close(self) -> None:
        """The last line stays."""
        self.clear()
        self.output.say(self._text(time.monotonic()), "red" if self.codes else "green")

    def exit_code(self) -> int:
        """0 when all were solved; the one code of all failures; else that some failed, whatever the cause."""
        if not self.codes:
            return OK
        return next(iter(self.codes)) if len(self.codes) == 1 and not self.solved else SOME_FAILED

    def _text(self, now: float) -> str:
        done = self.solved + self.codes.total()
        rate = done / max(now - self._began, 0.001)
        cost = ", ".join(f"{amount} {currency}".strip() for currency, amount in self.costs.items()) or "no cost known"
        return f"{done} of {self.total}: {self.solved} solved, {self.codes.total()} failed, {rate:.1f}/s, {cost}"
