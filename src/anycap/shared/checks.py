"""What the shared server must be and allow, asked when a client opens: before any money, and all of it at once.

Whatever is wrong is one ConfigurationError that names the settings; what a server does not let us see is one WARNING.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping

from attrs import frozen

from anycap.errors import ConfigurationError
from anycap.shared.connections import Link, Refused, text_of
from anycap.shared.names import Names
from anycap.shared.settings import Shared

logger = logging.getLogger("anycap.shared")

VERSION_MIN = (7, 2)
"""WAITAOF came with Redis 7.2; Valkey began there."""


@frozen
class Findings:
    """What there is to say about a server."""

    wrong: list[str]
    """With this it cannot be used."""
    unseen: list[str]
    """What it does not let us look at."""
    info: Mapping[str, str]
    """The answer to INFO; empty where that is not allowed."""
    appendfsync: str | None
    """None: CONFIG GET is not allowed."""


async def check(shared: Shared, link: Link, names: Names) -> list[str]:
    """Raise ConfigurationError for everything that is wrong; what could not be looked at is logged, and returned."""
    found = await examine(shared, link, names)
    if found.wrong:
        listed = "".join(f"\n- {what}" for what in found.wrong)
        raise ConfigurationError(f"The shared server {shared.url} cannot be used:{listed}\nNothing was sent.")
    if found.unseen:
        logger.warning("the shared server %s does not let us check: %s", shared.url, "; ".join(found.unseen))
    return found.unseen


async def examine(shared: Shared, link: Link, names: Names) -> Findings:
    """Look at everything that `shared` needs. Raises StoreError."""
    wrong: list[str] = []
    unseen: list[str] = []
    # First, as a node of a cluster names the one that has the namespace, and that one is to be looked at.
    rights = await _commands(shared, link, names)
    info = await _info(link)
    if info:
        wrong += _of_info(shared, info, unseen)
    else:
        unseen.append("INFO is not allowed: version, append-only file, eviction")
    appendfsync = await _appendfsync(link)
    if shared.durability != "memory":
        if appendfsync is None:
            unseen.append("appendfsync, as CONFIG GET is not allowed; it should be always")
        elif appendfsync != "always":
            advice = 'Set appendfsync always, or say durability="memory" and accept what a crash of the server loses'
            wrong.append(f"appendfsync is {appendfsync}: each step of a solve would wait for it. {advice}")
    return Findings(wrong + rights, unseen, info, appendfsync)


async def _info(link: Link) -> dict[str, str]:
    try:
        (answer,) = await link.ask(("INFO",))
    except Refused:
        return {}
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _of_info(shared: Shared, info: dict[str, str], unseen: list[str]) -> list[str]:
    wrong = []
    version = info.get("valkey_version") or info.get("redis_version", "")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if not numbers:
        unseen.append("its version")
    elif numbers < VERSION_MIN:
        wrong.append(f"its version is {version}; Valkey, or Redis 7.2 or later, is needed (for WAITAOF)")
    if info.get("role", "master") != "master":
        wrong.append("it is a replica; name the primary")
    policy = info.get("maxmemory_policy")
    if policy is None:
        unseen.append("maxmemory-policy, which must not be allkeys-...: paid tickets would be thrown away")
    elif policy.startswith("allkeys") and info.get("maxmemory", "0") != "0":
        wrong.append(f"maxmemory-policy is {policy}: it may throw paid tickets away. Set maxmemory-policy noeviction")
    if shared.durability == "memory":
        return wrong
    if "aof_enabled" not in info:
        unseen.append("appendonly, which must be yes")
    elif info["aof_enabled"] != "1":
        wrong.append('appendonly is no: a restart loses every ticket. Set appendonly yes, or say durability="memory"')
    if shared.durability == "replica" and info.get("connected_slaves", "0") == "0":
        wrong.append('it has no replica, and durability="replica" waits for one')
    return wrong


async def _appendfsync(link: Link) -> str | None:
    try:
        (answer,) = await link.ask(("CONFIG", "GET", "appendfsync"))
    except Refused:
        return None
    values = {text_of(name): text_of(value) for name, value in answer.items()} if isinstance(answer, dict) else {}
    return values.get("appendfsync")


async def _commands(shared: Shared, link: Link, names: Names) -> list[str]:
    """The commands that the user may not run, with what to add to its ACL."""
    missing: list[str] = []
    channel = names.changes
    try:
        (answer,) = await link.run_script("probe", names.keys, [f"probe {secrets.token_hex(8)}", channel])
        missing += [_missing(text_of(error), names) for error in answer]
    except Refused as error:
        if error.word != "NOPERM":
            raise
        missing.append(_missing(f"evalsha: {error.message}", names))
    behind = {"fsync": ("WAITAOF",), "replica": ("WAITAOF", "WAIT"), "memory": ()}[shared.durability]
    for command in behind:
        try:
            await link.ask((command, *([0] * (3 if command == "WAITAOF" else 2))))
        except Refused as error:
            if error.message.find("unknown command") >= 0:
                missing.append(f"the server has no {command}")
            elif error.word == "NOPERM":
                missing.append(f"+{command.lower()}")
    if not await link.may_subscribe(channel):
        missing.append(f"+subscribe +unsubscribe &{names.of('*')}")
    if not missing:
        return []
    return ["its ACL does not allow all that is needed; missing: " + ", ".join(dict.fromkeys(missing))]


def _missing(error: str, names: Names) -> str:
    """What an ACL lacks, from the server's words, which differ from release to release."""
    command = error.partition(":")[0]
    if "channel" in error.lower():
        return f"&{names.of('*')}"
    if "key" in error.lower() and "command" not in error.lower().partition(":")[2].partition("key")[0]:
        return f"~{names.of('*')}"
    return "+evalsha +eval" if command == "evalsha" else f"+{command}"
