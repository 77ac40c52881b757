"""`python -m anycap emulator`: serves emulated vendors on loopback ports until it is stopped.

Here live the arguments and the running; the command line's own entry is in `cli/`. With `--json` the first line of
standard output is one JSON object: a base URL per vendor, in `ports` an address without a path for each, and `control`.
Nothing else is printed there, and no key ever is.
"""

# ruff: noqa: T201 - the command speaks on standard output

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from decimal import Decimal
from pathlib import Path

import anyio

from anycap.emulator.accounts import DEFAULT_KEY
from anycap.emulator.emulator import FOUR_VENDORS, Emulator
from anycap.emulator.faults import Fault, faults_from_json
from anycap.emulator.server import serve
from anycap.errors import ConfigurationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put the emulator's options on a parser."""
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: any free one)")
    parser.add_argument("--vendor-port", action="append", default=[], metavar="NAME=PORT",
                        help="the vendor's own port, for clients that drop a path (default: any free one)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON line with the vendors' addresses")
    parser.add_argument("--provider", action="append", metavar="NAME",
                        help="emulate this vendor, or that of a catalog (acme.toml); may be repeated (default: the four "
                        "main ones)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of everything left to chance")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON file with a list of faults")
    parser.add_argument("--key", default=None, help=f"the account key the vendors know (default: {DEFAULT_KEY}, or "
                        "ANYCAP_EMULATOR_KEY from the environment)")  # fmt: skip
    parser.add_argument("--balance", default=None, help="balance of the account, in the vendor's currency")
    parser.add_argument("--slots", type=int, default=None, help="unfinished tasks an account may have")
    parser.add_argument("--speed", type=float, default=1.0, help="solve this many times faster than the vendors do")
    parser.add_argument("--failure-rate", type=float, default=0.0, help="part of the tasks that cannot be solved")
    parser.add_argument("--lenient", action="store_true", help="let task fields pass that the vendor does not document")
    parser.add_argument("--strict-pacing", action="store_true", help="refuse polls that come sooner than the vendor asks "
                        "for; otherwise they are only counted")  # fmt: skip
    parser.add_argument(
        "--bind", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default 127.0.0.1)"
    )
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="answer requests whose Host or "
                        "Origin is this name too, such as a service's name in a compose network")  # fmt: skip
    parser.add_argument("--allow-callback", action="append", default=[], metavar="URL", help="send callbacks to this "
                        "address, such as http://127.0.0.1:9000 (default: to none)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 after a stop, 2 for wrong arguments, 1 for a taken port."""
    try:
        emulator = _emulator(args)
        vendor_ports = _vendor_ports(args.vendor_port, emulator)
    except ConfigurationError as error:
        print(f"anycap emulator: {error}", file=sys.stderr)
        return 2
    try:
        anyio.run(_serve, emulator, args, vendor_ports)
    except OSError as error:
        ports = ", ".join(map(str, dict.fromkeys((args.port, *vendor_ports.values()))))
        print(f"anycap emulator: cannot serve on {args.bind}, port {ports}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    for name, vendor in emulator.vendors.items():
        if vendor.gap_violations:
            print(f"{name}: {vendor.gap_violations} polls came sooner than this vendor asks for", file=sys.stderr)
    return 0


def _emulator(args: argparse.Namespace) -> Emulator:
    if not 0 <= args.port <= 65535:
        raise ConfigurationError(f"--port must be 0 to 65535, not {args.port}")
    return Emulator(
        seed=args.seed,
        providers=tuple(_provider(name) for name in dict.fromkeys(args.provider or FOUR_VENDORS)),
        key=args.key or os.environ.get("ANYCAP_EMULATOR_KEY") or DEFAULT_KEY,
        balance=_balance(args.balance),
        slots=args.slots,
        failure_rate=args.failure_rate,
        strict=not args.lenient,
        strict_pacing=args.strict_pacing,
        speed=args.speed,
        epoch_s=time.time(),
        faults=_faults(args.faults),
        allow_hosts=args.allow_host,
        allow_callbacks=args.allow_callback,
    )


def _provider(name: str) -> str | Path:
    return Path(name) if name.endswith(".toml") else name


def _vendor_ports(given: list[str], emulator: Emulator) -> dict[str, int]:
    ports: dict[str, int] = {}
    for text in given:
        name, _, port = text.partition("=")
        if name not in emulator.vendors or not (port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigurationError(f"--vendor-port is NAME=PORT with a vendor that is emulated, not {text!r}")
        ports[name] = int(port)
    return ports


def _balance(text: str | None) -> Decimal | None:
    try:
        amount = None if text is None else Decimal(text)
    except ArithmeticError:
        amount = Decimal("NaN")
    if amount is not None and not amount.is_finite():
        raise ConfigurationError(f"--balance must be a number such as 12.50, not {text!r}")
    return amount


def _faults(file: Path | None) -> list[Fault]:
    if file is None:
        return []
    try:
        return faults_from_json(json.loads(file.read_text("utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: not JSON: {error}") from None


async def _serve(emulator: Emulator, args: argparse.Namespace, vendor_ports: dict[str, int]) -> None:
    async with serve(emulator, port=args.port, vendor_ports=vendor_ports, bind=args.bind) as urls:
        if args.json:
            print(json.dumps({**urls, "ports": urls.own_port, "control": urls.control}), flush=True)
        else:
            for provider, url in urls.items():
                print(f"{provider:<14}{url:<36}  or  {urls.own_port[provider]}")
            print(f"{'control':<14}{urls.control}", flush=True)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return


def main(argv: list[str] | None = None) -> int:
    """`python -m anycap.emulator.command`: the same command without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="anycap emulator", description="Emulated captcha vendors on a loopback port.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
