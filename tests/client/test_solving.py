"""Solving against the emulated vendors: what a caller gets, and what the vendors' ledgers say afterwards."""

import math
from decimal import Decimal
from itertools import pairwise
from typing import Any

import anyio
import attrs
import pytest

from anycap.challenges import ImageToText, RecaptchaGrid, RecaptchaV2, RecaptchaV3, Turnstile, VendorTask
from anycap.emulator.ledger import TaskState
from anycap.errors import (
    ConfigurationError,
    DeadlineError,
    InDoubtError,
    ServiceError,
    TicketError,
    TransportError,
    UnsolvedError,
)
from anycap.results import TextSolution, TokenSolution
from anycap.settings import GuardSettings, HttpSettings, Polling, RetrySettings, Settings
from anycap.tickets import Ticket, TicketState
from tests.client.virtual import FOUR, World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PICTURE = ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x00" * 200)


@in_virtual_time
async def test_each_of_the_four_vendors_solves(world: World) -> None:
    async with world.client(*FOUR) as client:
        for name in FOUR:
            solution = await client.solve(PAGE, account=name)
            assert isinstance(solution, TokenSolution)
            assert solution.token
            assert solution.ticket is not None
            assert solution.ticket.account == name
    for name in FOUR:
        assert world.requests("createTask", name) == 1
        assert world.emulator[name].ledger.count(TaskState.SOLVED) == 1


@in_virtual_time
async def test_task_ids_keep_the_type_they_came_in(world: World) -> None:
    async with world.client("anti-captcha", "yescaptcha") as client:
        number = (await client.solve(PAGE, account="anti-captcha")).ticket
        text = (await client.solve(PAGE, account="yescaptcha")).ticket
    assert number is not None
    assert isinstance(number.task_id, int)
    assert text is not None
    assert isinstance(text.task_id, str)


@in_virtual_time
async def test_a_solution_inside_the_create_task_answer_needs_no_poll(world: World) -> None:
    async with world.client("yescaptcha") as client:
        grid = RecaptchaGrid(image=_png(300, 300), question="/m/0k4j")
        solution = await client.solve(grid)
    assert solution.cells is not None
    assert world.requests("getTaskResult") == 0


@in_virtual_time
async def test_an_image_is_read(world: World) -> None:
    async with world.client("capmonster") as client:
        solution = await client.solve(PICTURE)
    assert isinstance(solution, TextSolution)
    assert solution.text


@in_virtual_time
async def test_the_first_poll_and_the_gap_are_the_catalogs(world: World) -> None:
    world.emulator["capmonster"].solve_time = 10.0
    async with world.client("capmonster", settings=Settings(polling=Polling(adaptive=False))) as client:
        await client.solve(Turnstile("https://example.com", "0x4AAA"))
    times = [line.time for line in world.emulator.trace if line.method == "getTaskResult"]
    created = next(line.time for line in world.emulator.trace if line.method == "createTask")
    # CapMonster tokens: first after 3 s, then every 3 s (first polls are spread by up to a third of a gap).
    assert 3.0 <= times[0] - created <= 4.1
    assert all(2.0 <= later - earlier <= 4.1 for earlier, later in pairwise(times))


