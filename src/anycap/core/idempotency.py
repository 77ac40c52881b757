"""What an idempotency key stands for, and what asking for it again does: the table of keys, as data.

A key names a *solve*, whose tickets follow one another; the latest of them says what has become of it (`state_of_key`), and
`STEPS` what a caller gets who asks again. Both are pure; `engine/keyed.py` does what they say. How a key's ticket is claimed
in one step with its INTENT is the journal's (`journal/port.py`).
"""

from __future__ import annotations

import functools
import hashlib
import json
from enum import StrEnum
from typing import Any

from attrs import define

from anycap.challenges import Challenge, VendorTask
from anycap.challenges.pictures import images_of, may_hold_images
from anycap.journal.port import Entry, RecordKind
from anycap.taxonomy import Category, Charged, Code, ErrorRow, Retry

KEY_CHARS_MAX = 200
"""Enough for a URL or two ids. Only its hash is kept."""


class Reuse(StrEnum):
    """Which ends of a key's solve may be followed by a new task; each allows what those before it allow."""

    NEVER = "never"
    """None: whatever came of it is the answer."""
    UNPAID = "unpaid"
    """Those that cost nothing."""
    EXPIRED = "expired"
    """A solution that is of no use any more, too: it is paid for once more."""


class KeyState(StrEnum):
    """What has become of a key's solve: the state of its latest ticket, as far as the next caller is concerned."""

    UNUSED = "unused"
    SOLVED = "solved"
    """Its solution is valid and nobody has had it."""
    DELIVERED = "delivered"
    """Its solution is valid and was delivered."""
    OPEN = "open"
    """At work here, or left by a process that is gone: ours to go on with. A stalled task is polled again."""
    OPEN_ELSEWHERE = "open_elsewhere"
    """A living process, or another client, works at it."""
    ORPHANED = "orphaned"
    """Its owner is dead and nobody has taken it over yet."""
    IN_DOUBT = "in_doubt"
    EXPIRED = "expired"
    """Its solution is of no use any more, delivered or not."""
    UNPAID = "unpaid"
    """It came to nothing and cost nothing."""
    FINAL = "final"
    """The vendor refused it, or the challenge itself is wrong: the same again would come to the same."""
    PAID = "paid"
    """It came to nothing and was charged, or nobody says; or it was abandoned."""
    UNREADABLE = "unreadable"
    """A later release wrote its last record."""


class KeyStep(StrEnum):
    """What a caller gets who asks for the key."""

    START = "start"
    """A new task under the key."""
    GIVE = "give"
    """The solution."""
    GIVE_AGAIN = "give_again"
    """The solution, marked as one that was delivered before."""
    GO_ON = "go_on"
    """The result of the task in work; it is polled here."""
    FOLLOW = "follow"
    """The result of the task in work; another process polls it."""
    ADOPT = "adopt"
    """The same once the ticket is ours; then it is looked at again."""
    REPEAT_ERROR = "repeat_error"
    """The error that the solve came to."""
    IN_DOUBT = "in_doubt"
    """InDoubtError, until it is settled."""
    EXPIRED = "expired"
    """SolutionExpired."""


def _always(step: KeyStep) -> dict[Reuse, KeyStep]:
    return dict.fromkeys(Reuse, step)


STEPS: dict[KeyState, dict[Reuse, KeyStep]] = {
    KeyState.UNUSED: _always(KeyStep.START),
    KeyState.SOLVED: _always(KeyStep.GIVE),
    KeyState.DELIVERED: _always(KeyStep.GIVE_AGAIN),
    KeyState.OPEN: _always(KeyStep.GO_ON),
    KeyState.OPEN_ELSEWHERE: _always(KeyStep.FOLLOW),
    KeyState.ORPHANED: _always(KeyStep.ADOPT),
    KeyState.IN_DOUBT: _always(KeyStep.IN_DOUBT),
    KeyState.EXPIRED: _always(KeyStep.EXPIRED) | {Reuse.EXPIRED: KeyStep.START},
    KeyState.UNPAID: _always(KeyStep.START) | {Reuse.NEVER: KeyStep.REPEAT_ERROR},
    KeyState.FINAL: _always(KeyStep.REPEAT_ERROR),
    KeyState.PAID: _always(KeyStep.REPEAT_ERROR),
    KeyState.UNREADABLE: _always(KeyStep.REPEAT_ERROR),
}


@define(eq=False)
class KeyUse:
    """One caller's use of a key: what goes into the INTENT of each of its tickets."""

    hash: str
    fingerprint: str
    reuse: Reuse
    after: str | None = None
    """The key's latest ticket as this caller knows it: the key is ours to go on with only while that is so."""
    seen: str | None = None
    """What the journal said of that ticket; None for one of this caller's own."""


