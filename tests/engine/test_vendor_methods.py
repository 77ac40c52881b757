"""Balance, reports, statistics, variables and `call`: what is sent, and what is refused here."""

from decimal import Decimal
from typing import Any

import anyio
import pytest

from anycap.challenges import WAIT, AntiGate, HCaptcha, ImageToText, RecaptchaV2, Turnstile
from anycap.errors import (
    AccountError,
    ConfigurationError,
    DeadlineError,
    ReportRefused,
    ServiceError,
    SolveError,
    TransportError,
    UnsupportedMethod,
)
from anycap.queues import Queue
from anycap.settings import Settings
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PICTURE = ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(216))


@in_virtual_time
@pytest.mark.parametrize(
    ("provider", "currency"),
    [("anti-captcha", "USD"), ("capmonster", "USD"), ("yescaptcha", "points"), ("ezcaptcha", "USD")],
)
async def test_the_balance_is_exact_and_names_its_currency(world: World, provider: str, currency: str) -> None:
    world.emulator[provider].account().balance = Decimal("14.12")
    async with world.client(provider) as client:
        balance = await client.balance()
    assert balance.amount == Decimal("14.12")
    assert balance.currency == currency


@in_virtual_time
async def test_what_else_a_balance_says_is_kept(world: World) -> None:
    world.emulator["anti-captcha"].account().captcha_credits = 250
    async with world.client("anti-captcha", "yescaptcha") as client:
        credited = await client.balance(account="anti-captcha")
        points = await client.balance(account="yescaptcha")
    assert credited.captcha_credits == Decimal(250)
    assert credited.soft_balance is None
    assert points.captcha_credits is None
    assert points.soft_balance == Decimal("36.0098")
    assert (points.raw["inviteBalance"], points.raw["inviteBy"]) == (0, "3")


@in_virtual_time
async def test_the_developer_id_is_sent_only_when_set_and_to_each_vendor_its_own(world: World) -> None:
    async with world.client("anti-captcha", "capmonster") as client:
        await client.solve(PAGE, account="anti-captcha")
    async with world.client("anti-captcha", settings=Settings(soft_id=123)) as client:
        await client.solve(PAGE)
    settings = Settings(soft_id={"anti-captcha": 7, "capsolver": "F00D-1"})
    async with world.client("anti-captcha", "capmonster", settings=settings) as client:
        await client.solve(PAGE, account="anti-captcha")
        await client.solve(PAGE, account="capmonster")
    assert [task.soft_id for task in world.emulator["anti-captcha"].ledger.tasks] == [None, 123, 7]
    assert [task.soft_id for task in world.emulator["capmonster"].ledger.tasks] == [None]


@in_virtual_time
async def test_the_developer_id_of_the_account_is_read(world: World) -> None:
    async with world.client("yescaptcha") as client:
        answer = await client.call("getSoftID")
        assert await client.soft_id() == answer["softID"] > 0
    async with world.client("capmonster") as client:
        with pytest.raises(UnsupportedMethod):
            await client.soft_id()


@in_virtual_time
async def test_errors_of_a_call_are_typed_too(world: World) -> None:
    async with world.client(key="not-the-key-of-any-account") as client:
        with pytest.raises(AccountError) as caught:
            await client.balance()
        assert caught.value.phase == "call"
        with pytest.raises(AccountError) as again:
            await client.balance()
        assert not again.value.sent
    assert world.requests("getBalance") == 1


@in_virtual_time
async def test_queue_stats_need_no_key_and_no_luck_with_types(world: World) -> None:
    async with world.client() as client:
        stats = await client.queue_stats(Queue.RECAPTCHA_V2)
    assert stats.total >= stats.waiting >= 0
    assert isinstance(stats.bid, Decimal)


@in_virtual_time
async def test_statistics(world: World) -> None:
    async with world.client() as client:
        await client.solve(PAGE)
        spent = await client.spending_stats()
        assert all("money" in line for line in spent)


@in_virtual_time
async def test_what_a_vendor_lacks_is_refused_here(world: World) -> None:
    async with world.client("capmonster") as client:
        with pytest.raises(UnsupportedMethod, match="getQueueStats"):
            await client.queue_stats(6)
        with pytest.raises(UnsupportedMethod):
            await client.spending_stats()
        solution = await client.solve(PAGE)
        before = len(world.emulator.trace)
        with pytest.raises(UnsupportedMethod):
            await client.report_correct(solution)
    assert len(world.emulator.trace) == before


