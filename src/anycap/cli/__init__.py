"""The command `anycap`: reads the arguments and hands over to one module per command, imported when it is called.

`exits.py` has the exit codes, `output.py` what all commands print with. A command is a module here with
`configure(parser)` and `run(options) -> int`; no command takes a key as an argument.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import anycap
from anycap.cli.exits import EPILOG, FAULT, USAGE

# command: the module that runs it, and its line in `anycap --help`.
COMMANDS = {
    "demo": ("anycap.cli.demo", "watch tasks being solved at four emulated vendors that misbehave"),
    "solve": ("anycap.cli.solve", "solve one challenge and print the solution"),
    "wait": ("anycap.cli.wait", "wait for the solution of a ticket"),
    "tickets": ("anycap.cli.tickets", "list, resume or settle what a journal still holds"),
    "spending": ("anycap.cli.spending", "show what was spent, by day, account, type or tag; sends nothing"),
    "balance": ("anycap.cli.balance", "show what is left on an account"),
    "doctor": ("anycap.cli.doctor", "check address, key, balance and clock of the accounts; creates no task"),
    "fleet": (
        "anycap.cli.fleet",
        "show who shares an account through a server, and how it is; sends nothing to a vendor",
    ),
    "errors": ("anycap.cli.errors", "list or explain vendor error codes"),
    "emulator": ("anycap.cli.emulator", "serve emulated vendors on a loopback port"),
    "completion": ("anycap.cli.completion", "print a completion script for bash, zsh or tcsh"),
}


def build_whole_parser() -> argparse.ArgumentParser:
    """The parser with every command's arguments, for completion scripts."""
    return build_parser(None, whole=True)


def build_parser(command: str | None, *, whole: bool = False) -> argparse.ArgumentParser:
    """The parser; only `command`'s module is imported, the others are known by name and help line (`whole`: all are)."""
    parser = argparse.ArgumentParser(
        prog="anycap",
        description="Captcha-solving services from the command line: any vendor, one error language.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"anycap {anycap.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, line) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if whole or name == command:
            importlib.import_module(module).configure(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see `anycap --help`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        options = build_parser(command).parse_args(arguments)
    except SystemExit as leaving:  # argparse: 0 after --help and --version, 2 after a usage error
        return USAGE if leaving.code else 0
    from anycap.cli.log_lines import warnings_shown

    try:
        with warnings_shown(options.command):
            return int(importlib.import_module(COMMANDS[options.command][0]).run(options))
    except BrokenPipeError:  # the reader of our output has gone: `anycap errors list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
