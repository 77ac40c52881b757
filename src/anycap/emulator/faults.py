"""Faults as data: which requests are hit, and what happens to them. `emulator.py` and the doors act on them.

A `Fault` can be written in Python, in a JSON file or sent to the control route; all three have the same names. A
`ActiveFaults` counts requests and tells which fault, if any, hits the next one; chance comes from its seed alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import asdict, field, fields_dict, frozen

from anycap.errors import ConfigurationError

ACTIONS: Mapping[str, str] = {
    "reset": "the connection is reset, before or after the vendor acts (`when`)",
    "refuse": "no connection comes about; in process only, over a socket it is a reset before the vendor acts",
    "drop_after_create": "the vendor acts, the connection closes without an answer",
    "http": "`status` with `body` (HTML unless given) and `headers`, before or after the vendor acts (`when`)",
    "truncate": "the vendor acts, the answer breaks off after `keep_bytes` (default: half)",
    "slow": "the answer comes `delay_s` later, then `drip_bytes` every `drip_s`",
    "hang": "no answer ever, before or after the vendor acts (`when`)",
    "no_slots": "no worker is free for `seconds` (of `task_type`, or of all)",
    "block": "this address is answered with `code` for `seconds`",
    "error": "the vendor's error `code` (digits: a bare errorId) in place of an answer; nothing is done",
    "fail_task": "the task that this createTask makes will end with `code`",
    "oversized": "the vendor acts, the answer is padded to `bytes_total`",
    "wrong_types": "the vendor acts, every value of the answer has another JSON type",
    "odd": 'the vendor acts, and spells oddly: numbers as text, errorCode "null", a field nobody knows',
    "redirect": "302 to `location`",
    "garbage": "the vendor acts, the body is noise",
    "duplicate_id": "the task made gets the answer of the task before it: two creates, one id",
}
SELECTORS: Mapping[str, str] = {
    "provider": "requests to this vendor",
    "method": "requests of this API method",
    "type": "createTask for this task type of the vendor's",
    "address": "requests from this address",
    "nth": "only the n-th matching request (from 1)",
    "after": "skip the first n matching requests",
    "every": "every n-th matching request",
    "probability": "each matching request with this chance (0 to 1), drawn from the seed",
    "from_s": "requests from this second of the emulator's clock on",
    "until_s": "requests before this second",
    "count": "at most n requests",
}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [!-~](?:[ -~]*[!-~])?")
_NEEDS_CODE = ("error", "fail_task")
_AMBIGUOUS = frozenset(
    ("reset", "drop_after_create", "truncate", "hang", "oversized", "wrong_types", "garbage"),
)


@frozen(kw_only=True)
class Fault:
    """One fault. Without a selector it hits every request; several selectors must all agree.

    What each selector takes is in `SELECTORS`, what each action does in `ACTIONS`.

    >>> Fault(action="http", method="getTaskResult", every=20, status=502).every
    20
    """

    action: str
    provider: str | None = None
    method: str | None = None
    type: str | None = None
    address: str | None = None
    nth: int | None = None
    after: int | None = None
    every: int | None = None
    probability: float | None = None
    from_s: float | None = None
    until_s: float | None = None
    count: int | None = None
    when: str = "before"
    status: int = 502
    body: Any = None
    headers: Mapping[str, str] = field(factory=dict)
    keep_bytes: int | None = None
    delay_s: float = 0.0
    drip_bytes: int | None = None
    drip_s: float = 0.0
    seconds: float = 5.0
    task_type: str = "*"
    code: str | None = None
    bytes_total: int = 2 << 20
    location: str = "https://elsewhere.invalid/"

    def __attrs_post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ConfigurationError(f"fault: no action {self.action!r}; there are {', '.join(ACTIONS)}")
        if self.when not in ("before", "after"):
            raise ConfigurationError(f"fault {self.action}: when must be 'before' or 'after', not {self.when!r}")
        if self.action in _NEEDS_CODE and not self.code:
            raise ConfigurationError(f"fault {self.action}: needs the vendor's `code`, such as ERROR_NO_SLOT_AVAILABLE")
        for name in ("nth", "every", "count"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"fault {self.action}: {name} counts from 1, not {value}")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ConfigurationError(f"fault {self.action}: probability lies between 0 and 1, not {self.probability}")
        if not 200 <= self.status <= 599:
            raise ConfigurationError(f"fault {self.action}: {self.status} is no HTTP status of an answer (200 to 599)")
        headers: tuple[tuple[str, object], ...] = (*self.headers.items(), ("Location", self.location))
        for name, value in headers:
            if not (isinstance(value, str) and _HEADER.fullmatch(f"{name}: {value}")):
                raise ConfigurationError(f"fault {self.action}: {name!r}: {value!r} is no HTTP header")
        if self.action == "drop_after_create" and self.method not in (None, "createTask"):
            raise ConfigurationError("fault drop_after_create: its method is createTask")

    @property
    def hides_outcome(self) -> bool:
        """Whether a createTask hit by this leaves the client unable to know if a task was made."""
        return self.action in _AMBIGUOUS or (self.action == "http" and self.status >= 500)

    def fits(self, provider: str, method: str, task_type: str | None, address: str) -> bool:
        """Whether the plain selectors (not the counting ones) take this request."""
        wanted = "createTask" if self.action in ("drop_after_create", "fail_task", "duplicate_id") else self.method
        return (
            self.provider in (None, provider)
            and wanted in (None, method)
            and self.type in (None, task_type)
            and self.address in (None, address)
        )

    def to_json(self) -> dict[str, Any]:
        """The fault as JSON values, defaults left out."""
        plain = {name: attribute.default for name, attribute in fields_dict(Fault).items()}
        values = asdict(self)
        return {name: value for name, value in values.items() if value != plain[name] and value != {}}

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """The fault that a JSON object describes. Raises ConfigurationError naming what is wrong."""
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"fault: a JSON object is needed, not {type(value).__name__}")
        known = fields_dict(cls)
        for name, given in value.items():
            if name not in known:
                raise ConfigurationError(f"fault: unknown field {name!r}; there are {', '.join(known)}")
            wanted = _KINDS.get(name)
            if wanted is not None and given is not None and (isinstance(given, bool) or not isinstance(given, wanted)):
                raise ConfigurationError(f"fault: {name} must be {_WORDS[wanted]}, not {given!r}")
        if "action" not in value:
            raise ConfigurationError(f"fault: needs an action, one of {', '.join(ACTIONS)}")
        return cls(**{str(name): given for name, given in value.items()})


_Kind = type | tuple[type, ...]
_NUMBER: tuple[type, ...] = (int, float)
_KINDS: Mapping[str, _Kind] = {
    **dict.fromkeys(("action", "provider", "method", "type", "address", "when", "task_type", "code", "location"), str),
    **dict.fromkeys(("nth", "after", "every", "count", "status", "keep_bytes", "drip_bytes", "bytes_total"), int),
    **dict.fromkeys(("probability", "from_s", "until_s", "delay_s", "drip_s", "seconds"), _NUMBER),
    "headers": Mapping,
}
_WORDS: Mapping[_Kind, str] = {str: "a string", int: "an integer", _NUMBER: "a number", Mapping: "an object"}


def faults_from_json(value: object) -> list[Fault]:
    """A list of faults, or one object `{"faults": [...]}`, as files and the control route have it."""
    if isinstance(value, Mapping) and "faults" in value:
        value = value["faults"]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise ConfigurationError("faults: a JSON list of fault objects is needed")
    return [Fault.from_json(item) for item in value]


class ActiveFaults:
    """The faults in force, with their counters. The first one that hits a request wins; all of them count it."""

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._made = 0
        self._entries: list[_Entry] = []
        for fault in faults:
            self.add(fault)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, fault: Fault) -> None:
        """Put one more fault in force, behind the others."""
        self._made += 1
        chance = random.Random(f"{self._seed}/{self._made}")
        self._entries.append(_Entry(fault, chance))

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put exactly these faults in force, with counters at zero."""
        self._entries = []
        for fault in faults:
            self.add(fault)

    def hit(self, provider: str, method: str, task_type: str | None, address: str, now_s: float) -> Fault | None:
        """The fault that hits this request, or None."""
        found: Fault | None = None
        for entry in self._entries:
            if entry.takes(provider, method, task_type, address, now_s) and found is None:
                entry.hits += 1
                found = entry.fault
        return found

    def to_json(self) -> list[dict[str, Any]]:
        """Every fault with the requests it matched (`seen`) and hit (`hits`)."""
        return [{**entry.fault.to_json(), "seen": entry.seen, "hits": entry.hits} for entry in self._entries]


class _Entry:
    def __init__(self, fault: Fault, rng: random.Random) -> None:
        self.fault = fault
        self.rng = rng
        self.seen = 0
        self.hits = 0

    def takes(self, provider: str, method: str, task_type: str | None, address: str, now_s: float) -> bool:
        fault = self.fault
        if not fault.fits(provider, method, task_type, address):
            return False
        if (fault.from_s is not None and now_s < fault.from_s) or (
            fault.until_s is not None and now_s >= fault.until_s
        ):
            return False
        self.seen += 1
        # Drawn for every request seen, whatever the selectors below say: another `count` must not shift the stream.
        lucky = fault.probability is None or self.rng.random() < fault.probability
        if fault.count is not None and self.hits >= fault.count:
            return False
        if fault.nth is not None and self.seen != fault.nth:
            return False
        if fault.after is not None and self.seen <= fault.after:
            return False
        if fault.every is not None and self.seen % fault.every:
            return False
        return lucky
