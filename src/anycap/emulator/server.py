"""The loopback door: HTTP/1.1 on 127.0.0.1 for clients of any make, on asyncio and on trio.

Every vendor has a path on one port (`http://127.0.0.1:PORT/anti-captcha/createTask`) and a port of its own, for clients
that drop the path of an address. Here live sockets and HTTP only: answers are made in `emulator.py` and `control.py`,
who may ask is said in `access.py`, callbacks are sent by `deliver.py`.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import assert_never

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

from anycap.emulator import control, deliver
from anycap.emulator.emulator import Emulator
from anycap.emulator.exchange import Ending, Exchange

BODY_BYTES_MAX = 8 << 20
"""Above the largest image of any vendor in base64: what is refused must be refused by the vendor's rules, not here."""
IDLE_S = 120.0
"""Longer than clients keep a connection idle (ours 20 s), so that it is the client under test that closes."""
_READ_BYTES = 65_536
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, ConnectionError, OSError)


class Urls(dict[str, str]):
    """Base URL per vendor, all on one port; `own_port` has each vendor at the root of a port of its own.

    `control` is the address of the control route.
    """

    control: str = ""
    own_port: Mapping[str, str] = MappingProxyType({})


@asynccontextmanager
async def serve(
    emulator: Emulator, *, port: int = 0, vendor_ports: Mapping[str, int] | None = None, bind: str = "127.0.0.1"
) -> AsyncIterator[Urls]:
    """Serve an emulator on 127.0.0.1 while the block runs; port 0 takes a free one.

    Gives the base URL of every vendor, such as `{"capmonster": "http://127.0.0.1:40001/capmonster"}`, and in `own_port`
    one that is a port alone, such as `http://127.0.0.1:40002`; `vendor_ports` fixes these by vendor. `bind` is another
    address to listen on; requests for it are refused until `emulator.access.allow_host` names it. Raises OSError when a
    port is taken.
    """
    fixed = vendor_ports or {}
    async with AsyncExitStack() as listeners:

        async def listen(at: int) -> tuple[MultiListener[SocketStream], str]:
            listener = await anyio.create_tcp_listener(local_host=bind, local_port=at)
            listeners.push_async_callback(_close, listener)
            bound = listener.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - anyio, not Django
            return listener, f"http://{f'[{bind}]' if ':' in bind else bind}:{bound}"

        shared, root = await listen(port)
        own = {provider: await listen(fixed.get(provider, 0)) for provider in emulator.vendors}
        urls = Urls({provider: f"{root}/{provider}" for provider in emulator.vendors})
        urls.control = f"{root}/_control"
        urls.own_port = {provider: address for provider, (_, address) in own.items()}

        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(shared.serve, _connections(emulator, None))
            for provider, (listener, _) in own.items():
                tasks.start_soon(listener.serve, _connections(emulator, provider))
            tasks.start_soon(deliver.send_callbacks, emulator)
            try:
                yield urls
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group that would wrap it
                failure = error
            finally:
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _connections(emulator: Emulator, provider: str | None) -> Callable[[SocketStream], Awaitable[None]]:
    async def connection(stream: SocketStream) -> None:
        await _Connection(emulator, stream, provider).run()

    return connection


async def _close(listener: MultiListener[SocketStream]) -> None:
    with anyio.CancelScope(shield=True):
        await listener.aclose()


