"""200 idempotency keys, each asked for by eight clients at once: one task each. Counted in the vendor's books.

And what a member knows of a ticket that others have gone on with.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from anycap import Account, Client, InDoubtError, RecaptchaV2, Shared, TicketError
from anycap.emulator import DEFAULT_KEY, Fault
from anycap.events import Event, EventKind
from anycap.settings import Polling
from tests.shared.processes import fleet, wait_until
from tests.shared.test_journal import until
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


@pytest.mark.anyio
@pytest.mark.parametrize("charged", [False, True], ids=["lost", "charged"])
async def test_a_doubt_that_another_member_has_settled_is_none_here(valkey: Valkey, charged: bool) -> None:
    page, name = RecaptchaV2("https://example.com", "6Le-site-key"), namespace()
    with fleet(valkey, name, solve_time=0.05) as it:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        it.emulator.faults.add(Fault(action="drop_after_create", count=1))
        async with (
            Client(account, shared=Shared(valkey.url, namespace=name)) as one,
            Client(account, shared=Shared(valkey.url, namespace=name)) as other,
        ):
            with pytest.raises(InDoubtError) as caught:
                await one.solve(page, idempotency_key="page 1")
            ticket = caught.value.ticket
            assert ticket is not None
            assert ticket.id in [resumed.id for resumed in await one.resume()]
            with pytest.raises(InDoubtError):
                await one.wait(ticket)
            assert ticket.id in [resumed.id for resumed in await one.resume()]
            await other.settle(ticket, charged=charged)
            with pytest.raises(TicketError, match="this in-doubt ticket was settled"):
                await one.wait(ticket)
            assert await one.resume() == []
            if charged:
                with pytest.raises(TicketError, match="this in-doubt ticket was settled"):
                    await one.solve(page, idempotency_key="page 1")
            else:
                assert (await one.solve(page, idempotency_key="page 1")).token
    assert len(it.pages_paid) == (1 if charged else 2)


@pytest.mark.anyio
async def test_a_solution_that_another_member_has_fetched_is_delivered_for_all(valkey: Valkey) -> None:
    page, name = RecaptchaV2("https://example.com", "6Le-site-key"), namespace()
    told: list[Event] = []
    with fleet(valkey, name, solve_time=0.05) as it:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        async with (
            Client(account, shared=Shared(valkey.url, namespace=name)) as one,
            Client(account, shared=Shared(valkey.url, namespace=name), on_event=told.append) as other,
        ):
            ticket = await one.submit(page)
            await until(lambda: b'["result"' in it.logs())
            await other.wait(ticket)
            await until(lambda: b'["delivered"' in it.logs())
            with pytest.raises(TicketError, match="delivered before"):
                await one.wait(ticket)
            assert [str(info.ticket.state) async for info in one.tickets()] == ["delivered"]
            assert await one.resume() == []
    assert EventKind.JOURNAL_TROUBLE not in {event.kind for event in told}
