"""`anycap completion SHELL`: a script that teaches a shell the commands and options. Needs `anycap[cli]` (shtab)."""

from __future__ import annotations

import argparse

from anycap.cli.exits import OK, USAGE
from anycap.cli.output import Output

SHELLS = ("bash", "zsh", "tcsh")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap completion`."""
    parser.add_argument("shell", choices=SHELLS, help="put the output where your shell looks for completions")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    output = Output(as_json=False)
    try:
        import shtab
    except ImportError:
        output.say("anycap: completion needs shtab: pip install 'anycap[cli]'", "red")
        return USAGE
    from anycap.cli import build_whole_parser

    print(shtab.complete(build_whole_parser(), options.shell))
    return OK
