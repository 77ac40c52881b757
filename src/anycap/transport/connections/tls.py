"""The TLS context that all connections of a transport share. Verification cannot be switched off here, only replaced.

Reading the certificates takes about 13 ms and 0.7 MB, so it happens once, off the loop, and only when https is spoken.
"""

from __future__ import annotations

import os
import ssl

import anyio
import certifi

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport.port import Offload


def create_context(trust_env: bool) -> ssl.SSLContext:
    """A verifying context for TLS 1.2 and later, with certifi's authorities.

    `trust_env` lets SSL_CERT_FILE or SSL_CERT_DIR name other authorities.
    """
    cafile = os.environ.get("SSL_CERT_FILE") if trust_env else None
    capath = os.environ.get("SSL_CERT_DIR") if trust_env else None
    if not cafile and not capath:
        cafile = certifi.where()
    try:
        context = ssl.create_default_context(cafile=cafile or None, capath=capath or None)
    except OSError as error:
        problem = type(error).__name__
    else:
        # A distribution's Python may leave the minimum to OpenSSL's policy file, which may name none, or a higher one.
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        context.set_alpn_protocols(["http/1.1"])
        return context
    raise ConfigurationError(f"The certificates to verify vendors with cannot be read ({problem}): {cafile or capath}")


class TlsContext:
    """The user's own context, or one made when first asked for. Raises `ConfigurationError` for what is no context."""

    def __init__(self, settings: HttpSettings, offload: Offload) -> None:
        given = settings.ssl_context
        if given is not None and not isinstance(given, ssl.SSLContext):
            raise ConfigurationError(
                f"settings.http.ssl_context is a {type(given).__name__}. Certificates are always verified; to change how, "
                "give an ssl.SSLContext, for example ssl.create_default_context(cafile=...)."
            )
        self._context = given
        self._trust_env = settings.trust_env
        self._offload = offload
        self._lock = anyio.Lock()

    async def get(self) -> ssl.SSLContext:
        """The shared context."""
        if self._context is None:
            async with self._lock:
                if self._context is None:
                    self._context = await self._offload(create_context, self._trust_env)
        return self._context
