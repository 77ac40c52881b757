"""The shared server of a simulated world: the scripts themselves, run by a real server, on the world's clock and network.

What is executed is `anycap.shared`'s own Lua in a Valkey server without a disk, so there is no model of it that could differ.
Around it everything is simulated: `TIME` is the world's, messages and answers travel over links that can be slow, cut or
silent, and the server can be away, come back empty, or be replaced by a replica that lacks the last writes.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from anycap.shared.background import Background
from anycap.shared.connections import (
    ANSWER_TIMEOUT_S,
    RECONNECT_FIRST_S,
    RECONNECT_LONGEST_S,
    Arg,
    Refused,
    Unanswered,
    script,
    text_of,
)
from anycap.shared.names import Names
from anycap.shared.settings import Shared
from tests.simulation.fleet_watch import Denial, Seen, StoreWatch, server_ms
from tests.valkey_server import Valkey

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

NAMESPACE = "sim"
CLOCK, MESSAGES = "sim:clock", "sim:messages"
HEAD = f"""
local real = redis
local redis = {{pcall = real.pcall, call = function(name, ...)
  if name == 'TIME' then
    local ms = tonumber(real.call('GET', '{CLOCK}'))
    return {{math.floor(ms / 1000), (ms % 1000) * 1000}}
  end
  if name == 'PUBLISH' then return real.call('RPUSH', '{MESSAGES}', ...) end
  return real.call(name, ...)
end}}
"""
"""The world's clock instead of the server's, and a list of what is published."""
EDITS: dict[str, str] = {}
"""Faults planted into the scripts: a piece of text, and what stands there instead."""
LOOKS = frozenset({"read", "status", "spending", "probe"})
"""Scripts that change nothing."""
WAIT_S = 3.0
"""How long WAIT takes to say that no replica has it."""


@functools.cache
def simulated(name: str, edits: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    """The text of a script behind the simulation's head, and its SHA-1."""
    text, _ = script(name)
    for old, new in edits:
        text = text.replace(old, new)
    text = HEAD + text
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Failed(Exception):
    """The server's answer was an error."""


class Server:
    """One connection to the real server; every question is one round trip that blocks."""

    def __init__(self, server: Valkey) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(server.folder / "socket"))
        self._answers = self._socket.makefile("rb")

    def ask(self, *commands: Sequence[Arg]) -> list[Any]:
        """The answers to commands that travel together; an error among them is an answer, too."""
        parts: list[bytes] = []
        for command in commands:
            parts.append(b"*%d\r\n" % len(command))
            for arg in command:
                data = arg if isinstance(arg, bytes) else str(arg).encode()
                parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        self._socket.sendall(b"".join(parts))
        return [self._read() for _ in commands]

    def _read(self) -> Any:
        line = self._answers.readline()
        kind, rest = line[:1], line[1:-2]
        match kind:
            case b"+":
                return rest
            case b"-":
                return Failed(rest.decode())
            case b":":
                return int(rest)
            case b"$":
                return None if rest == b"-1" else self._answers.read(int(rest) + 2)[:-2]
            case b"*":
                return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise AssertionError(line)

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def _pairs(answer: Sequence[Any]) -> dict[str, str]:
    """The fields of a hash."""
    return {
        text_of(name): "" if value is None else text_of(value)
        for name, value in zip(answer[::2], answer[1::2], strict=True)
    }