@in_virtual_time
async def test_fixed_polling_overrides_the_catalog(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 2.2
    async with world.client(settings=Settings(polling=Polling(fixed=(0.5, 0.5)))) as client:
        await client.solve(PAGE)
    times = [line.time for line in world.emulator.trace if line.method == "getTaskResult"]
    assert len(times) == 5
    assert times[1] - times[0] == pytest.approx(0.5, abs=0.06)


@in_virtual_time
async def test_cost_and_times_come_with_the_solution(world: World) -> None:
    async with world.client() as client:
        solution = await client.solve(PAGE)
    assert solution.cost == Decimal("0.002")
    assert solution.currency == "USD"
    assert solution.created_at is not None
    assert solution.ended_at is not None
    assert solution.ended_at >= solution.created_at


@in_virtual_time
async def test_a_vendors_own_task_type_goes_through_as_it_is(world: World) -> None:
    world.emulator["capmonster"].strict = False
    async with world.client("capmonster") as client:
        challenge = VendorTask("TurnstileTask", {"websiteURL": "https://example.com", "websiteKey": "0x4AAA"})
        solution = await client.solve(challenge)
    assert solution.raw["token"]


# -- polls may fail in every way


@in_virtual_time
async def test_html_502_while_polling_keeps_the_task(world: World) -> None:
    world.fault("http", method="getTaskResult", nth=1, status=502)
    await _solved_once(world)


@in_virtual_time
async def test_a_reset_while_polling_keeps_the_task(world: World) -> None:
    world.fault("reset", method="getTaskResult", nth=1, when="before")
    world.fault("reset", method="getTaskResult", nth=2, when="after")
    await _solved_once(world)


@in_virtual_time
async def test_half_a_document_while_polling_keeps_the_task(world: World) -> None:
    world.fault("truncate", method="getTaskResult", nth=1)
    await _solved_once(world)


@in_virtual_time
async def test_a_429_while_polling_keeps_the_task_and_waits_as_long_as_it_says(world: World) -> None:
    world.fault("http", method="getTaskResult", nth=1, status=429, headers={"Retry-After": "11"})
    await _solved_once(world)
    times = [line.time for line in world.emulator.trace if line.method == "getTaskResult"]
    assert times[1] - times[0] >= 11.0


@in_virtual_time
async def test_too_much_requests_while_polling_keeps_the_task(world: World) -> None:
    world.fault("error", provider="capmonster", method="getTaskResult", nth=1, code="ERROR_TOO_MUCH_REQUESTS")
    async with world.client("capmonster") as client:
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_noise_and_wrong_types_while_polling_keep_the_task(world: World) -> None:
    world.fault("garbage", method="getTaskResult", nth=1)
    world.fault("wrong_types", method="getTaskResult", nth=2)
    await _solved_once(world)


async def _solved_once(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 12.0
    async with world.client() as client:
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 1
    assert world.emulator["anti-captcha"].ledger.count(TaskState.SOLVED) == 1


@in_virtual_time
@pytest.mark.parametrize("status", [302, 403, 404])
async def test_three_pages_while_polling_are_lost_polls(world: World, status: int) -> None:
    world.fault("http", method="getTaskResult", status=status, count=3)
    async with world.client() as client:
        await client.solve(PAGE)
    assert world.requests("createTask") == 1
    assert "stalled" not in world.kinds()


@in_virtual_time
async def test_a_minute_of_pages_stalls_the_task_and_a_wait_takes_it_up_again(world: World) -> None:
    # Polls at 5 s and, each gap twice the one before, at 11, 23, 47 and 87 s: the fifth comes a minute after the first.
    world.fault("http", method="getTaskResult", status=404, count=5)
    world.emulator["anti-captcha"].solve_time = 80.0
    async with world.client() as client:
        with pytest.raises(Exception, match="HTTP 404") as caught:
            await client.solve(PAGE)
        ticket = caught.value.ticket  # type: ignore[attr-defined] # every AnycapError has one
        assert ticket.task_id is not None
        assert (await client.wait(ticket)).ticket.task_id == ticket.task_id  # type: ignore[union-attr] # set above
    assert world.requests("createTask") == 1


# -- createTask


@in_virtual_time
async def test_a_lost_create_task_answer_is_in_doubt_and_never_resent(world: World) -> None:
    world.fault("drop_after_create")
    async with world.client() as client:
        with pytest.raises(InDoubtError) as caught:
            await client.solve(PAGE)
        ticket = caught.value.ticket
        assert ticket is not None
        assert ticket.task_id is None
        assert ticket.state is TicketState.IN_DOUBT
        with pytest.raises(InDoubtError):
            await client.wait(ticket)
        await anyio.sleep(600)
    assert world.requests("createTask") == 1
    assert len(world.emulator["anti-captcha"].ledger.to_json()["tasks"]) == 1


@in_virtual_time
async def test_in_doubt_is_resent_once_with_the_written_opt_in(world: World) -> None:
    world.fault("drop_after_create", count=1)
    settings = Settings(retry=RetrySettings(resubmit_in_doubt=True))
    async with world.client(settings=settings) as client:
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 2


@in_virtual_time
@pytest.mark.parametrize("fault", ["truncate", "garbage", "wrong_types", "hang", "oversized"])
async def test_an_unusable_create_task_answer_is_in_doubt(world: World, fault: str) -> None:
    world.fault(fault, method="createTask", when="after")
    async with world.client() as client:
        with pytest.raises(InDoubtError):
            await client.solve(PAGE)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_request_that_never_left_is_sent_again(world: World) -> None:
    world.fault("refuse", method="createTask", count=3)
    async with world.client() as client:
        assert (await client.solve(PAGE)).token
    assert len(world.emulator["anti-captcha"].ledger.to_json()["tasks"]) == 1


@in_virtual_time
async def test_an_unreachable_vendor_ends_in_a_deadline_that_says_so(world: World) -> None:
    world.fault("refuse", method="createTask")
    async with world.client() as client:
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=20)
    assert isinstance(caught.value.last_error, (TransportError, ServiceError))
    assert isinstance(caught.value, TimeoutError)


@in_virtual_time
async def test_an_unsolvable_task_is_tried_once_more_where_failures_are_free(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    async with world.client("capmonster") as client:
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 2


@in_virtual_time
async def test_an_unsolvable_task_is_not_paid_for_again_where_failures_are_charged(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    async with world.client("anti-captcha") as client:
        with pytest.raises(UnsolvedError) as caught:
            await client.solve(PAGE)
    assert caught.value.vendor_code == "ERROR_CAPTCHA_UNSOLVABLE"
    assert caught.value.vendor_id == 12
    assert caught.value.charged == "yes"
    assert caught.value.phase == "poll"
    assert caught.value.sent
    assert world.requests("createTask") == 1


# -- deadlines, tickets


@in_virtual_time
async def test_a_deadline_leaves_a_ticket_that_can_be_waited_for(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 30.0
    async with world.client() as client:
        started = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=8)
        assert anyio.current_time() - started == pytest.approx(8.0, abs=0.01)
        ticket = caught.value.ticket
        assert ticket is not None
        assert ticket.task_id is not None
        solution = await client.wait(ticket)
        assert solution.ticket is not None
        assert solution.ticket.task_id == ticket.task_id
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_the_deadline_cuts_a_request_in_flight(world: World) -> None:
    world.fault("hang", method="createTask", when="after", count=1)
    async with world.client(settings=Settings(http=HttpSettings(request_timeout_s=30))) as client:
        started = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=3)
        assert anyio.current_time() - started == pytest.approx(3.0, abs=0.01)
        assert caught.value.ticket is not None
        with pytest.raises(InDoubtError):
            await client.wait(caught.value.ticket, timeout=60)


@in_virtual_time
async def test_a_timeout_of_zero_sends_nothing(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(DeadlineError):
            await client.solve(PAGE, timeout=0)
        await anyio.sleep(5)
    assert world.requests("createTask") == 0


@in_virtual_time
async def test_waiting_for_ever_is_allowed(world: World) -> None:
    async with world.client() as client:
        assert (await client.solve(PAGE, timeout=math.inf)).token


@in_virtual_time
async def test_submit_and_wait_are_the_two_halves(world: World) -> None:
    async with world.client() as client:
        ticket = await client.submit(PAGE)
        assert ticket.task_id is not None
        assert ticket.state is TicketState.PENDING
        assert ticket.type == "RecaptchaV2"
        assert Ticket.from_dict(ticket.to_dict()) == ticket
        solution = await client.wait(ticket)
        assert solution.ticket is not None
        assert solution.ticket.id == ticket.id
        with pytest.raises(TicketError, match="delivered before"):
            await client.wait(ticket)


@in_virtual_time
async def test_a_ticket_of_another_machine_is_polled_on(world: World) -> None:
    async with world.client() as first:
        ticket = await first.submit(PAGE)
    async with world.client() as second:
        assert (await second.wait(ticket)).ticket is not None
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_two_callers_of_one_ticket_get_the_same_solution(world: World) -> None:
    tokens: list[str] = []

    async def wait(ticket: Ticket) -> None:
        solution = await client.wait(ticket)
        assert isinstance(solution, TokenSolution)
        tokens.append(solution.token)

    async with world.client() as client:
        ticket = await client.submit(PAGE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, ticket)
            tasks.start_soon(wait, ticket)
    assert len(tokens) == 2
    assert tokens[0] == tokens[1]


@in_virtual_time
async def test_a_cancelled_caller_leaves_the_paid_task_running(world: World) -> None:
    async with world.client() as client:
        with anyio.move_on_after(2):
            await client.solve(PAGE)
        (ticket,) = await _open_tickets(client)
        solution = await client.wait(ticket)
        assert solution.ticket is not None
        assert solution.ticket.task_id == ticket.task_id
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_result_whose_caller_went_away_waits_in_the_journal(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 4.0
    async with world.client() as client:
        with anyio.move_on_after(2):
            await client.solve(PAGE)
        (ticket,) = await _open_tickets(client)
        await anyio.sleep(50)
        started = anyio.current_time()
        assert (await client.wait(ticket)).ticket is not None
        assert anyio.current_time() == started


@in_virtual_time
async def test_abandon_on_cancel_stops_the_polling(world: World) -> None:
    async with world.client() as client:
        with anyio.move_on_after(6):
            await client.solve(PAGE, on_cancel="abandon")
        polls = world.requests("getTaskResult")
        await anyio.sleep(60)
    assert world.requests("getTaskResult") <= polls + 1


async def _open_tickets(client: object) -> list[Ticket]:
    from anycap.engine.recovery import ticket_of

    entries = await client._journal.open_entries()  # type: ignore[attr-defined] # the journal as the client has it
    return [ticket_of(entry) for entry in entries]


# -- many at once


@in_virtual_time
async def test_many_come_in_the_order_of_completion_with_their_index(world: World) -> None:
    world.emulator["capmonster"].solve_time = lambda rng, kind: rng.uniform(2.0, 40.0)  # type: ignore[assignment] # a law
    challenges = [PAGE, Turnstile("https://example.com", "0x4AAA"), RecaptchaV3("https://example.com", "6Le-v3")] * 10
    seen: list[int] = []
    async with world.client("capmonster") as client, client.solve_many(challenges) as outcomes:
        async for outcome in outcomes:
            assert outcome.unwrap().ticket is not None
            assert outcome.challenge is challenges[outcome.index]
            seen.append(outcome.index)
    assert sorted(seen) == list(range(30))
    assert seen != sorted(seen)


@in_virtual_time
async def test_many_are_read_lazily(world: World) -> None:
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield PAGE

    async with world.client("capmonster") as client:
        async with client.solve_many(endless(), limit=5) as outcomes:  # type: ignore[arg-type] # a generator
            async for outcome in outcomes:
                assert outcome.error is None
                break
        assert taken <= 7


@in_virtual_time
async def test_one_failure_among_many_is_an_outcome(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    async with world.client() as client, client.solve_many([PAGE] * 5) as outcomes:
        results = [outcome async for outcome in outcomes]
    errors = [outcome.error for outcome in results if outcome.error is not None]
    assert len(results) == 5
    assert len(errors) == 1
    assert isinstance(errors[0], UnsolvedError)
    with pytest.raises(UnsolvedError):
        next(outcome for outcome in results if outcome.error).unwrap()


@in_virtual_time
async def test_what_the_iterable_raises_reaches_the_reader(world: World) -> None:
    def broken() -> object:
        yield PAGE
        raise LookupError("no more pages")

    async with world.client() as client:
        with pytest.raises(LookupError, match="no more pages"):
            async with client.solve_many(broken()) as outcomes:  # type: ignore[arg-type] # a generator
                async for _ in outcomes:
                    pass


def _png(width: int, height: int) -> bytes:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + size + b"\x08\x02\x00\x00\x00" + bytes(300)


# -- pages of a firewall, odd ids


@in_virtual_time
async def test_one_firewalls_page_on_create_task_costs_seconds_and_blames_nobody(world: World) -> None:
    world.fault("http", method="createTask", status=403, count=1)
    async with world.client() as client:
        began = anyio.current_time()
        await client.solve(PAGE, timeout=60)
        assert anyio.current_time() - began < 30.0  # 3 s, and what a solve takes
    stops = [stop for event in world.events if event.kind == "account_state" for stop in event.data["begun"]]
    assert stops == ["account: rate_limited"]


@in_virtual_time
async def test_an_error_beside_a_task_id_is_polled_and_never_sent_again(world: World) -> None:
    vendor = world.emulator["anti-captcha"]
    create = vendor.call

    def busy_with_an_id(method: str, fields: object, **where: object) -> object:
        reply = create(method, fields, **where)  # type: ignore[arg-type] # as it was called
        if method == "createTask":
            said = {"errorId": 2, "errorCode": "ERROR_NO_SLOT_AVAILABLE", "taskId": reply.fields["taskId"]}
            return attrs.evolve(reply, fields=said)
        return reply

    vendor.call = busy_with_an_id  # type: ignore[method-assign,assignment] # the vendor's odd habit
    async with world.client() as client:
        solution = await client.solve(PAGE)
    assert solution.token
    assert world.requests("createTask") == 1


@in_virtual_time
@pytest.mark.parametrize("word", ["failed", "error", "under_review"])
async def test_a_status_that_nobody_documents_is_polled_on_and_named_at_the_deadline(world: World, word: str) -> None:
    world.fault("http", method="getTaskResult", status=200, body={"errorId": 0, "status": word})
    async with world.client() as client:
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=30)
    assert f"the vendor's last status was {word!r}" in str(caught.value.last_error)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_high_goes_before_normal_before_low(world: World) -> None:
    order: list[str] = []
    async with world.client(settings=Settings(guard=GuardSettings(max_in_flight=1))) as client:

        async def one(priority: Any) -> None:
            await client.solve(PAGE, priority=priority)
            order.append(priority)

        async with anyio.create_task_group() as group:
            group.start_soon(one, "low")
            await anyio.sleep(0.1)  # the first is sent; the others wait for its end
            for priority in ("low", "normal", "high", "normal"):
                group.start_soon(one, priority)
        with pytest.raises(ConfigurationError, match="priority is 'low', 'normal', 'high'"):
            await client.solve(PAGE, priority="urgent")  # type: ignore[arg-type]  # wrong on purpose
    assert order == ["low", "high", "normal", "normal", "low"]
