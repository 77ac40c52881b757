"""Late polls widen all gaps, by as much as they are late."""

import pytest

from anycap.core.polling.poll_lateness import PollLateness


def test_polls_in_time_change_nothing() -> None:
    lateness = PollLateness()
    lateness.sent(0.0)
    assert lateness.stretch(3.0) == 1.0


def test_a_twentieth_of_each_delay_counts() -> None:
    lateness = PollLateness()
    lateness.sent(6.0)  # mean 0.3 s
    assert lateness.stretch(3.0) == pytest.approx(1.1)
    lateness.sent(6.0)  # 0.3 + 0.05 * 5.7
    assert lateness.stretch(3.0) == pytest.approx(1.195)


def test_polls_before_their_time_never_narrow_the_gaps() -> None:
    lateness = PollLateness()
    lateness.sent(-6.0)
    assert lateness.stretch(3.0) == 1.0
