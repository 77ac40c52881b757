"""The requests that a scheduler asks for: a `Job` is one of them. Which comes next is decided in `scheduler.py`."""

from __future__ import annotations

from enum import Enum

from attrs import define

from anycap.core.admission.decisions import Deferred
from anycap.core.solve import Solve
from anycap.values import members


class JobKind(Enum):
    """The four kinds of request that a scheduler asks for."""

    SUBMIT = "submit"
    POLL = "poll"
    PROBE = "probe"
    """A getBalance that finds out whether a stop is over; nobody waits for its answer."""
    CALL = "call"
    """Another method, asked for by a caller."""


JOB_KINDS = members(JobKind)


@define(eq=False)
class Call:
    """One request of another method that a caller waits for. The engine's own kind of it holds request and answer."""

    method: str
    deadline: float
    """Monotonic second; a call that cannot be sent before it is rejected."""
    withdrawn: bool = False
    """The caller is gone: it is not sent any more."""
    deferral: Deferred | None = None
    """Why it was rejected here, before anything was sent."""


@define
class Job:
    """One request to send: a submit or poll of `solve`, a probe of the account by `method`, or a `call`."""

    kind: JobKind
    solve: Solve | None
    method: str = ""
    call: Call | None = None
