"""A TLS front for a plain server on loopback, as stunnel is one: what comes in is decrypted and handed on."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def tls_proxy(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port on which a TLS front for `port` listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = [listener]

    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted = listener.accept()[0]
                sockets.append(accepted)
                threading.Thread(target=handle, args=(accepted,), daemon=True).start()

    def handle(accepted: socket.socket) -> None:
        with suppress(OSError):
            client = context.wrap_socket(accepted, server_side=True)
            server = socket.create_connection(("127.0.0.1", port))
            sockets.extend((client, server))
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            pump(server, client)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
