"""What the end of a task says: how long it took by the vendor's clock, and the error when its life runs out unsolved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from anycap.core.solve import Solve
from anycap.taxonomy import Charged, Code, ErrorAnswer, ErrorRow, Retry, row_of_ours

TOOK_MAX_S = 3600.0
"""Vendors give a task up after minutes: so long a time is a mistake of theirs, and would spoil what is learned."""


def took_s(body: Mapping[str, Any] | None) -> float | None:
    """How long the vendor says that a task took: end minus creation, so that its clock need not be ours."""
    if body is None:
        return None
    try:
        seconds = float(body["endTime"]) - float(body["createTime"])
    except (KeyError, TypeError, ValueError):
        return None
    return seconds if 0.0 <= seconds < TOOK_MAX_S else None


def exhausted(solve: Solve) -> ErrorAnswer:
    """The problem of a task that the vendor keeps no longer, or answers no more polls for."""
    row = life_over(solve.provider)
    return ErrorAnswer(
        row, solve.provider, None, None, f"{solve.polls} polls in {solve.poll_ended_age_s:.0f} s, still processing"
    )


def life_over(provider: str) -> ErrorRow:
    """The row of a task whose life, or whose polls, ran out. Ours: no vendor says it, and none says what it cost.

    So it is never followed by another paid task by itself, unlike the vendor's own timeout.
    """
    row = row_of_ours(
        provider,
        Code.SOLVE_TIMEOUT,
        meaning="no solution came in the time in which the vendor keeps a task and answers polls for it, or may be hoped to",
        action="Look at the vendor's dashboard whether it was charged; look at its load if it happens often.",
        source="the vendor's poll limit and task life, from its catalog",
        charged=Charged.UNKNOWN,
    )
    return evolve(row, retry=Retry.NEVER)
