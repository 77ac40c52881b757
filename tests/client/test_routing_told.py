"""Which account was chosen, and why the others were not: in events, in health, and asked for without sending anything."""

from __future__ import annotations

from decimal import Decimal

import pytest

from anycap import Account, Client, ConfigurationError, Readiness, RecaptchaV2, RoutedEvent
from anycap.challenges import GeeTestV4
from anycap.emulator import DEFAULT_KEY
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
A, B, YES = "anti-captcha", "capmonster", "yescaptcha"


def routed(world: World) -> list[tuple[str, tuple[str, ...]]]:
    return [(event.account, event.passed_over) for event in world.events if isinstance(event, RoutedEvent)]


@in_virtual_time
async def test_a_solve_says_where_it_went_and_why_not_elsewhere(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client(A, B) as client:
        await client.solve(PAGE)
        await client.solve(PAGE)
        health = client.health()
    # The first solve asks A, which turns out to be empty; the second passes A over while the stop holds.
    assert routed(world) == [(A, ()), (B, (f"{A}: tried",)), (B, (f"{A}: no_funds",))]
    assert [event.ticket is not None for event in world.events if isinstance(event, RoutedEvent)] == [True] * 3
    assert (health[A].chosen, health[A].passed_over) == (1, {"tried": 1, "no_funds": 1})
    assert (health[B].chosen, health[B].passed_over) == (2, {})
    plain = health.to_dict()[A]
    assert isinstance(plain, dict)
    assert plain["passed_over"] == {"tried": 1, "no_funds": 1}


@in_virtual_time
async def test_a_busy_account_and_one_that_lacks_the_type_are_named_so(world: World) -> None:
    world.emulator[A].account().slots = 0
    async with world.client(A, B) as client:
        await client.solve(PAGE)
    assert routed(world) == [(A, ()), (B, (f"{A}: no_workers",))]
    async with world.client(YES, A) as client:
        world.emulator[A].account().slots = 5
        world.events.clear()
        await client.solve(GeeTestV4("https://example.com", "captcha-id"))
    assert routed(world) == [(A, (f"{YES}: cannot_encode",))]


@in_virtual_time
async def test_a_budget_that_is_used_up_shows_in_events_health_and_route(world: World) -> None:
    accounts = [
        Account(A, DEFAULT_KEY, base_url=world.emulator.base_url(A), budget={"USD": "0.002"}),
        Account(B, DEFAULT_KEY, base_url=world.emulator.base_url(B)),
    ]
    async with Client(*accounts, http=world.door, on_event=world.events.append, runtime=world.runtime()) as client:
        for _ in range(3):
            await client.solve(PAGE)
        assert client.health()[A].readiness is Readiness.OVER_BUDGET
        assert [(step.account, step.state) for step in client.route(PAGE)] == [(B, "ready"), (A, "over_budget")]
    assert routed(world)[-1] == (B, (f"{A}: over_budget",))


@in_virtual_time
async def test_with_one_account_or_a_named_one_there_is_no_choice_to_tell(world: World) -> None:
    async with world.client(A) as client:
        await client.solve(PAGE)
        assert client.health()[A].chosen == 0
    async with world.client(A, B) as client:
        await client.solve(PAGE, account=B)
    assert routed(world) == []


@in_virtual_time
async def test_a_route_says_the_order_and_the_state_of_each_and_sends_nothing(world: World) -> None:
    async with world.client(A, B, YES) as client:
        assert [(step.account, step.state, step.price) for step in client.route("RecaptchaV2")] == [
            (A, "ready", None), (B, "ready", None), (YES, "ready", None),
        ]  # fmt: skip
        assert [step.account for step in client.route(PAGE, accounts=[B, A])] == [B, A]
        assert [(step.account, step.state) for step in client.route("GeeTestV4")][-1] == (YES, "cannot_encode")
        assert world.emulator.trace == []
        await client.solve(PAGE)
        world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
        await client.solve(PAGE)
        first = client.route(PAGE)[0]
        assert (first.account, first.state, first.price, first.currency) == (A, "no_funds", Decimal("0.002"), "USD")
        assert first.wait_s is not None
        assert 0 < first.wait_s <= 60
        with pytest.raises(ConfigurationError, match="no challenge type"):
            client.route("RecaptchaV9")
        with pytest.raises(ConfigurationError, match="third"):
            client.route(PAGE, accounts=["third"])


@in_virtual_time
async def test_by_weight_a_route_is_shown_in_the_order_of_the_weights(world: World) -> None:
    accounts = [
        Account(name, DEFAULT_KEY, base_url=world.emulator.base_url(name), weight=weight)
        for name, weight in ((A, 1), (B, 5), (YES, 2))
    ]
    async with Client(*accounts, http=world.door, routing="weighted") as client:
        assert [(step.account, step.weight) for step in client.route(PAGE)] == [(B, 5), (YES, 2), (A, 1)]
