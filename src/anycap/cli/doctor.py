"""`anycap doctor`: can this machine work with these accounts? Address, key, balance, clock, and the guard's state.

Costs nothing: one GET without a key for address and clock, one getBalance for the key. Tasks are never created. With `--route`
nothing is sent at all: which accounts a solve would ask, in which order, and what speaks against each. With `--shared` it looks
at the server that many machines share, and at no account (`doctor_shared.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import platform
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anycap
from anycap.cli.arguments import read_account
from anycap.cli.exits import FAULT, OK, USAGE, exit_code
from anycap.cli.output import Output, error_fields, table
from anycap.cli.shared import add_shared_options
from anycap.errors import AnycapError, ConfigurationError

if TYPE_CHECKING:
    from anycap.accounts import Account
    from anycap.client import Client
    from anycap.transport.port import Answer, Failure

STATES = {
    "ready": "would be asked; key and balance are not looked at (see anycap doctor)",
    "cannot_encode": "the vendor has no such task type",
    "over_budget": "the account's own budget for today is used up",
    "busy": "is waited for, then the next one is asked",
}
"""What a user is to make of the states of a route."""
CLOCK_OFF_MAX_S = 30.0
"""Beyond this, times on tickets and the expiry of solutions mislead; nothing here waits by the wall clock."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap doctor`."""
    parser.add_argument(
        "--provider", metavar="P", help="only this provider (default: all whose key is in the environment)"
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="another address: a mirror, or the emulator; needs --provider"
    )
    parser.add_argument(
        "--key-stdin", action="store_true", help="read the key from the first line of stdin; needs --provider"
    )
    parser.add_argument(
        "--route", metavar="TYPE", help="say which accounts a challenge of this type would be given to; sends nothing"
    )
    parser.add_argument(
        "--routing", metavar="HOW", default="ordered", help="with --route: ordered (default), weighted or cheapest"
    )
    add_shared_options(parser, what="look at the server that a fleet shares, and at its rights and speed")
    parser.add_argument(
        "--durability", metavar="HOW", default="fsync", help="with --shared: fsync (default), replica or memory"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Look at everything; the exit code is that of the first problem."""
    output = Output(as_json=options.json)
    try:
        if options.shared is not None:
            return _shared(options, output)
        accounts = _accounts(options)
        if options.route is not None:
            return asyncio.run(explain_route(accounts, options.route, options.routing, output))
    except AnycapError as error:
        output.error(error)
        return exit_code(error)
    found = [asyncio.run(examine(account)) for account in accounts]
    result = {"anycap": anycap.__version__, "python": platform.python_version(), "accounts": found}
    output.result(
        result, "\n\n".join([f"anycap {anycap.__version__}, Python {platform.python_version()}", *map(_text, found)])
    )
    return next((int(account["exit_code"]) for account in found if account["exit_code"]), OK)


def _shared(options: argparse.Namespace, output: Output) -> int:
    from anycap.cli.doctor_shared import run

    if options.provider is not None or options.route is not None:
        raise ConfigurationError("--shared looks at the server alone: ask for --provider or --route without it")
    return run(options, output)


def _accounts(options: argparse.Namespace) -> list[Account]:
    from anycap.accounts import Account, env_names
    from anycap.providers import get, names

    if options.provider is not None:
        get(options.provider)
        return [read_account(options)]
    if options.base_url is not None or options.key_stdin:
        raise ConfigurationError("--base-url and --key-stdin need --provider: they are for one provider only")
    set_up = [name for name in names() if any(os.environ.get(variable) for variable in env_names(name))]
    if not set_up:
        raise ConfigurationError(
            "no provider's key is in the environment. Set ANYCAP_<PROVIDER>_KEY or ..._KEY_FILE (for example "
            f"{env_names('anti-captcha')[0]}), or name one with --provider"
        )
    return [Account(name) for name in set_up]


async def explain_route(accounts: list[Account], challenge: str, routing: Any, output: Output) -> int:
    """Print the route that a challenge of this type would take; the exit code."""
    from anycap.client import Client

    async with Client(*accounts, routing=routing) as client:
        steps = client.route(challenge)
    able = [step for step in steps if step.state != "cannot_encode"]
    rows = [
        (
            str(place) if step in able else "-", step.account, step.provider,
            step.state if step.wait_s is None else f"{step.state} for {step.wait_s:.0f} s",
            "unknown" if step.price is None else f"{step.price} {step.currency}",
        )
        for place, step in enumerate(steps, 1)
    ]  # fmt: skip
    head = ("asked", "account", "vendor", "state", "price")
    notes = [f"{state}: {what}" for state, what in STATES.items() if any(step.state == state for step in steps)]
    output.result(steps, "\n".join([table(head, rows), "", *notes, "Nothing was sent."]))
    return OK if able else USAGE


async def examine(account: Account) -> dict[str, Any]:
    """What is to be known about one account, as JSON values."""
    found: dict[str, Any] = {"provider": account.provider, "exit_code": OK}
    try:
        found |= await _reach(account)
        found |= await _ask(account)
    except AnycapError as error:
        found |= {"problem": error_fields(error), "exit_code": exit_code(error)}
    return found


async def _reach(account: Account) -> dict[str, Any]:
    """Address and clock: one GET without a key. Any HTTP status will do."""
    from anycap.providers import get
    from anycap.settings import HttpSettings
    from anycap.transport import choose
    from anycap.transport.offline import check_offline
    from anycap.transport.port import Failure, Request

    url = account.base_url or get(str(account.provider)).catalog.base_url
    transport = choose(None, HttpSettings())
    check_offline(transport, [url])
    await transport.open()
    try:
        began = time.perf_counter()
        answer: Answer | Failure = await transport.send(Request(url, None, 15.0, verb="GET", idempotent=True))
        took_ms = round((time.perf_counter() - began) * 1000, 1)
    finally:
        await transport.aclose()
    if isinstance(answer, Failure):
        return {"address": {"url": url, "reached": False, "detail": answer.detail}, "exit_code": FAULT}
    return {"address": {"url": url, "reached": True, "ms": took_ms}, "clock": _clock(answer.date)}


def _clock(date: str | None) -> dict[str, Any] | None:
    """How far our clock is from the server's, when its answer says the time."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return None
    ahead_s = round(time.time() - theirs)
    return {"ahead_s": ahead_s, "fine": abs(ahead_s) <= CLOCK_OFF_MAX_S}


async def _ask(account: Account) -> dict[str, Any]:
    """Key, balance and the guard's state."""
    from anycap.client import Client

    async with Client(account) as client:
        found: dict[str, Any] = {"key": {"source": _key_source(account), "fingerprint": _health(client)["key"]}}
        try:
            balance = await client.balance()
            found["balance"] = {"amount": balance.amount, "currency": balance.currency}
        except AnycapError as error:
            found |= {"problem": error_fields(error), "exit_code": exit_code(error)}
        found["guard"] = _health(client)["guard"]
    return found


def _key_source(account: Account) -> str:
    from anycap.accounts import env_names

    if account.key is not None:
        return "stdin"
    plain, file = env_names(str(account.provider))
    return plain if os.environ.get(plain, "").strip() else file


def _health(client: Client) -> dict[str, Any]:
    (health,) = client.health().values()
    guard = health.guard
    return {
        "key": health.key,
        "guard": {
            "submit_window": guard.submit_window,
            "task_window": guard.task_window,
            "tasks": guard.tasks,
            "cooldowns": [
                {
                    "covers": cooldown.covers,
                    "code": cooldown.code,
                    "remaining_s": None if math.isinf(cooldown.remaining_s) else round(cooldown.remaining_s, 1),
                }
                for cooldown in guard.cooldowns
            ],
            "ban_rules": {
                rule.name: f"{rule.bad} of {rule.limit} (the vendor bans at {rule.count_max})" for rule in guard.rules
            },
        },
    }


def _text(found: dict[str, Any]) -> str:
    lines = [str(found["provider"])]
    address, clock, balance = found.get("address"), found.get("clock"), found.get("balance")
    if address is not None:
        reached = f"reached in {address['ms']} ms" if address["reached"] else f"NOT REACHED: {address['detail']}"
        lines.append(f"  address  {address['url']}, {reached}")
    if clock is not None:
        verdict = "fine" if clock["fine"] else "set this machine's clock: times on tickets will mislead"
        lines.append(f"  clock    {clock['ahead_s']:+d} s against the vendor's, {verdict}")
    if "key" in found:
        lines.append(f"  key      from {found['key']['source']} ({found['key']['fingerprint']})")
    if balance is not None:
        lines.append(f"  balance  {balance['amount']} {balance['currency']}")
    if "problem" in found:
        lines.append(f"  PROBLEM  {found['problem']['message']}")
    guard = found.get("guard")
    if guard is not None:
        lines.append(f"  guard    task window {guard['task_window']}, submit window {guard['submit_window']}")
        for cooldown in guard["cooldowns"]:
            rest = (
                "until you mend the cause"
                if cooldown["remaining_s"] is None
                else f"for {cooldown['remaining_s']:g} s more"
            )
            lines.append(f"           stopped: {cooldown['covers']}, {cooldown['code']}, {rest}")
    return "\n".join(lines)