@in_virtual_time
async def test_call_refuses_to_spend_money_and_to_carry_keys(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError, match="createTask"):
            await client.call("createTask", task={})
        with pytest.raises(ConfigurationError, match="clientKey"):
            await client.call("getBalance", clientKey="x")
        with pytest.raises(UnsupportedMethod):
            await client.call("../getBalance")
        assert (await client.call("getBalance"))["errorId"] == 0
    assert world.requests("createTask") == 0


@in_virtual_time
async def test_the_report_method_is_chosen_from_the_solved_task(world: World) -> None:
    async with world.client("anti-captcha", "capmonster") as client:
        await client.report_incorrect(await client.solve(PAGE, account="anti-captcha"))
        await client.report_correct(await client.solve(PAGE, account="anti-captcha"))
        await client.report_incorrect(await client.solve(PICTURE, account="anti-captcha"))
        await client.report_incorrect(await client.solve(PAGE, account="capmonster"))
    methods = [line.method for line in world.emulator.trace if line.method.startswith("report")]
    assert methods == [
        "reportIncorrectRecaptcha", "reportCorrectRecaptcha", "reportIncorrectImageCaptcha", "reportIncorrectTokenCaptcha",
    ]  # fmt: skip
    assert all(line.outcome == "success" for line in world.emulator.trace if line.method.startswith("report"))


@in_virtual_time
async def test_a_second_report_is_refused_here(world: World) -> None:
    async with world.client() as client:
        solution = await client.solve(PAGE)
        await client.report_incorrect(solution)
        with pytest.raises(ReportRefused, match="one report per task"):
            await client.report_correct(solution)
    assert sum(line.method.startswith("report") for line in world.emulator.trace) == 1


@in_virtual_time
async def test_a_report_of_the_wrong_kind_is_refused_here(world: World) -> None:
    async with world.client() as client:
        solution = await client.solve(Turnstile("https://example.com", "0x4AAA"))
        with pytest.raises(ReportRefused, match="not for Turnstile"):
            await client.report_incorrect(solution)
        hcaptcha = await client.solve(HCaptcha("https://example.com", "KEY"))
        await client.report_incorrect(hcaptcha)
    assert [line.method for line in world.emulator.trace if line.method.startswith("report")] == [
        "reportIncorrectHcaptcha"
    ]


@in_virtual_time
async def test_a_report_about_the_russian_pool_is_refused_here(world: World) -> None:
    picture = ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(216), language_pool="rn")
    async with world.client() as client:
        solution = await client.solve(picture)
        with pytest.raises(ReportRefused, match="rn"):
            await client.report_incorrect(solution)
    assert not any(line.method.startswith("report") for line in world.emulator.trace)


