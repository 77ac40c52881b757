"""What time it is at the server, from its answers."""

from __future__ import annotations

from anycap.shared.clock import ServerClock
from tests.shared.members import Clock


def test_before_anything_is_known_the_own_clock_is_right() -> None:
    assert ServerClock(Clock()).ahead_s(5.0) == 0


def test_the_answers_time_is_that_of_the_middle_of_its_way() -> None:
    elapsed = Clock()
    clock = ServerClock(elapsed)
    elapsed.now += 1.0
    clock.learn(50_000_000, sent=1_000.0)  # it was 50,000 s there when it was 1,000.5 here
    assert clock.ahead_s(40_000.5) == 10_000
    elapsed.now += 7_200.0  # asleep, say: the wall clock goes on, or is set back by an hour
    assert clock.ahead_s(47_200.5) == 10_000
    assert clock.ahead_s(43_600.5) == 13_600


def test_an_answer_that_was_long_on_its_way_replaces_only_an_old_one() -> None:
    elapsed = Clock()
    clock = ServerClock(elapsed)
    clock.learn(50_000_000, sent=1_000.0)
    elapsed.now += 60.0  # this process was stopped behind its question
    clock.learn(50_000_000, sent=1_000.0)
    assert clock.ahead_s(50_060.0) == 0
    elapsed.now += 600.0
    clock.learn(50_640_000, sent=1_640.0)
    assert clock.ahead_s(50_640.0) == 10


def test_clocks_that_agree_move_no_time() -> None:
    elapsed = Clock()
    clock = ServerClock(elapsed)
    clock.learn(50_000_000, sent=1_000.0)
    assert clock.ahead_s(49_999.3) == 0
    assert clock.ahead_s(49_999.2) == 1
    assert clock.ahead_s(49_999.6) == 1  # nor to and fro at the border
    assert clock.ahead_s(50_000.0) == 0
