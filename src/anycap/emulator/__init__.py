"""Emulated vendors for tests and demonstrations: no captcha is solved and no real vendor is ever contacted.

`Vendor` (model.py) is one vendor without I/O; `Emulator` (emulator.py) holds several with faults and a trace. The doors:
`InProcess` (a transport, also in virtual time), `serve` (loopback ports), `python -m anycap emulator` (command.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anycap.emulator.accounts import DEFAULT_KEY as DEFAULT_KEY
    from anycap.emulator.clock import ManualClock as ManualClock
    from anycap.emulator.emulator import Emulator as Emulator
    from anycap.emulator.faults import Fault as Fault
    from anycap.emulator.in_process import InProcess as InProcess
    from anycap.emulator.model import Vendor as Vendor
    from anycap.emulator.server import serve as serve
    from anycap.emulator.virtual import VirtualLoop as VirtualLoop
    from anycap.emulator.virtual import run_virtual as run_virtual

_WHERE = {
    "DEFAULT_KEY": "accounts",
    "Emulator": "emulator",
    "Fault": "faults",
    "InProcess": "in_process",
    "ManualClock": "clock",
    "Vendor": "model",
    "VirtualLoop": "virtual",
    "run_virtual": "virtual",
    "serve": "server",
}

__all__ = [
    "DEFAULT_KEY", "Emulator", "Fault", "InProcess", "ManualClock", "Vendor", "VirtualLoop", "run_virtual", "serve",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(f"anycap.emulator.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
