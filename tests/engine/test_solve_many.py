"""`solve_many`: how far it reads ahead, and what leaving early leaves behind."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.errors import ClientClosed, Fenced, InDoubtError
from anycap.settings import RetrySettings, Settings
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_a_slow_reader_is_not_paid_ahead_of(world: World) -> None:
    read = 0

    def endless() -> Iterator[RecaptchaV2]:
        nonlocal read
        while True:
            read += 1
            yield PAGE

    async with world.client() as client:
        async with client.solve_many(endless(), limit=5) as outcomes:
            async for _ in outcomes:
                await anyio.sleep(600)
                break
            assert world.requests("createTask") <= 6
            assert read <= 7


@in_virtual_time
async def test_an_async_iterable_may_be_left_early(world: World) -> None:
    async def pages() -> AsyncIterator[RecaptchaV2]:
        while True:
            yield PAGE
            await anyio.sleep(0)

    source = pages()
    async with world.client() as client:
        async with client.solve_many(source, limit=3) as outcomes:
            async for outcome in outcomes:
                assert outcome.unwrap().token
                break
    await source.aclose()  # type: ignore[attr-defined] # a generator


@in_virtual_time
async def test_a_reader_that_is_late_does_not_get_what_another_process_has_taken_over(world: World) -> None:
    async with world.client() as client, client.solve_many([PAGE, PAGE], limit=2) as outcomes:
        await anyio.sleep(600)
        first, second = client._engine.solves.values()
        client._engine.disown(first)
        by_ticket = {outcome.ticket.id: outcome async for outcome in outcomes if outcome.ticket is not None}
        assert isinstance(by_ticket[first.id].error, Fenced)
        assert by_ticket[first.id].solution is None
        assert by_ticket[second.id].solution is not None


@in_virtual_time
async def test_a_time_out_round_many_is_the_callers_own(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    async with world.client() as client:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(5):
                async with client.solve_many([PAGE] * 3) as outcomes:
                    async for _ in outcomes:
                        pass
        await anyio.sleep(100)
        assert len(await client._engine.journal.open_entries()) == 3


@in_virtual_time
async def test_reset_before_opening_says_that_the_client_is_not_open(world: World) -> None:
    with pytest.raises(ClientClosed, match="not open"):
        world.client().reset()


@in_virtual_time
async def test_max_cost_bounds_what_is_sent_again_after_a_lost_answer(world: World) -> None:
    settings = Settings(retry=RetrySettings(resubmit_in_doubt=True))
    async with world.client(settings=settings) as client:
        cost = (await client.solve(PAGE)).cost
        assert cost == Decimal("0.002")
        world.fault("drop_after_create", count=1)
        with pytest.raises(InDoubtError):
            await client.solve(PAGE, max_cost=Decimal("0.003"))
        world.fault("drop_after_create", count=1)
        assert (await client.solve(PAGE, max_cost=Decimal("0.004"))).token


def test_a_native_cancellation_goes_through() -> None:
    from anycap.emulator import run_virtual

    async def main() -> None:
        world = World()
        async with world.client() as client:

            async def many() -> None:
                async with client.solve_many([PAGE] * 3) as outcomes:
                    async for _ in outcomes:
                        await anyio.sleep(1000)

            task = asyncio.create_task(many())
            await anyio.sleep(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await many()

    run_virtual(main)
