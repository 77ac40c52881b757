"""Pages while a paid task is polled: a firewall's, a portal's, a redirect. They blame nobody, and lose nothing."""

from __future__ import annotations

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.errors import AnycapError, DeadlineError, ServiceError, TransportError
from anycap.taxonomy import Code
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PORTAL = "<html><head><TITLE>\n Attention   Required! | Cloudflare </TITLE></head><body>no</body></html>"


async def _stalled(world: World, http: object = None) -> tuple[AnycapError, float]:
    """The error of a solve whose polls are answered by nothing of the vendor's, and when it came. Then they are again."""
    async with world.client(**({} if http is None else {"http": http})) as client:
        began = anyio.current_time()
        with pytest.raises(AnycapError) as caught:
            await client.solve(PAGE, timeout=600)
        took_s = anyio.current_time() - began
        assert client.health()["anti-captcha"].readiness != "stopped"
        ticket = caught.value.ticket
        assert ticket is not None
        await anyio.sleep(60)
        if http is None:
            assert (await client.wait(ticket, timeout=120)).ticket is not None
    assert world.requests("createTask") == 1
    return caught.value, took_s


@in_virtual_time
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410])
async def test_pages_while_polling_stall_after_a_minute_and_blame_nobody(world: World, status: int) -> None:
    world.emulator["anti-captcha"].solve_time = 200.0
    world.fault("http", method="getTaskResult", status=status, body=PORTAL, until_s=160.0)
    error, took_s = await _stalled(world)
    assert isinstance(error, ServiceError)
    assert error.code is Code.UNREADABLE_ANSWER
    assert error.http_status == status
    assert f"HTTP {status}" in str(error)
    assert "Attention Required! | Cloudflare" in str(error)
    assert "your account" not in str(error)
    assert "client.wait(error.ticket)" in str(error)
    assert 60 <= took_s <= 150


@in_virtual_time
async def test_redirected_polls_are_no_wrong_base_url(world: World) -> None:
    """createTask has reached the vendor, so its address is right."""
    world.emulator["anti-captcha"].solve_time = 200.0
    world.fault("redirect", method="getTaskResult", location="https://portal.example.net/login", until_s=160.0)
    error, took_s = await _stalled(world)
    assert isinstance(error, TransportError)
    assert (error.kind, error.delivery) == ("redirect", "answered")
    assert "HTTP 302" in str(error)
    assert "portal.example.net" in str(error)
    assert "base_url" not in str(error)
    assert 60 <= took_s <= 150


class Portal:
    """A network on which every poll meets a server with another's certificate."""

    def __init__(self, world: World) -> None:
        self._door = world.door

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        if request.url.endswith("getTaskResult"):
            return Failure(Delivery.NOT_SENT, FailureKind.CERTIFICATE, "the certificate of x cannot be verified")
        return await self._door.send(request)


@in_virtual_time
async def test_wrong_certificates_while_polling_stall_like_pages(world: World) -> None:
    error, took_s = await _stalled(world, Portal(world))
    assert isinstance(error, TransportError)
    assert error.kind == "certificate"
    assert 60 <= took_s <= 150


@in_virtual_time
async def test_a_deadline_names_the_page_that_it_was_waiting_on(world: World) -> None:
    world.fault("http", method="getTaskResult", status=403, body=PORTAL)
    async with world.client() as client:
        with pytest.raises(DeadlineError, match="HTTP 403.*Attention Required!") as caught:
            await client.solve(PAGE, timeout=40)
    assert isinstance(caught.value.last_error, ServiceError)
