"""`Ticket`: a claim on one paid task, and where that task stands. Frozen values, no I/O.

What a finished task gives back is in `results.py`; the records behind a ticket are the journal's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from anycap.taxonomy import Charged
from anycap.values import statically_frozen

TaskId = int | str
"""A vendor's task id, kept in the type it was received in: integer at some vendors, UUID string at others."""


class TicketState(StrEnum):
    """Where a task stands, as far as this process knows."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    PENDING = "pending"
    SOLVED = "solved"
    DELIVERED = "delivered"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"
    SETTLED = "settled"


@statically_frozen
class Ticket:
    """A claim on one paid task; picklable, and valid in another process that has the same account.

    `id` is ours and made before anything is sent; `task_id` is the vendor's (None until accepted, or for ever when the
    answer was lost). `account` is the account's name, `type` the challenge's (`RecaptchaV2`; `VendorTask/<type>`). `tag` is
    the caller's word for what the task is for, and `challenge` what may be kept of what was asked: page address without query,
    site key, hashes of images.
    """

    id: str
    task_id: TaskId | None
    account: str
    provider: str
    type: str
    state: TicketState
    created_at: datetime
    tag: str | None = None
    challenge: Mapping[str, object] = field(factory=dict, repr=False, eq=False)

    def to_dict(self) -> dict[str, object]:
        """A JSON-ready mapping that `from_dict` takes back."""
        return {
            "id": self.id,
            "task_id": self.task_id,
            "account": self.account,
            "provider": self.provider,
            "type": self.type,
            "state": str(self.state),
            "created_at": self.created_at.isoformat(),
            "tag": self.tag,
            "challenge": dict(self.challenge),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Ticket:
        """The ticket that `to_dict` described. Raises ValueError or KeyError when `fields` is not one."""
        task_id = fields["task_id"]
        if task_id is not None and (not isinstance(task_id, (int, str)) or isinstance(task_id, bool)):
            raise ValueError(f"a task id is a number or text, not {type(task_id).__name__}")
        tag, challenge = fields.get("tag"), fields.get("challenge") or {}
        if not isinstance(challenge, Mapping):
            raise ValueError(f"a ticket's challenge is a mapping, not {type(challenge).__name__}")
        return cls(
            id=str(fields["id"]),
            task_id=task_id,
            account=str(fields["account"]),
            provider=str(fields["provider"]),
            type=str(fields["type"]),
            state=TicketState(str(fields["state"])),
            created_at=datetime.fromisoformat(str(fields["created_at"])),
            tag=None if tag is None else str(tag),
            challenge=challenge,
        )


@frozen
class TicketInfo:
    """A ticket as the journal knows it. `cost` is in the account's currency; None: not known, or not yet.

    `owner` is whose ticket it is, in the store's own words, and None where nobody's; `held` says whether that owner lives. A
    ticket that is open and not held is taken over by whoever asks for it next.
    """

    ticket: Ticket
    owner: str | None
    held: bool
    cost: Decimal | None
    charged: Charged
    expires_at: datetime | None


@statically_frozen
class Attempt:
    """One createTask that may have been sent for a solve: at which account, and what it came to.

    `code` is the shared code of the error, or an exception's name where no vendor said anything; None: it solved. `cost` is
    in the account's currency and None where nobody says. `seconds` are those of the whole attempt, queueing included.
    """

    account: str
    code: str | None
    charged: Charged
    cost: Decimal | None
    seconds: float
