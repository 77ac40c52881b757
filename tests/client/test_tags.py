"""What a ticket says of what it is for: the caller's tag and the summary of the challenge, wherever the ticket goes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from anycap.challenges import RecaptchaV2
from anycap.engine.runtime import inline
from anycap.errors import ConfigurationError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.tickets import Ticket
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login?session=5", "6Le-site-key")
KEPT = {"website_url": "https://example.com/login", "website_key": "6Le-site-key"}


@in_virtual_time
async def test_tag_and_challenge_travel_with_ticket_receipt_and_events(world: World) -> None:
    async with world.client() as client:
        solution = await client.solve(PAGE, tag="page 7")
        (receipt,) = await client.receipts()
    ticket = solution.ticket
    assert ticket is not None
    assert (ticket.tag, dict(ticket.challenge)) == ("page 7", KEPT)
    assert receipt.tag == "page 7"
    about_the_solve = [event for event in world.events if event.ticket is not None]
    assert {event.tag for event in about_the_solve} == {"page 7"}
    assert "session" not in str([dict(event.ticket.challenge) for event in about_the_solve if event.ticket])
    assert "6Le-site-key" not in repr(ticket)


@in_virtual_time
async def test_tag_and_challenge_are_in_the_journal_for_the_next_process(world: World, tmp_path: Path) -> None:
    async with world.client(journal=SqliteJournal(tmp_path / "tasks.db", offload=inline)) as client:
        await client.submit(PAGE, tag="page 7")
    async with world.client(journal=SqliteJournal(tmp_path / "tasks.db", offload=inline)) as client:
        (ticket,) = await client.resume()
        assert (ticket.tag, dict(ticket.challenge)) == ("page 7", KEPT)
        solution = await client.wait(ticket)
        assert solution.ticket is not None
        assert (solution.ticket.tag, dict(solution.ticket.challenge)) == ("page 7", KEPT)


@in_virtual_time
async def test_a_ticket_handed_to_another_machine_keeps_them(world: World) -> None:
    async with world.client() as client:
        ticket = await client.submit(PAGE, tag="page 7")
    handed = Ticket.from_dict(ticket.to_dict())
    assert handed == ticket == pickle.loads(pickle.dumps(ticket))
    assert (handed.tag, dict(handed.challenge)) == ("page 7", KEPT)
    async with world.client() as client:
        solution = await client.wait(handed)
        assert solution.ticket is not None
        assert (solution.ticket.tag, dict(solution.ticket.challenge)) == ("page 7", KEPT)


def test_a_ticket_of_an_earlier_release_has_neither() -> None:
    fields = {
        "id": "t-1", "task_id": 7, "account": "main", "provider": "capmonster", "type": "Turnstile", "state": "pending",
        "created_at": "2026-01-02T00:00:00+00:00",
    }  # fmt: skip
    ticket = Ticket.from_dict(fields)
    assert (ticket.tag, dict(ticket.challenge)) == (None, {})


@in_virtual_time
async def test_solve_many_takes_a_function_of_the_challenge(world: World) -> None:
    pages = [RecaptchaV2(f"https://example.com/{number}", "6Le-site-key") for number in range(3)]
    async with world.client() as client:
        async with client.solve_many(pages, tag=lambda page: page.website_url[-1]) as outcomes:  # type: ignore[attr-defined]
            tags = {outcome.index: outcome.unwrap().ticket.tag async for outcome in outcomes}  # type: ignore[union-attr]
    assert tags == {0: "0", 1: "1", 2: "2"}


@pytest.mark.parametrize("tag", ["", "x" * 65, "two\nlines", 7])
@in_virtual_time
async def test_a_bad_tag_is_refused_before_anything_is_sent(world: World, tag: Any) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError, match="64 printable"):
            await client.solve(PAGE, tag=tag)
    assert world.emulator.trace == []
