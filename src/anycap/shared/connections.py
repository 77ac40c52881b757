"""The connections to the shared server, and the only place that knows coredis.

One background task owns both connections and makes new ones when they are lost; callers queue a request and wait for its
answer. So no caller's cancellation ever reaches a connection: the answer is read and dropped. Requests of many callers
travel together. One connection is for what waits until a disk has it, the other for everything quick: a renewal of the
lease must not stand behind a slow disk.

What a reply means is not decided here (`journal.py`, `membership.py`); what the server must offer is in `checks.py`.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import certifi
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from anycap.credentials import reveal
from anycap.errors import ConfigurationError, StoreError
from anycap.shared.background import Background
from anycap.shared.settings import Shared

if TYPE_CHECKING:
    from coredis.connection import BaseConnection

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
"""A server that is well answers in milliseconds, and a disk in a second; after five it is taken for silent."""
RECONNECT_FIRST_S, RECONNECT_LONGEST_S = 0.05, 2.0
"""Between two attempts to connect, doubling: a restart takes less than a second, and a fleet must not storm a server."""
REDIRECTIONS_MAX = 5
"""One for a script that a node has lost, one for a node that is not the right one, and again while a slot moves."""

Arg = str | bytes | int | float


def text_of(value: Any) -> str:
    """A text of the server's, which come as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=64)
def script(name: str) -> tuple[str, str]:
    """The text of a script in `lua/`, behind what the scripts share, and its SHA-1, by which the server knows it."""
    folder = Path(__file__).with_name("lua")
    text = "".join(
        folder.joinpath(part).read_text(encoding="utf-8")
        for part in ("common.lua", "slots.lua", "money.lua", f"{name}.lua")
    )
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Unanswered(StoreError):
    """No answer came. `unclear`: whether the server may have done what was asked."""

    def __init__(self, message: str = "", *, unclear: bool = True) -> None:
        self.unclear = unclear
        super().__init__(message)


class Refused(StoreError):
    """The server answered with an error. `word` is the error's first word, such as OOM or NOPERM."""

    def __init__(self, message: str = "", *, word: str = "") -> None:
        self.word = word
        super().__init__(message)


