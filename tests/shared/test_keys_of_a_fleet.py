"""200 idempotency keys, each asked for by eight clients at once: one task each. Counted in the vendor's books."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.shared.processes import fleet, wait_until
from tests.valkey_server import Valkey, namespace

KEYS = [f"https://example.com/{number}" for number in range(200)]
CLAIMANTS = 8


def test_two_hundred_keys_with_eight_claimants_each_are_paid_once(valkey: Valkey) -> None:
    with fleet(valkey, namespace(), solve_time=0.3) as it:
        # Each process asks in an order of its own, so that every one of them is the first for some keys.
        orders = [KEYS[place * 25 :] + KEYS[: place * 25] for place in range(CLAIMANTS)]
        workers = [it.start(pages, keyed=True, go=True, timeout_s=120) for pages in orders]
        for worker in workers:
            worker.wait_for("open")
        for worker in workers:
            worker.go()
        for worker in workers:
            wait_until(lambda worker=worker: worker.said("closed") or not worker.is_running, "the end")
        assert [line for worker in workers for line in worker.said("failed")] == []
        answers: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        for worker in workers:
            for _, page, ticket_id, task_id in worker.said("solved"):
                answers[page].append((ticket_id, task_id))
        assert Counter(it.pages_paid) == Counter(KEYS)
        assert set(answers) == set(KEYS)
        assert {len(of_page) for of_page in answers.values()} == {CLAIMANTS}
        assert {len(set(of_page)) for of_page in answers.values()} == {1}  # all have the same task's answer
        assert it.vendor.ledger.lost == []
