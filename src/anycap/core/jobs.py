"""The requests that a scheduler asks for: a `Job` is one of them. Which comes next is decided in `scheduler.py`."""

from enum import Enum

from attrs import define

from anycap.core.solve import Solve


class JobKind(Enum):
    """The three kinds of request that a scheduler asks for."""

    SUBMIT = "submit"
    POLL = "poll"
    PROBE = "probe"


@define
class Job:
    """One request to send: a submit or poll of `solve`, or a probe of the account by `method`."""

    kind: JobKind
    solve: Solve | None
    method: str = ""