def hash_of_key(key: str) -> str:
    """What is stored of a key. Not a secret, but as long as its owner likes, and not everybody's business."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


_IDENTITY = (
    "website_url", "website_key", "public_key", "gt", "captcha_id", "app_id", "scene_id", "template", "task", "question",
)  # fmt: skip
"""Fields that say which page and widget, or which pictures, a challenge is of; none of them changes from visit to visit."""
_VENDOR_IDENTITY = ("websiteURL", "websiteKey", "websitePublicKey")
_ENCODER = json.JSONEncoder(sort_keys=True)
"""What `json.dumps` makes for every call. Journals hold hashes of what it gives: it must go on giving that."""


@functools.cache
def _identity_of(kind: type[Challenge[Any]]) -> tuple[str, ...]:
    return tuple(name for name in _IDENTITY if hasattr(kind, name))


def fingerprint_of(challenge: Challenge[Any]) -> str:
    """Which challenge a key was used for: its type, page, site key and pictures, as a hash. Its images must be loaded.

    One-time values, user agent, cookies and proxy do not count: a page that is fetched again must find its token.

    >>> from anycap.challenges import RecaptchaV2
    >>> page = RecaptchaV2("https://example.com", "6Le-site-key", data_s="of this visit")
    >>> fingerprint_of(page) == fingerprint_of(RecaptchaV2("https://example.com", "6Le-site-key"))
    True
    """
    kind = type(challenge)
    named: dict[str, object] = {"type": challenge.kind}
    for name in _identity_of(kind):
        value = getattr(challenge, name)
        if isinstance(value, str):
            named[name] = value
    if isinstance(challenge, VendorTask):
        named |= {name: str(challenge.fields[name]) for name in _VENDOR_IDENTITY if name in challenge.fields}
    if may_hold_images(kind):
        images = [image.sha256 for image in images_of(challenge)]
        if images:
            named["images"] = images
    return hashlib.sha256(_ENCODER.encode(named).encode()).hexdigest()


def state_of_key(entry: Entry | None, row: ErrorRow | None, now: float, keep_s: float, *, at_work: bool) -> KeyState:
    """What has become of a key's solve, by its latest ticket.

    row: what the vendor's catalog says of the failure, where it is one; now: wall seconds; keep_s: how long a solution is kept
    whose validity nobody states; at_work: this client has the ticket in hand.
    """
    if entry is None:
        return KeyState.UNUSED
    try:
        kind = RecordKind(entry.kind)
    except ValueError:
        return KeyState.UNREADABLE
    match kind:
        case RecordKind.INTENT | RecordKind.ACCEPTED:
            if at_work:
                return KeyState.OPEN
            if not entry.owned:
                return KeyState.OPEN_ELSEWHERE if entry.held else KeyState.ORPHANED
            # Ours and not at work: a process that is gone has left it. Nobody knows what became of its request.
            return KeyState.IN_DOUBT if kind is RecordKind.INTENT else KeyState.OPEN
        case RecordKind.IN_DOUBT:
            return KeyState.IN_DOUBT
        case RecordKind.RESULT:
            return KeyState.SOLVED if _is_valid(entry, now, keep_s) else KeyState.EXPIRED
        case RecordKind.DELIVERED | RecordKind.REPORTED:
            return KeyState.DELIVERED if _is_valid(entry, now, keep_s) else KeyState.EXPIRED
        case RecordKind.EXPIRED:
            return KeyState.EXPIRED
        case RecordKind.ABANDONED:
            return KeyState.PAID
        case RecordKind.SETTLED:
            return KeyState.UNPAID if entry.charged == Charged.NO else KeyState.PAID
        case RecordKind.NOT_CREATED | RecordKind.FAILED:
            if row is not None and _is_final(row):
                return KeyState.FINAL
            free = kind is RecordKind.NOT_CREATED if entry.charged is None else entry.charged == Charged.NO
            return KeyState.UNPAID if free else KeyState.PAID


def _is_valid(entry: Entry, now: float, keep_s: float) -> bool:
    if entry.result is None:
        return False
    end = entry.expires_at if entry.expires_at is not None else (entry.ended_at or entry.created_at) + keep_s
    return end > now


def _is_final(row: ErrorRow) -> bool:
    """Whether the same again would come to the same. A type that one vendor lacks is no fault of the challenge."""
    if row.category is Category.REFUSED:
        return True
    wrong = row.category is Category.CHALLENGE or row.category is Category.REQUEST
    return wrong and row.retry is Retry.NEVER and row.code is not Code.UNSUPPORTED_TASK_TYPE
