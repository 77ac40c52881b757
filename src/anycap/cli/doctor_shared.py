"""`anycap doctor --shared`: can a fleet rely on this Valkey or Redis server? Version, disk, eviction, rights, clock, speed.

The same checks as when a client opens (`shared/checks.py`), with everything said that was seen. It joins no fleet; it writes a
field of its own and takes it away again, to learn what the user may do and how long the disk takes.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from anycap.cli.exits import OK, USAGE, exit_code
from anycap.cli.output import Output, error_fields
from anycap.cli.shared import read_shared
from anycap.errors import AnycapError, StoreError

if TYPE_CHECKING:
    from anycap.shared.checks import Findings
    from anycap.shared.connections import Link
    from anycap.shared.settings import Shared

ROUND_TRIPS = 20
"""Pings for the median: below a second even at 50 ms each."""
WRITES = 5
"""Writes that wait for the disk and replicas: slower than a ping, and each leaves a trace until it is tidied."""
CLOCK_OFF_MAX_S = 5.0
"""Leases go by the server's clock alone; times on tickets and the expiry of solutions by each machine's, to the second."""


def run(options: argparse.Namespace, output: Output) -> int:
    """Look, print, and give the exit code."""
    shared = read_shared(options, durability=options.durability)
    found = asyncio.run(examine(shared))
    output.result(found, _text(found))
    return int(found["exit_code"])


async def examine(shared: Shared) -> dict[str, Any]:
    """What is to be known about the server, as JSON values."""
    from anycap.shared.checks import examine as look
    from anycap.shared.names import Names
    from anycap.shared.status import connected

    found: dict[str, Any] = {"server": shared.url, "namespace": shared.namespace, "durability": shared.durability}
    try:
        async with connected(shared) as link:
            names = Names(shared.namespace)
            findings = await look(shared, link, names)
            found |= _of_findings(findings)
            found |= await _clock_and_round_trip(link)
            if not findings.wrong:
                found |= await _write(shared, link, names.keys, names.changes)
    except AnycapError as error:
        return found | {"problems": [str(error)], "error": error_fields(error), "exit_code": exit_code(error)}
    return found | {"exit_code": USAGE if findings.wrong else OK}


def _of_findings(findings: Findings) -> dict[str, Any]:
    info = findings.info
    engine = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version")
    return {
        "engine": None if version is None else f"{engine} {version}",
        "role": info.get("role"),
        "replicas": _whole(info, "connected_slaves"),
        "appendonly": {"1": "yes", "0": "no"}.get(info.get("aof_enabled", "")),
        "appendfsync": findings.appendfsync,
        "maxmemory_policy": info.get("maxmemory_policy"),
        "maxmemory_bytes": _whole(info, "maxmemory"),
        "used_memory_bytes": _whole(info, "used_memory"),
        "problems": findings.wrong,
        "unseen": findings.unseen,
    }


async def _clock_and_round_trip(link: Link) -> dict[str, Any]:
    took_ms: list[float] = []
    ahead_s = 0.0
    for _ in range(ROUND_TRIPS):
        wall, began = time.time(), time.perf_counter()
        ((seconds, micros),) = await link.ask(("TIME",))
        took_s = time.perf_counter() - began
        if not took_ms or took_s * 1000 < min(took_ms):
            # The quickest answer says best what time it was there.
            ahead_s = wall + took_s / 2 - (int(seconds) + int(micros) / 1e6)
        took_ms.append(took_s * 1000)
    return {
        "clock": {"ahead_s": round(ahead_s, 3), "fine": abs(ahead_s) <= CLOCK_OFF_MAX_S},
        "round_trip_ms": {"median": round(statistics.median(took_ms), 3), "max": round(max(took_ms), 3)},
    }


async def _write(shared: Shared, link: Link, keys: tuple[str, ...], channel: str) -> dict[str, Any]:
    """How long it takes until a write is as safe as it has to be."""
    from anycap.shared.durability import check_replies, commands_behind

    took_ms = []
    for _ in range(WRITES):
        began = time.perf_counter()
        _, *replies = await link.run_script(
            "probe", keys, [f"probe {secrets.token_hex(8)}", channel], *commands_behind(shared.durability)
        )
        took_ms.append((time.perf_counter() - began) * 1000)
        try:
            check_replies(shared.durability, replies)
        except StoreError as error:
            return {"problems": [str(error)], "exit_code": exit_code(error)}
    return {"write_ms": {"median": round(statistics.median(took_ms), 3), "max": round(max(took_ms), 3)}}


def _whole(info: Mapping[str, str], name: str) -> int | None:
    value = info.get(name, "").strip()
    return int(value) if value.isdigit() else None


def _text(found: Mapping[str, Any]) -> str:
    lines = [f"shared server {found['server']}, namespace {found['namespace']}"]
    if found.get("engine"):
        replicas = found["replicas"]
        role = {"master": "primary", "slave": "replica"}.get(found["role"], "role unknown")
        lines.append(f"  engine   {found['engine']}, {role}" + ("" if replicas is None else f", replicas: {replicas}"))
    if "appendonly" in found:
        lines.append(f"  disk     appendonly {_known(found['appendonly'])}, appendfsync {_known(found['appendfsync'])}")
        lines.append(f"  memory   {_memory(found)}")
    clock, round_trip, write = found.get("clock"), found.get("round_trip_ms"), found.get("write_ms")
    if clock is not None:
        verdict = "fine" if clock["fine"] else "set the clocks: times on tickets will mislead"
        lines.append(f"  clock    {round(clock['ahead_s'], 1) + 0.0:+.1f} s against the server's, {verdict}")
    if round_trip is not None:
        lines.append(f"  answers  in {round_trip['median']:.2g} ms, the slowest in {round_trip['max']:.2g} ms")
    if write is not None:
        lines.append(
            f'  writes   are safe ("{found["durability"]}") in {write["median"]:.2g} ms, the slowest in {write["max"]:.2g} ms'
        )
        lines.append("  rights   all that are needed")
    lines += [f"  unseen   {what}" for what in found.get("unseen", ())]
    lines += [f"  PROBLEM  {what}" for what in found.get("problems", ())]
    return "\n".join(lines)


def _memory(found: Mapping[str, Any]) -> str:
    used, most = found["used_memory_bytes"], found["maxmemory_bytes"]
    if used is None:
        return f"maxmemory-policy {_known(found['maxmemory_policy'])}"
    limit = "no limit" if not most else f"of {most / 1e6:.1f} MB"
    return f"{used / 1e6:.1f} MB used, {limit}, maxmemory-policy {_known(found['maxmemory_policy'])}"


def _known(value: object) -> str:
    return "unknown" if value is None else str(value)