class _Connection:
    """One client connection, kept alive from request to request; `provider` on a vendor's own port."""

    def __init__(self, emulator: Emulator, stream: SocketStream, provider: str | None) -> None:
        self.emulator = emulator
        self.stream = stream
        self.provider = provider
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ_BYTES)
        self.address = str(stream.extra(SocketAttribute.remote_address)[0])  # noqa: S610 - anyio, not Django
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # noqa: S610 - anyio, not Django

    async def run(self) -> None:
        try:
            while await self._one():
                self.http.start_next_cycle()
        except _GONE:
            pass
        except h11.LocalProtocolError as error:
            self.emulator.defects.append(repr(error))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(self.stream)

    async def _one(self) -> bool:
        """Serve one request; whether another may follow on this connection."""
        try:
            request = await self._request()
            if request is None:
                return False
            body = await self._body()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint or 400
            if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._answer(_refusal(status, "the request is not valid HTTP/1.1"), b"")
                await self._linger()
            return False
        if body is None:
            await self._answer(_refusal(413, f"a request body above {BODY_BYTES_MAX} bytes"), request.method)
            await self._linger()
            return False
        return await self._play(self._exchange(request, body), request.method)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self.http.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # h11 types its sentinels as one class
            # Nobody here decides on the head alone, so whoever asks first is told to go on.
            if self.http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self.stream.send(self.http.send(go_on) or b"")
            with anyio.fail_after(IDLE_S):
                try:
                    self.http.receive_data(await self.stream.receive(_READ_BYTES))
                except anyio.EndOfStream:
                    self.http.receive_data(b"")

    async def _request(self) -> h11.Request | None:
        try:
            event = await self._event()
        except TimeoutError:
            return None
        return event if isinstance(event, h11.Request) else None

    async def _body(self) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                event = await self._event()
            except TimeoutError:
                raise ConnectionError("the client stopped inside a request") from None
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > BODY_BYTES_MAX:
                    return None
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return b"".join(parts)
            else:
                raise ConnectionError("the client left inside a request")

    def _exchange(self, request: h11.Request, body: bytes) -> Exchange:
        target = request.target.decode("latin-1")
        verb = request.method.decode("latin-1")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        try:
            path = target.partition("?")[0]
            # Not on a vendor's own port: there the emulator is to look like that vendor alone.
            is_control = path.startswith("/_control") and self.provider is None
            refusal = self.emulator.access.refusal(headers, () if is_control else self.emulator.vendor_hosts)
            if refusal is not None:
                return _refusal(403, refusal)
            if is_control:
                return control.answer(self.emulator, verb, target, body)
            route = self._route(headers.get("host", ""), path)
            if route is None:
                return _refusal(404, "no vendor here; paths start with " + ", ".join(self.emulator.vendors))
            provider, method = route
            shown = "GET" if verb == "HEAD" else verb
            return self.emulator.exchange(provider, method, body, verb=shown, address=self.address)
        except Exception as error:  # noqa: BLE001 - a defect of the emulator must not take its other clients down
            self.emulator.defects.append(repr(error))
            return _refusal(500, f"a defect of the emulator: {type(error).__name__}")

    def _route(self, host: str, path: str) -> tuple[str, str] | None:
        """Vendor and method: by the port, else by path or host, else the only vendor there is."""
        rest = path.strip("/")
        if self.provider is not None:
            # Both spellings of the address work here: with the vendor's path, and at the root.
            return self.provider, rest.removeprefix(f"{self.provider}/")
        route = self.emulator.route(f"http://{host or '127.0.0.1'}{path}")
        if route is None and len(self.emulator.vendors) == 1:
            return next(iter(self.emulator.vendors)), rest
        return route

    # -- writing -------------------------------------------------------------------------------------------------------

    async def _play(self, exchange: Exchange, verb: bytes) -> bool:
        match exchange.ending:
            case Ending.RESET | Ending.REFUSE:
                self._reset_on_close()
                return False
            case Ending.DROP:
                return False
            case Ending.HANG:
                await self._wait_for_the_client_to_go()
                return False
            case Ending.WHOLE | Ending.CUT:
                pass
            case _:
                assert_never(exchange.ending)
        if exchange.delay_s > 0:
            await anyio.sleep(exchange.delay_s)
        await self._answer(exchange, verb)
        if exchange.ending is Ending.CUT:
            await self._linger()
            return False
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    async def _answer(self, exchange: Exchange, verb: bytes) -> None:
        status = exchange.status
        bare = verb == b"HEAD" or status in (204, 304)
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Server", "anycap-emulator"),
            *((name, value) for name, value in exchange.headers if name.lower() not in ("content-length", "date")),
        ]
        # RFC 9110: neither has a body, and a length would make a client wait for one.
        if status not in (204, 304):
            headers.append(("Content-Length", str(len(exchange.body))))
        try:
            reason = HTTPStatus(status).phrase
        except ValueError:
            reason = ""
        head = self.http.send(h11.Response(status_code=status, headers=headers, reason=reason)) or b""
        body = b"" if bare else exchange.body
        if exchange.ending is Ending.CUT:
            body = body[: exchange.sent_bytes]
        if exchange.drip_bytes and body:
            await self.stream.send(head)
            for at in range(0, len(body), exchange.drip_bytes):
                if at:
                    await anyio.sleep(exchange.drip_s)
                await self.stream.send(self.http.send(h11.Data(data=body[at : at + exchange.drip_bytes])) or b"")
            head, body = b"", b""
        data = (self.http.send(h11.Data(data=body)) or b"") if body else b""
        end = b"" if exchange.ending is Ending.CUT else self.http.send(h11.EndOfMessage()) or b""
        if head or data or end:
            await self.stream.send(head + data + end)

    def _reset_on_close(self) -> None:
        """Closing now sends RST instead of FIN."""
        raw = self.stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio, not Django
        # On, with no time to linger.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _linger(self) -> None:
        """Close in the way that lets the client read what was sent: half-close first, then wait a moment."""
        await self.stream.send_eof()
        with anyio.move_on_after(1.0):
            while True:
                await self.stream.receive(_READ_BYTES)

    async def _wait_for_the_client_to_go(self) -> None:
        while True:
            await self.stream.receive(_READ_BYTES)


def _refusal(status: int, why: str) -> Exchange:
    body = json.dumps({"error": why}).encode()
    return Exchange(status, (("Content-Type", "application/json"),), body)
