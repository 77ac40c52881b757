"""What routing and budgets cost a client with one account that uses neither: at most 3 % of the calls of a solve. Counted."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType

from anycap import RecaptchaV2
from anycap.emulator import run_virtual
from tests.client.virtual import World

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
SOLVES = 50
OURS = ("/engine/routing.py", "/core/routing/", "/engine/budgets.py", "/journal/budgets.py", "/journal/day_book.py")
NOT_THE_CLIENTS = ("/emulator/", "/tests/")


def test_with_one_account_the_calls_of_a_solve_grow_by_at_most_three_percent() -> None:
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            calls[frame.f_code.co_filename] += 1

    async def main() -> None:
        async with World(seed=1).client(on_event=None) as client:
            await client.solve(PAGE)  # what is made once is not a solve's
            sys.setprofile(count)
            for _ in range(SOLVES):
                await client.solve(PAGE)
            sys.setprofile(None)

    try:
        run_virtual(main)
    finally:
        sys.setprofile(None)
    of_anycap = {
        file: n for file, n in calls.items() if "/anycap/" in file and not any(part in file for part in NOT_THE_CLIENTS)
    }
    ours = sum(n for file, n in of_anycap.items() if any(part in file for part in OURS))
    assert ours > 0  # else it measures nothing
    rest = sum(of_anycap.values()) - ours
    print(f"{ours / SOLVES:.1f} of {(ours + rest) / SOLVES:.1f} calls a solve")
    assert ours <= 0.03 * rest, Counter(
        {file: n for file, n in of_anycap.items() if any(part in file for part in OURS)}
    )
