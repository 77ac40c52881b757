"""How late polls go out, and by how much all gaps are widened for it: a client that asks too much asks everybody less often.

Without this the queue at the gate would grow for ever, and a task would be asked about in the order of its bad luck.
"""

WEIGHT = 0.05
"""Weight of one poll's lateness in the moving mean: twenty polls, a round trip's worth at the busiest."""


class PollLateness:
    """The moving mean of how long polls waited after they were due."""

    __slots__ = ("_mean_s",)

    def __init__(self) -> None:
        self._mean_s = 0.0

    def sent(self, late_s: float) -> None:
        """A poll went out so long after it was due."""
        self._mean_s += WEIGHT * (late_s - self._mean_s)

    def stretch(self, gap_s: float) -> float:
        """How much longer gaps of usually `gap_s` have to be."""
        return 1.0 + max(self._mean_s, 0.0) / gap_s