@in_virtual_time
async def test_a_late_report_is_refused_here(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
        await anyio.sleep(75)
        with pytest.raises(ReportRefused, match="60 s"):
            await client.report_incorrect(solution)
    assert not any(line.method.startswith("report") for line in world.emulator.trace)


@in_virtual_time
async def test_too_few_tasks_for_a_report_to_count_is_an_event(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
        await client.report_incorrect(solution)
    event = next(event for event in world.events if event.kind == "report_may_not_count")
    assert event.data["tasks"] == 1
    assert event.data["needed"] == 100


@in_virtual_time
async def test_enough_tasks_tell_nothing(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        async with client.solve_many([PAGE] * 101) as outcomes:
            solutions = [outcome.unwrap() async for outcome in outcomes]
        await client.report_incorrect(solutions[-1])
    assert "report_may_not_count" not in world.kinds()
    assert "reported" in world.kinds()


ENDLESS = "1e999999999"
"""Takes minutes to become an integer, and gigabytes to be written out."""


@in_virtual_time
@pytest.mark.parametrize(
    ("number", "read"),
    [
        (ENDLESS, None), ("-" + ENDLESS, None), ("0e999999999", None), ("9" * 5_000, None), ("NaN", None), ("-Infinity", None),
        ("", None), (True, None), ([1], None), ({}, None), (None, None), (" 12 ", Decimal(12)), (0, Decimal(0)),
        ("-0.50", Decimal("-0.50")), (10**17, Decimal(10**17)),
    ],
)  # fmt: skip
async def test_a_number_no_amount_can_be_is_none(world: World, number: object, read: Decimal | None) -> None:
    world.fault(
        "http", status=200, body={"errorId": 0, "balance": number, "captchaCredits": number, "softBalance": number}
    )
    async with world.client() as client:
        if read is None:
            with pytest.raises(ServiceError, match="balance is not a number"):
                await client.balance()
        else:
            balance = await client.balance()
            assert (balance.amount, balance.captcha_credits, balance.soft_balance) == (read, read, read)


@in_virtual_time
@pytest.mark.parametrize("wrong", [ENDLESS, "NaN", None, True, "many", [], {"x": 1}])
@pytest.mark.parametrize("field", ["waiting", "load", "bid", "speed", "total"])
async def test_queue_statistics_with_a_wrong_field_are_unreadable(world: World, field: str, wrong: object) -> None:
    body = {"waiting": 1, "load": 2.5, "bid": "0.001", "speed": 3, "total": 4}
    world.fault("http", status=200, body=body, count=1)
    world.fault("http", status=200, body={**body, field: wrong})
    async with world.client() as client:
        assert (await client.queue_stats(6)).bid == Decimal("0.001")
        with pytest.raises(ServiceError, match="queue statistics"):
            await client.queue_stats(6)


@in_virtual_time
async def test_statistics_and_ids_of_other_types_are_unreadable_or_none(world: World) -> None:
    world.fault("http", method="getSpendingStats", status=200, body={"errorId": 0, "data": "none"}, count=1)
    world.fault("http", method="getSoftID", status=200, body={"errorId": 0, "softID": ENDLESS})
    async with world.client("anti-captcha", "yescaptcha") as client:
        with pytest.raises(ServiceError, match="spending statistics"):
            await client.spending_stats()
        assert await client.spending_stats() == []
        assert await client.soft_id() is None


@in_virtual_time
@pytest.mark.parametrize(("cost", "read"), [(ENDLESS, None), (-1, None), ("0.002", Decimal("0.002")), ("free", None)])
async def test_a_cost_that_cannot_be_is_no_cost_and_the_solution_is_kept(
    world: World, cost: object, read: Decimal | None
) -> None:
    body = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "T"}, "cost": cost}
    world.fault("http", method="getTaskResult", status=200, body=body)
    async with world.client() as client:
        solution = await client.solve(PAGE)
    assert (solution.token, solution.cost) == ("T", read)


@in_virtual_time
async def test_a_variable_is_pushed_into_a_waiting_task(world: World) -> None:
    challenge = AntiGate("https://example.com", template="Sign in", variables={"code": WAIT})
    async with world.client() as client:
        ticket = await client.submit(challenge)
        await client.push_variable(ticket, "code", "123456")
        assert (await client.wait(ticket)).raw
    assert world.requests("pushAntiGateVariable") == 1


@in_virtual_time
async def test_a_variable_that_nobody_waits_for_is_the_vendors_error(world: World) -> None:
    challenge = AntiGate("https://example.com", template="Sign in", variables={"code": WAIT, "login": "me"})
    async with world.client() as client:
        ticket = await client.submit(challenge)
        with pytest.raises(SolveError) as caught:
            await client.push_variable(ticket, "no-such-name", "1")
        assert caught.value.ticket == ticket
        with pytest.raises(DeadlineError):  # it waits for its variable, however long that takes
            await client.wait(ticket, timeout=60)
        await client.push_variable(ticket, "code", {"digits": [1, 2]})
        assert (await client.wait(ticket)).raw


@in_virtual_time
async def test_a_variable_for_a_vendor_without_them_is_refused_here(world: World) -> None:
    async with world.client("capmonster") as client:
        ticket = await client.submit(PAGE)
        with pytest.raises(UnsupportedMethod, match="pushAntiGateVariable"):
            await client.push_variable(ticket, "code", "1")
    assert world.requests("pushAntiGateVariable") == 0


@in_virtual_time
async def test_the_user_agent_of_the_vendor(world: World) -> None:
    async with world.client("capmonster") as client:
        agent = await client.user_agent()
    assert agent.startswith("Mozilla/5.0")


@in_virtual_time
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"action": "refuse"}, TransportError),
        ({"action": "http", "status": 503}, ServiceError),
        ({"action": "http", "status": 403}, SolveError),
        ({"action": "http", "status": 200, "body": ""}, ServiceError),
        ({"action": "http", "status": 200, "body": "Mozilla\r\nX-Header: 1"}, ServiceError),
        ({"action": "hang"}, (DeadlineError, TransportError)),
    ],
)
async def test_no_user_agent_is_a_typed_error(world: World, fault: dict[str, Any], error: type[Exception]) -> None:
    world.fault(**fault)
    async with world.client("capmonster") as client:
        with pytest.raises(error):
            await client.user_agent(timeout=5)


