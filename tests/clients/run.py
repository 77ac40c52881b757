"""Runs public clients, each pinned and in an environment of its own, on the emulator: `nox -s clients -- [NAME ...]`.

What is installed comes from PyPI and npm by their own tools; while a client runs it reaches loopback only. What each is
asked to do is in `scripts/`, which versions in `pins.py`. `--write` puts the table of results into docs/testing.md.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen

from anycap.cli.demo_script import png
from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.server import Urls
from anycap.emulator.thread import serve_in_thread
from anycap.emulator.vendor_rules import catalog_of, rules_of
from tests.clients.older_protocol import serve_older_protocol
from tests.clients.pins import CLIENTS, KINDS, PublicClient

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "testing.md"
VENDORS = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver")
PICTURE = png(random.Random(1), width=60, height=20)
# The slowest client waits 10 s before each poll and is asked for four solutions.
TIME_LIMIT_S = 180.0
AT_ONCE = 8
"""Processes at a time: they sleep nearly all of theirs."""


@frozen
class Result:
    """What a client did for one vendor: by kind, what it gave back and what it raised."""

    client: PublicClient
    vendor: str
    answers: Mapping[str, tuple[Any, str | None]] = field(factory=dict)
    log: str = ""
    took_s: Mapping[str, float] = field(factory=dict)

    def works(self, kind: str) -> bool | None:
        """Whether the client did what was asked; None when it has no way to ask for it."""
        if kind not in self.answers:
            return None if self.answers else False
        value, error = self.answers[kind]
        if kind == "wrong_key":
            return error is not None and "guard" not in error
        return error is None and _is_right(kind, value)

    def word(self, kind: str) -> str:
        """The cell of the table."""
        return {True: "yes", False: "no", None: "-"}[self.works(kind)]


def _is_right(kind: str, value: Any) -> bool:
    match kind:
        case "image":
            return isinstance(value, str) and 2 <= len(value) <= 10
        case "v2" | "v3":
            return isinstance(value, str) and value.startswith("03A")
        case "turnstile":
            return isinstance(value, str) and value.startswith("0.")
        case _:
            # The clients of one vendor share an account, so that some of its 100 may be spent.
            return 50 < float(value) <= 100


# -- environments ------------------------------------------------------------------------------------------------------


def home_of(client: PublicClient, root: Path) -> Path:
    """The folder of the client's own environment."""
    return root / f"{client.package.replace('/', '+')}-{client.version}"


def environment(client: PublicClient, root: Path) -> list[str]:
    """Install the client where it is not installed yet; gives the command that runs a script with it."""
    home = home_of(client, root)
    done = home / ".installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        if client.is_node:
            _install(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(home), client.requirement])
        else:
            venv.create(home, with_pip=True)
            _install([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                      *filter(None, (client.requirement, client.undeclared))])  # fmt: skip
        done.touch()
    if client.is_node:
        return ["node", "--require", str(HERE / "guard" / "guard.cjs")]
    # -P: the scripts have the names of the packages, and must not be found in their place.
    return [str(home / "bin" / "python"), "-P"]


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


# -- running -----------------------------------------------------------------------------------------------------------


