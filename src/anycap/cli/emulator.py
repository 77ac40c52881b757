"""`anycap emulator`: the emulated vendors on a loopback port. The command itself lives beside the emulator."""

from __future__ import annotations

import argparse

from anycap.emulator.command import add_arguments, run

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap emulator`."""
    add_arguments(parser)