class Link:
    """One connection, made anew whenever it is lost."""

    def __init__(self, shared: Shared, *, push: bool) -> None:
        self._shared = shared
        self.on_up: Callable[[], None] = lambda: None
        """Called when the connection is there (again)."""
        self.on_down: Callable[[], None] = lambda: None
        """Called when it is lost."""
        self._push = push
        self._connection: BaseConnection | None = None
        self._up = anyio.Event()
        # Where the namespace is: the host of the URL, or the node of a cluster that this has named.
        self._address: tuple[str, int] = (shared.host, shared.port)
        self._tls: ssl.SSLContext | None = None
        self.on_message: Callable[[str, str], None] = lambda channel, text: None
        """Called with each message: its channel and its text."""
        self.channels: set[str] = set()
        """Subscribed to, now and after a reconnection."""
        self.trouble = ""
        """Why there is no connection."""
        self.answer_timeout_s = ANSWER_TIMEOUT_S
        """For a connection on which answers wait for a disk or a replica it is longer."""
        self.rejected = False
        """Whether the server does not accept the user or the password."""
        self.untrusted = False
        """Whether its certificate is not what we trust, or names another host."""

    @property
    def is_up(self) -> bool:
        """Whether requests reach the server as far as is known."""
        return self._connection is not None and self._connection.usable

    async def run(self) -> None:
        """Connect, and connect again; until cancelled."""
        wait_s = RECONNECT_FIRST_S
        while True:
            connection: BaseConnection | None = None
            try:
                connection = self._new_connection()
                async with anyio.create_task_group() as tasks:
                    await tasks.start(connection.run)
                    # Up: whoever waited may go. The group ends with the connection.
                    wait_s = RECONNECT_FIRST_S
                    self._connection, self.trouble, self.rejected, self.untrusted = connection, "", False, False
                    for channel in self.channels:
                        connection.send_command(b"SUBSCRIBE", channel)
                    if self._push:
                        tasks.start_soon(self._read_messages, connection)
                    self._up.set()
                    self.on_up()
                self.trouble = "the connection was lost"
            except Exception as error:  # noqa: BLE001 - whatever keeps the server away is tried again, and said to callers
                self.trouble = _words(error, tls=self._shared.tls)
                self.rejected = _is_rejection(error)
                self.untrusted = _certificate_error(error) is not None
                if not self._up.is_set():
                    # Nobody is there. Whoever is named in the URL knows where the namespace has gone.
                    self._address = (self._shared.host, self._shared.port)
            finally:
                if self._connection is not None:
                    self._connection = None
                    self.on_down()
                up, self._up = self._up, anyio.Event()
                up.set()  # whoever waits sees that it was rejected, or waits for the next
                if connection is not None:
                    _discard(connection)
            await anyio.sleep(wait_s)
            wait_s = min(2 * wait_s, RECONNECT_LONGEST_S)

    def _new_connection(self) -> BaseConnection:
        from coredis.connection import TCPConnection, TCPLocation, UnixDomainSocketConnection, UnixDomainSocketLocation
        from coredis.credentials import UserPassCredentialProvider

        shared = self._shared
        credentials = None
        if shared.password is not None or shared.username is not None:
            credentials = UserPassCredentialProvider(
                shared.username or "default", None if shared.password is None else reveal(shared.password)
            )
        if shared.path:
            return UnixDomainSocketConnection(
                UnixDomainSocketLocation(shared.path),
                db=shared.db,
                credential_provider=credentials,
                connect_timeout=CONNECT_TIMEOUT_S,
            )
        if shared.tls and self._tls is None:
            self._tls = tls_context(shared.cafile)
        return TCPConnection(
            TCPLocation(*self._address),
            db=shared.db,
            credential_provider=credentials,
            connect_timeout=CONNECT_TIMEOUT_S,
            ssl_context=self._tls,
            socket_keepalive=True,
        )

    async def _read_messages(self, connection: BaseConnection) -> None:
        from coredis.exceptions import ConnectionError as Lost

        messages = connection.push_messages
        try:
            async for message in messages:
                if len(message) == 3 and message[0] in (b"message", b"subscribe"):
                    text = text_of(message[2]) if message[0] == b"message" else ""
                    self.on_message(text_of(message[1]), text)
        except Lost:
            return
        finally:
            await messages.aclose()

    def subscribe(self, channel: str) -> None:
        """Get the messages of a channel from now on; `on_message` is called with an empty text when that has begun."""
        if channel not in self.channels:
            self.channels.add(channel)
            if self._connection is not None and self._connection.usable:
                self._connection.send_command(b"SUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """Get them no more."""
        if channel in self.channels:
            self.channels.discard(channel)
            if self._connection is not None and self._connection.usable:
                self._connection.send_command(b"UNSUBSCRIBE", channel)

    async def may_subscribe(self, channel: str) -> bool:
        """Whether the server lets us. Asked on a connection of its own: the answer to a refusal would be taken for another's.

        Raises `Unanswered` when the server goes away meanwhile.
        """
        connection = self._new_connection()
        try:
            return await self._try_to_subscribe(connection, channel)
        except Exception as error:  # noqa: BLE001 - whatever ends the connection
            reason = _words(error, tls=self._shared.tls)
        finally:
            _discard(connection)
        raise Unanswered(f"{self._place} does not answer ({reason}).", unclear=False)

    async def _try_to_subscribe(self, connection: BaseConnection, channel: str) -> bool:
        from coredis.exceptions import RedisError

        allowed = False
        with anyio.move_on_after(ANSWER_TIMEOUT_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(connection.run)
                asked = connection.create_request(b"SUBSCRIBE", channel, raise_exceptions=False)

                async def read() -> None:
                    nonlocal allowed
                    messages = connection.push_messages
                    try:
                        async for _ in messages:
                            allowed = True
                            break
                    except RedisError:
                        return
                    finally:
                        await messages.aclose()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(read)
                await asked
                tasks.cancel_scope.cancel()
        return allowed

    async def wait_until_up(self, timeout_s: float) -> bool:
        """Whether there is a connection within so many seconds."""
        with anyio.move_on_after(timeout_s):
            while not self.is_up:
                if self.rejected or self.untrusted:
                    return False
                await self._up.wait()
            return True
        return False

    async def ask(self, *commands: Sequence[Arg], timeout_s: float | None = None) -> list[Any]:
        """The answers to `commands`, which travel together. Raises `Refused` or `Unanswered`.

        An error of one is raised after all are answered. Cancelling ends the waiting, never the connection.
        """
        connection = self._connection
        if connection is None or not connection.usable:
            raise Unanswered(f"{self._place} does not answer ({self.trouble or 'not connected'}).", unclear=False)
        timeout_s = self.answer_timeout_s if timeout_s is None else timeout_s
        requests = [_create(connection, command) for command in commands]
        answers: list[Any] = []
        try:
            with anyio.fail_after(timeout_s):
                for request in requests:
                    answers.append(await request)  # noqa: PERF401 - what is answered in time is kept
        except TimeoutError:
            # A connection that hangs is of no use to anybody else either.
            connection.invalidate("no answer")
            raise Unanswered(f"{self._place} did not answer within {timeout_s:g} s.") from None
        trouble = next((self._error(it, connection) for it in answers if isinstance(it, Exception)), None)
        if trouble is not None:
            raise trouble
        return answers

    async def run_script(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[Arg],
        *after: Sequence[Arg],
        timeout_s: float | None = None,
    ) -> list[Any]:
        """The answer of a script, and of the commands that travel behind it. It is loaded when the server has lost it.

        A node of a cluster that does not have the namespace names the one that has it, which is asked instead.
        """
        text, sha = script(name)
        load = False
        for _ in range(REDIRECTIONS_MAX):
            script_words = ("EVAL", text) if load else ("EVALSHA", sha)
            try:
                return await self.ask((*script_words, len(keys), *keys, *args), *after, timeout_s=timeout_s)
            except _NoScript:
                load = True
            except _Moved:
                await self.wait_until_up(self.answer_timeout_s if timeout_s is None else timeout_s)
        raise Unanswered(f"{self._place} names one node after the other.", unclear=False)

    @property
    def _place(self) -> str:
        return f"The shared server {self._shared.url}"

    def _error(self, error: Exception, connection: BaseConnection) -> StoreError:
        from coredis import exceptions as theirs

        match error:
            case theirs.NoScriptError():
                return _NoScript("")
            case theirs.MovedError():
                self._address = (error.host or self._address[0], error.port)
                connection.invalidate("moved")
                return _Moved(f"{self._place} has moved this namespace to another node.", unclear=False)
            case theirs.ReadOnlyError():
                # A primary that was demoted: the name leads to its successor soon.
                connection.invalidate("read only")
                return Unanswered(f"{self._place} is a replica now.", unclear=False)
            case theirs.BusyLoadingError() | theirs.ClusterDownError() | theirs.TryAgainError():
                return Unanswered(f"{self._place} is not ready yet ({type(error).__name__}).", unclear=False)
            case theirs.ConnectionError():
                return Unanswered(f"{self._place} has dropped the connection.")
            case theirs.AuthorizationError():
                return Refused(f"{self._place} does not allow a command: {error}", word="NOPERM")
            case _:
                words = str(error)
                return Refused(f"{self._place} refused: {words[:300]}", word=words.partition(" ")[0])


class _Moved(Unanswered):
    """The namespace is on another node of the cluster. Nothing was carried out."""


class _NoScript(StoreError):
    """The server does not know the script: it was restarted, or its scripts were flushed."""


def _create(connection: BaseConnection, command: Sequence[Arg]) -> Any:
    name, *args = command
    return connection.create_request(str(name).encode(), *args, raise_exceptions=False)


def _is_rejection(error: BaseException) -> bool:
    from coredis.exceptions import AuthenticationError, AuthorizationError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return isinstance(error, AuthenticationError | AuthorizationError)


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__
    return error


def _discard(connection: BaseConnection) -> None:
    """Close the queues of a connection that never came about: coredis leaves that to the garbage collector, which complains."""
    for part in vars(connection).values():
        if isinstance(part, MemoryObjectSendStream | MemoryObjectReceiveStream):
            part.close()


def _words(error: BaseException, *, tls: bool) -> str:
    """What kept us from connecting, in words; of a group the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    certificate = _certificate_error(error)
    if certificate is not None:
        return f"its certificate cannot be verified: {certificate.verify_message}"
    if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s" + (" (does this port speak TLS?)" if tls else "")
    cause = error.__cause__
    if cause is not None and not isinstance(cause, BaseExceptionGroup):
        return f"{type(cause).__name__}: {cause}"[:200]
    return f"{type(error).__name__}: {error}"[:200]


def tls_context(cafile: str | None) -> ssl.SSLContext:
    """A verifying context for TLS 1.2 and later. Raises ConfigurationError for a file that cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    try:
        context.load_verify_locations(cafile=cafile or certifi.where())
    except OSError as error:
        reason = type(error).__name__
    else:
        return context
    raise ConfigurationError(f"Shared(cafile={cafile!r}): no certificates can be read from it ({reason})")


def check_installed() -> None:
    """Raise ConfigurationError where coredis is missing."""
    try:
        import coredis  # noqa: F401 - asked whether it is there
    except ImportError:
        missing = True
    else:
        missing = False
    if missing:
        raise ConfigurationError("shared= needs coredis: pip install 'anycap[redis]'. Nothing was sent.")


class Connections:
    """Both connections, and the task that owns them."""

    def __init__(self, shared: Shared) -> None:
        check_installed()
        self.background = Background("anycap shared store")
        self.durable = Link(shared, push=False)
        self.quick = Link(shared, push=True)
        self._shared = shared

    @property
    def is_up(self) -> bool:
        """Whether both reach the server."""
        return self.durable.is_up and self.quick.is_up

    async def open(self, timeout_s: float) -> None:
        """Connect. Raises ConfigurationError where the server refuses us, StoreError where it does not answer."""
        if self._shared.tls:
            tls_context(self._shared.cafile)
        await self.background.start()
        self.background.spawn(self.durable.run)
        self.background.spawn(self.quick.run)
        with anyio.move_on_after(timeout_s):
            if await self.durable.wait_until_up(timeout_s):
                await self.quick.wait_until_up(timeout_s)
        if not self.is_up:
            trouble = self.durable.trouble or self.quick.trouble or f"no answer within {timeout_s:g} s"
            await self.close()
            if self.durable.rejected:
                raise ConfigurationError(
                    f"The shared server {self._shared.url} does not accept the user or the password ({trouble}). Check them "
                    "in Shared(url) or ANYCAP_SHARED_PASSWORD. Nothing was sent."
                )
            if self.durable.untrusted:
                raise ConfigurationError(
                    f"The shared server {self._shared.url} is not trusted: {trouble}. Name the authority that signed the "
                    "certificate in Shared(cafile=...), and in the URL a host that it was made for. Nothing was sent."
                )
            raise StoreError(f"The shared server {self._shared.url} cannot be reached: {trouble}. Nothing was sent.")

    async def close(self) -> None:
        """End both."""
        await self.background.stop()