def run(client: PublicClient, vendor: str, command: list[str], urls: Urls, root: Path, **wanted: str) -> Result:
    """Run the client's script for one vendor. `wanted` are settings for `guard/client_run.py`: KINDS, CALLERS."""
    hosts = {
        host: urls.own_port[name]
        for name in urls
        for host in rules_of(catalog_of(name)).hosts
        if host.startswith("api.")
    }
    script = HERE / "scripts" / client.script
    with ExitStack() as held:
        if client.speaks_older_protocol:
            hosts[client.vendors[0] + ".com"] = held.enter_context(serve_older_protocol(urls.own_port[vendor]))
        settings = {
            "PATH": os.environ["PATH"],
            "HOME": held.enter_context(tempfile.TemporaryDirectory()),
            "PYTHONPATH": str(HERE / "guard"),
            "NODE_PATH": str(home_of(client, root) / "node_modules"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANYCAP_CLIENT_HOSTS": json.dumps(hosts),
            "ANYCAP_CLIENT_VENDOR": vendor,
            "ANYCAP_CLIENT_ADDRESS": urls.own_port[vendor],
            "ANYCAP_CLIENT_KEY": DEFAULT_KEY,
            "ANYCAP_CLIENT_PICTURE": base64.b64encode(PICTURE).decode("ascii"),
            **{f"ANYCAP_CLIENT_{name}": value for name, value in wanted.items()},
        }
        try:
            done = subprocess.run(
                [*command, str(script)], env=settings, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
            )
            out, log = done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            out, log = _text(late.stdout), f"gave no result within {TIME_LIMIT_S:g} s"
    lines = [json.loads(line.removeprefix("RESULT ")) for line in out.splitlines() if line.startswith("RESULT ")]
    return Result(
        client,
        vendor,
        {line["kind"]: (line["value"], line["error"]) for line in lines},
        log,
        {line["kind"]: line.get("took_s", 0.0) for line in lines},
    )


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def run_all(clients: list[PublicClient], root: Path) -> Iterator[Result]:
    """Install and run all clients; results in the order of the list."""
    commands = {client.package: environment(client, root) for client in clients}
    emulator = Emulator(seed=1, providers=VENDORS, solve_time=0.5, balance=100)
    with serve_in_thread(emulator) as urls, ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [
            pool.submit(run, client, vendor, commands[client.package], urls, root)
            for client in clients
            for vendor in client.vendors
        ]
        for future in waiting:
            yield future.result()
    emulator.check()


# -- the table ---------------------------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    """The results as Markdown, with a line for each thing that does not work and why."""
    heads = ("image", "reCAPTCHA v2", "v3", "Turnstile", "balance", "wrong key")
    lines = [
        f"| client | vendor | address | {' | '.join(heads)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in heads)} |",
    ]
    for result in results:
        client = result.client
        address = "redirected" if client.address is None else f"`{client.address}`"
        words = " | ".join(result.word(kind) for kind in KINDS)
        lines.append(f"| {client.package} {client.version} | {result.vendor} | {address} | {words} |")
    reasons = [
        f"- {result.client.package}, {result.vendor}, {kind.replace('_', ' ')}: {why}."
        for result in results
        for kind in KINDS
        if result.works(kind) is False and (why := dict(result.client.known).get(f"{result.vendor} {kind}"))
    ]
    return "\n".join((*lines, "", "What does not work:" if reasons else "", "", *reasons)).strip()


def write(results: list[Result]) -> None:
    """Put the table between its marks in docs/testing.md."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- begin clients -->\n", "<!-- end clients -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    today = datetime.now(tz=UTC).date()
    PAGE.write_text(f"{head}{begin}Run on {today:%Y-%m-%d}:\n\n{table(results)}\n{end}{tail}", encoding="utf-8")


def main(argv: list[str]) -> int:
    """Run the clients named (default: all); 1 when one does not do what is expected of it."""
    parser = argparse.ArgumentParser(prog="nox -s clients --", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages to run (default: all)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/testing.md (all clients only)")
    parser.add_argument("--root", type=Path, default=Path(".nox/public-clients"), help="where the environments live")
    options = parser.parse_args(argv)
    clients = [client for client in CLIENTS if not options.names or client.package in options.names]
    results = list(run_all(clients, options.root.resolve()))
    print(table(results))
    failures = 0
    for result in results:
        known = dict(result.client.known)
        for kind in KINDS:
            if result.works(kind) is not False:
                continue
            name = f"{result.vendor} {kind}"
            value, error = result.answers.get(kind, (None, result.log.strip()[-500:]))
            print(f"\n{result.client.package}, {name}: {error or f'gave {value!r}'}")
            if name in known:
                print(f"  known: {known[name]}")
            else:
                failures += 1
    if options.write and not options.names:
        write(results)
    print(f"\n{len(results)} runs, {failures} failures that are not known")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