class SimStore:
    """The server as the world's members know it: its state, its clock, its links, what happens to it."""

    def __init__(
        self, server: Server, watch: StoreWatch, clock: Callable[[], float], chance: Random, tasks: TaskGroup
    ) -> None:
        self._server = server
        self._watch = watch
        self._clock = clock
        self.chance = chance
        self.tasks = tasks
        self.away = False
        self.calls = 0
        self.links: list[SimLink] = []
        self.replica_cut_off = False
        self.cut_at: frozenset[int] = frozenset()
        """Scripts whose answer is lost with the connection, by number."""
        self.before_call: Callable[[], None] = lambda: None
        self.after_call: Callable[[], None] = lambda: None
        server.ask(("FLUSHALL",))
        self.names = Names(NAMESPACE)

    def run(self, name: str, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        """Execute a script now."""
        self.before_call()
        self.calls += 1
        text, sha = simulated(name, tuple(EDITS.items()))
        at = self._clock()
        now = ("SET", CLOCK, server_ms(at))
        rest = (len(keys), *keys, *args)
        told = ("LRANGE", MESSAGES, 0, -1), ("DEL", MESSAGES)
        _, answer, messages, _ = self._server.ask(now, ("EVALSHA", sha, *rest), *told)
        if isinstance(answer, Failed) and str(answer).startswith("NOSCRIPT"):
            _, answer, messages, _ = self._server.ask(now, ("EVAL", text, *rest), *told)
        told = [
            (text_of(channel), text_of(message)) for channel, message in zip(messages[::2], messages[1::2], strict=True)
        ]
        for channel, message in told:
            for link in self.links:
                link.hear(channel, message)
        if name not in LOOKS and not isinstance(answer, Failed):
            wrote = {
                ticket for channel, text in told if channel == self.names.changes for ticket in text.split("\n")[1:]
            }
            owner = text_of(args[0 if name == "leave" else 1])
            self._watch.ran(self.calls, at, name, owner, wrote, answer[0] == b"OK", self._seen(name, wrote))
        self.after_call()
        return answer

    def _seen(self, name: str, wrote: Collection[str]) -> Seen:
        """The state that the watch looks at."""
        of = self.names.of
        tickets = sorted(wrote)
        owners, closed, stops, probes, logs = self._server.ask(
            ("HGETALL", of("owners")), ("ZRANGE", of("closed"), 0, -1), ("HGETALL", of("stops")), ("HGETALL", of("probes")),
            ("HGETALL", of("logs")) if name == "replay" or not tickets else ("HMGET", of("logs"), *tickets),
        )  # fmt: skip
        if tickets:
            logs = [value for pair in zip(map(str.encode, tickets), logs, strict=True) for value in pair]
        lines = {ticket_id: (log or "").splitlines() for ticket_id, log in _pairs(logs).items()}
        return Seen(_pairs(owners), set(map(text_of, closed)), lines, _pairs(stops), _pairs(probes))

    def owners(self) -> dict[str, str]:
        """Whose each ticket is, as the server has it."""
        return _pairs(self.ask(("HGETALL", self.names.of("owners")))[0])

    def ask(self, *commands: Sequence[Arg]) -> list[Any]:
        """Look into the server's state."""
        return self._server.ask(*commands)

    def slots(self) -> tuple[list[str], dict[str, str]]:
        """The tickets that have a slot, and what is counted."""
        of = self.names.of
        slots, counts = self.ask(("HKEYS", of("slots")), ("HGETALL", of("counts")))
        return sorted(map(text_of, slots)), _pairs(counts)

    # -- what happens to it

    def leave(self) -> None:
        """It dies: nobody reaches it."""
        self.away = True
        for link in self.links:
            link.cut()

    def come_back(self, *, empty: bool = False) -> None:
        """It is there again, with what its file has: everything, or nothing."""
        if empty:
            self._server.ask(("FLUSHDB",))
            self._watch.lost_everything()
        self.away = False
        for link in self.links:
            link.look()

    def snapshot(self) -> None:
        """What its replica has."""
        copies = [("COPY", key, key, "DB", 1, "REPLACE") for key in self.names.keys]
        self._server.ask(("SELECT", 1), ("FLUSHDB",), ("SELECT", 0), *copies)
        self._watch.replica_cut_off()

    def fail_over(self) -> None:
        """The replica takes its place, with what it has."""
        copies = [("COPY", key, key, "DB", 0, "REPLACE") for key in self.names.keys]
        self._server.ask(("FLUSHDB",), ("SELECT", 1), *copies, ("SELECT", 0))
        self._watch.failed_over(self.calls, self._clock(), self.owners())
        for link in self.links:
            link.cut()


class SimMember:
    """What one process of the fleet is on the network: reached or not, stopped or not, dead or not."""

    def __init__(self, store: SimStore, name: str, clock_rate: float = 1.0) -> None:
        self.store = store
        self.name = name
        self._clock_rate = clock_rate
        self.dead = False
        self.cut_off = False
        self.silent = False
        """Packets to and from the store vanish."""
        self.stopped = False
        self.heard_at = 0.0
        """When it had the last answer, by the loop's clock."""
        self.denials: list[Denial] = []
        """The answers it has that say that something is not its own any more."""
        self.unanswered_at = -1.0
        """When it last had to give up waiting for an answer, or could not ask."""
        self._leased_until = 0.0
        self.links: list[SimLink] = []
        self._woken = anyio.Event()

    @property
    def reaches_store(self) -> bool:
        return not (self.dead or self.cut_off or self.silent or self.store.away)

    def elapsed(self) -> float:
        """Its clock, which is a little fast or slow."""
        return anyio.current_time() * self._clock_rate

    def renewed(self, sent: float, lease_s: float) -> None:
        """The server has renewed its lease, which counts from when that was asked, less a fifth."""
        self._leased_until = max(self._leased_until, sent + 0.8 * lease_s)

    def heard(self, call: int, name: str, args: Sequence[Arg], answer: Any) -> None:
        """An answer has come."""
        self.heard_at = anyio.current_time()
        if isinstance(answer, Failed) or name in LOOKS:
            return
        # A store that has lost everything answers so, too: it knows nobody's tickets, and denies nothing.
        emptied = name == "beat" and text_of(answer[1]) != args[6]
        if answer[0] == b"FENCE" and not emptied:
            self.denials.append(Denial(self.heard_at, call, None))
        elif answer[0] == b"OK" and name in ("write", "replay") and answer[1]:
            self.denials.append(Denial(self.heard_at, call, frozenset(map(text_of, answer[1]))))

    @property
    def has_lease(self) -> bool:
        """By the contract, whatever it believes."""
        return self.elapsed() < self._leased_until

    @property
    def finds_store_silent(self) -> bool:
        """Whether the store does not answer it."""
        return self.unanswered_at >= self.heard_at or not all(link.is_up for link in self.links)

    async def awake(self) -> None:
        """Nothing leaves a stopped process, and nothing gets in."""
        while self.stopped:
            await self._woken.wait()

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        self._woken.set()
        self._woken = anyio.Event()

    def cut(self) -> None:
        self.cut_off = True
        for link in self.links:
            link.cut()

    def mend(self) -> None:
        self.cut_off = self.silent = False
        for link in self.links:
            link.look()

    def die(self) -> None:
        if self.dead:
            return
        self.dead = True
        self.go_on()
        for link in self.links:
            link.cut()
            link.store.links.remove(link)


class SimLink:
    """As `anycap.shared.connections.Link`: one connection, made anew whenever it is lost. Requests keep their order."""

    def __init__(self, member: SimMember) -> None:
        self.member = member
        self.store = member.store
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[], None] = lambda: None
        self.on_message: Callable[[str, str], None] = lambda channel, text: None
        self.channels: set[str] = set()
        self.trouble, self.rejected = "", False
        self.answer_timeout_s = ANSWER_TIMEOUT_S
        self.is_up = False
        self._life = 0
        self._change = anyio.Event()
        self._there = self._back = 0.0
        member.links.append(self)
        self.store.links.append(self)

    # -- the connection

    async def run(self) -> None:
        while True:
            while not self.member.reaches_store:
                self.trouble = "cannot be reached"
                await self._change.wait()
            await anyio.sleep(self.store.chance.uniform(0.0, 0.02))
            if not self.member.reaches_store:
                continue
            self.is_up = True
            self._life += 1
            for channel in self.channels:
                self._begin(channel)
            self.look()
            self.on_up()
            while self.is_up:
                await self._change.wait()
            self.on_down()
            await anyio.sleep(self.store.chance.uniform(RECONNECT_FIRST_S, RECONNECT_LONGEST_S))

    def look(self) -> None:
        """Something may have changed."""
        self._change.set()
        self._change = anyio.Event()

    def cut(self) -> None:
        self.is_up = False
        self._life += 1
        self.look()

    async def wait_until_up(self, timeout_s: float) -> bool:
        with anyio.move_on_after(timeout_s):
            while not self.is_up:
                await self._change.wait()
            return True
        return False

    # -- messages

    def subscribe(self, channel: str) -> None:
        if channel not in self.channels:
            self.channels.add(channel)
            if self.is_up:
                self._begin(channel)

    def unsubscribe(self, channel: str) -> None:
        self.channels.discard(channel)

    def _begin(self, channel: str) -> None:
        self.store.tasks.start_soon(self._deliver, channel, "", self._life)

    def hear(self, channel: str, text: str) -> None:
        """The server publishes something."""
        if self.is_up and channel in self.channels and not self.member.silent:
            self.store.tasks.start_soon(self._deliver, channel, text, self._life)

    async def _deliver(self, channel: str, text: str, life: int) -> None:
        await self._travel_back()
        if life == self._life and not self.member.silent:
            self.on_message(channel, text)

    # -- requests

    async def ask(self, *commands: Sequence[Arg], timeout_s: float | None = None) -> list[Any]:
        raise AssertionError(f"a simulated link runs scripts only, not {commands}")

    async def run_script(
        self, name: str, keys: Sequence[str], args: Sequence[Arg], *after: Sequence[Arg], timeout_s: float | None = None
    ) -> list[Any]:
        member = self.member
        if not self.is_up:
            member.unanswered_at = anyio.current_time()
            raise Unanswered(f"The simulated server does not answer ({self.trouble}).", unclear=False)
        answered, box, sent = anyio.Event(), list[Any](), member.elapsed()
        self.store.tasks.start_soon(self._carry, (name, keys, args, after), self._life, answered, box)
        with anyio.move_on_after(self.answer_timeout_s if timeout_s is None else timeout_s):
            await answered.wait()
            if not box:
                member.unanswered_at = anyio.current_time()
                raise Unanswered("The simulated server has dropped the connection.")
            if name == "beat" and not isinstance(box[0], Failed) and box[0][0] == b"OK":
                member.renewed(sent, int(args[3]) / 1000)
            if isinstance(box[0], Failed):
                raise Refused(f"The simulated server refused: {box[0]}", word=str(box[0]).partition(" ")[0])
            return box
        self.cut()
        member.unanswered_at = anyio.current_time()
        raise Unanswered("The simulated server did not answer in time.")

    async def _carry(self, what: Any, life: int, answered: anyio.Event, box: list[Any]) -> None:
        """A request on its way, whoever still waits for it."""
        name, keys, args, after = what
        await self.member.awake()
        await self._sleep_until("_there")
        if life != self._life or self.member.dead:
            answered.set()
            return
        if self.member.silent:
            return
        answers = [self.store.run(name, keys, args)]
        call = self.store.calls
        if self.store.calls in self.store.cut_at:
            self.cut()
        for command in after:
            if command[0] == "WAITAOF":
                answers.append([1, 0])
            else:
                if self.store.replica_cut_off:
                    await anyio.sleep(WAIT_S)
                answers.append(0 if self.store.replica_cut_off else 1)
        await self._travel_back()
        if self.member.silent:
            return
        if life == self._life:
            box.extend(answers)
            self.member.heard(call, name, args, answers[0])
        answered.set()

    async def _sleep_until(self, way: str) -> None:
        """Travel one way, behind whatever has left before."""
        chance = self.store.chance
        seconds = chance.uniform(0.0002, 0.003) if chance.random() < 0.97 else chance.uniform(0.05, 0.8)
        arrival = max(anyio.current_time() + seconds, getattr(self, way) + 1e-6)
        setattr(self, way, arrival)
        await anyio.sleep_until(arrival)

    async def _travel_back(self) -> None:
        await self._sleep_until("_back")
        await self.member.awake()


class SimConnections:
    """As `anycap.shared.connections.Connections`, on simulated links."""

    def __init__(self, shared: Shared, member: SimMember) -> None:
        self.background = Background("simulated shared store")
        self.durable, self.quick = SimLink(member), SimLink(member)

    @property
    def is_up(self) -> bool:
        return self.durable.is_up and self.quick.is_up

    async def open(self, timeout_s: float) -> None:
        await self.background.start()
        self.background.spawn(self.durable.run)
        self.background.spawn(self.quick.run)
        with anyio.move_on_after(timeout_s):
            await self.durable.wait_until_up(timeout_s)
            await self.quick.wait_until_up(timeout_s)
        if not self.is_up:
            await self.close()
            raise Unanswered("The simulated server cannot be reached.", unclear=False)

    async def close(self) -> None:
        await self.background.stop()
