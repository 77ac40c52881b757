"""`Outcome`: one finished item of `Client.solve_many`, a solution or an error. A frozen value."""

from __future__ import annotations

from typing import Generic, TypeVar

from attrs import frozen

from anycap.challenges import Challenge
from anycap.errors import AnycapError
from anycap.results import Solution
from anycap.tickets import Ticket

S_co = TypeVar("S_co", bound=Solution, covariant=True)


@frozen
class Outcome(Generic[S_co]):
    """One finished item of `solve_many`: `index` in the input's order, and either a `solution` or an `error`."""

    index: int
    challenge: Challenge[S_co]
    ticket: Ticket | None
    solution: S_co | None
    error: AnycapError | None

    def unwrap(self) -> S_co:
        """The solution; raises the error when there is none."""
        if self.error is not None:
            raise self.error
        assert self.solution is not None  # noqa: S101 - an outcome has one of the two
        return self.solution