@in_virtual_time
async def test_receipts_say_what_was_spent(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    async with world.client() as client:
        async with client.solve_many([PAGE] * 4) as outcomes:
            [outcome async for outcome in outcomes]
        await anyio.sleep(0.1)
        receipts = await client.receipts()
    assert len(receipts) == 4
    paid = [receipt for receipt in receipts if receipt.amount is not None]
    assert len(paid) == 3
    assert sum(receipt.amount or 0 for receipt in paid) == Decimal("0.006")
    assert sorted(str(receipt.charged) for receipt in receipts) == ["yes"] * 4
    assert {receipt.currency for receipt in receipts} == {"USD"}


@in_virtual_time
@pytest.mark.parametrize("method", ["balance", "call"])
async def test_five_hundred_questions_with_a_wrong_key_are_one_request(world: World, method: str) -> None:
    errors: list[AccountError] = []

    async def ask(client: Any) -> None:
        with pytest.raises(AccountError) as caught:
            await (client.balance() if method == "balance" else client.call("getBalance"))
        errors.append(caught.value)

    async with world.client(key="wrong-key-0123456789") as client, anyio.create_task_group() as tasks:
        for _ in range(500):
            tasks.start_soon(ask, client)
    assert world.requests("getBalance") == 1
    assert [error.sent for error in errors].count(True) == 1
    assert {str(error.code) for error in errors} == {"invalid_key"}


@in_virtual_time
async def test_other_methods_pass_the_gate(world: World) -> None:
    async with world.client("anti-captcha") as client, anyio.create_task_group() as tasks:
        await client.balance()
        for _ in range(400):
            tasks.start_soon(client.queue_stats, Queue.IMAGE_ENGLISH)
    assert world.requests("getQueueStats") == 400
    assert world.door.open_requests_max <= 64  # a quarter of requests_max


@in_virtual_time
async def test_the_balance_is_shared_by_all_who_ask_within_the_vendors_interval(world: World) -> None:
    account = world.emulator["anti-captcha"].account()
    account.balance = Decimal(5)
    async with world.client("anti-captcha") as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(client.balance)
        account.balance = Decimal(7)
        await anyio.sleep(29)  # anti-captcha wants it at most once in 30 s
        assert (await client.balance()).amount == Decimal(5)
        assert world.requests("getBalance") == 1
        assert (await client.balance(max_age=0)).amount == Decimal(7)
        account.balance = Decimal(9)
        await anyio.sleep(31)
        assert (await client.balance()).amount == Decimal(9)
    assert world.requests("getBalance") == 3


@in_virtual_time
async def test_a_vendor_without_an_interval_is_asked_each_time(world: World) -> None:
    async with world.client("capmonster") as client:
        for _ in range(3):
            await client.balance()
    assert world.requests("getBalance") == 3


@in_virtual_time
async def test_a_caller_that_leaves_while_it_asks_for_the_balance_leaves_the_others_theirs(world: World) -> None:
    world.fault("hang", method="getBalance", count=1)
    amounts: list[Decimal] = []

    async with world.client("anti-captcha") as client:
        async with anyio.create_task_group() as tasks:

            async def first() -> None:
                with anyio.move_on_after(5):
                    await client.balance()

            async def second() -> None:
                amounts.append((await client.balance(timeout=60)).amount)

            tasks.start_soon(first)
            await anyio.sleep(1)
            tasks.start_soon(second)
    assert len(amounts) == 1


@in_virtual_time
async def test_a_balance_that_cannot_be_asked_for_in_time_was_not_sent(world: World) -> None:
    world.fault("hang", method="getBalance", count=1)
    async with world.client("anti-captcha") as client, anyio.create_task_group() as tasks:
        sent: list[bool] = []

        async def ask(timeout: float) -> None:
            with pytest.raises(DeadlineError) as caught:
                await client.balance(timeout=timeout)
            sent.append(caught.value.sent)

        tasks.start_soon(ask, 10.0)
        await anyio.sleep(1)
        tasks.start_soon(ask, 5.0)
    assert sent == [False, True]


@in_virtual_time
async def test_a_stopped_account_says_so_to_every_question_at_once(world: World) -> None:
    async with world.client(key="wrong-key-0123456789") as client:
        for sent in (True, False, False):
            began = anyio.current_time()
            with pytest.raises(AccountError) as caught:
                await client.call("getBalance")
            assert caught.value.sent is sent
            assert anyio.current_time() - began < 0.2
