"""What the answer to a poll means for its task, given what came in a row before it, for this task and the account's others.

A single answer is read in `classify.py`; what then happens to the task is the table in `machine.py`. One for each scheduler.
"""

from __future__ import annotations

from anycap.core.classify import is_oversized, is_page, is_unknown_code, poll_event
from anycap.core.machine import EVENTS, Event
from anycap.core.parsed_answer import ANSWER_KINDS, ParsedAnswer
from anycap.core.polling.page_patience import PagePatience
from anycap.core.solve import Solve

EMPTY_PATIENCE_S = 30.0
"""How long a solution may be empty once the task is ready. Vendors that write it a moment later are done within seconds."""


class PollAnswers:
    """Counts what is in a row: unknown codes, oversized answers and pages of each task, pages of the whole account."""

    __slots__ = ("_patience",)

    def __init__(self, page_patience_s: float) -> None:
        self._patience = PagePatience(page_patience_s)

    def event_of(self, solve: Solve, parsed: ParsedAnswer, now: float) -> Event:
        """What the answer to a poll of `solve` means."""
        if parsed.lacks_value:
            return self._empty(solve)
        kind = parsed.kind
        if kind is ANSWER_KINDS.PROCESSING or kind is ANSWER_KINDS.READY:
            self.begin_anew(solve)
            return EVENTS.PROCESSING if kind is ANSWER_KINDS.PROCESSING else EVENTS.READY
        out_of_patience = False
        if is_page(parsed):
            solve.pages_in_a_row += 1
            out_of_patience = self._patience.page_came(now)
        elif kind is ANSWER_KINDS.ERROR:
            solve.pages_in_a_row = 0
            self._patience.vendor_answered()
        solve.unknown_codes_in_a_row = solve.unknown_codes_in_a_row + 1 if is_unknown_code(parsed) else 0
        solve.oversized_in_a_row = solve.oversized_in_a_row + 1 if is_oversized(parsed) else 0
        return poll_event(
            parsed,
            unknown_codes=solve.unknown_codes_in_a_row,
            oversized=solve.oversized_in_a_row,
            out_of_patience=out_of_patience,
        )

    def begin_anew(self, solve: Solve) -> None:
        """The vendor has answered well, or somebody wants another try: nothing is in a row."""
        solve.unknown_codes_in_a_row = solve.oversized_in_a_row = solve.pages_in_a_row = 0
        self._patience.vendor_answered()

    def _empty(self, solve: Solve) -> Event:
        """Ready, with nothing in it: not there yet, and after a while as good as it will get."""
        self.begin_anew(solve)
        if solve.empty_since_age_s is None:
            solve.empty_since_age_s = solve.poll_ended_age_s
        waited_s = solve.poll_ended_age_s - solve.empty_since_age_s
        return EVENTS.POLL_LOST if waited_s < EMPTY_PATIENCE_S else EVENTS.READY


def still_in_work(solve: Solve, parsed: ParsedAnswer, now: float) -> None:
    """The vendor works on it: its pacer learns that it was not done yet when the poll was sent."""
    solve.last_status = parsed.status
    if solve.pacer.outlived(solve.poll_sent_age_s):
        # It lives, so it is not that old: the wall clock that told the age of a resumed task was wrong.
        solve.accepted_mono = now
        solve.poll_sent_age_s = solve.poll_ended_age_s = solve.processing_age_s = 0.0
        return
    solve.last_answer = None
    solve.pacer.processing(after_age_s=solve.processing_age_s, by_age_s=solve.poll_sent_age_s)
    solve.processing_age_s = solve.poll_sent_age_s
    solve.extra_gap_s = 0.0
