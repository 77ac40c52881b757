"""kill -9, fifty times: every charge in the vendors' ledgers is solved, pending, failed or in doubt; none twice.

A thousand: `python -m tests.torture.kill 1000`.
"""

from __future__ import annotations

from tests.torture.kill import torture


def test_fifty_kills_lose_no_charge_and_make_none_twice() -> None:
    toll = torture(50, seed=20260101)
    assert toll.kills == 50
    assert not toll.lost, toll.lost
    assert not toll.twice, toll.twice
    assert not toll.wrong, toll.wrong
    assert toll.charges > 100, toll.text()
    assert toll.standing["solved"] > 50, toll.text()
    assert toll.standing["in doubt"] > 0, toll.text()


def test_two_processes_killed_beside_each_other_share_a_journal() -> None:
    toll = torture(24, seed=20260102, side_by_side=2)
    assert not toll.lost, toll.lost
    assert not toll.twice, toll.twice
    assert not toll.wrong, toll.wrong
    assert toll.standing["solved"] > 20, toll.text()
