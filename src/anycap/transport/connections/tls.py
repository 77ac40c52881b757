"""The TLS context that all connections of a transport share. Verification cannot be switched off here, only replaced.

Reading the certificates takes about 13 ms and 0.7 MB, so it happens once, off the loop, and not where only plain http to
loopback is spoken.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

import anyio
import certifi

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport.port import Offload


def create_context(trust_env: bool) -> ssl.SSLContext:
    """A verifying context for TLS 1.2 and later, with certifi's authorities.

    `trust_env` lets SSL_CERT_FILE or SSL_CERT_DIR name other authorities. Raises `ConfigurationError`, naming the file or
    folder, for authorities that cannot be read.
    """
    # Not ssl.create_default_context: it writes the session keys to the file that SSLKEYLOGFILE names, whoever set that.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A distribution's Python may leave the minimum to OpenSSL's policy file, which may name none, or a higher one.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    if sys.version_info >= (3, 13):  # as the default context does from there on
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    cafile = os.environ.get("SSL_CERT_FILE") if trust_env else None
    capath = os.environ.get("SSL_CERT_DIR") if trust_env else None
    if not cafile and not capath:
        cafile = certifi.where()
    place = cafile
    try:
        if cafile:
            context.load_verify_locations(cafile=cafile)
        if capath:
            place = capath
            # OpenSSL takes a folder that is not there for an empty one.
            if not Path(capath).is_dir():
                raise NotADirectoryError
            context.load_verify_locations(capath=capath)
    except OSError as error:
        problem = type(error).__name__
    else:
        return context
    advice = "Check SSL_CERT_FILE and SSL_CERT_DIR." if trust_env else "Install certifi again."
    raise ConfigurationError(f"The certificates to verify vendors with cannot be read ({problem}): {place}. {advice}")


def unverified(host: str, error: ssl.SSLCertVerificationError) -> str:
    """The words for a certificate that does not verify, with what to do."""
    # OpenSSL's own sentence, sometimes with the host that was asked for: nothing in it is the server's.
    return (
        f"the certificate of {host} cannot be verified ({error.verify_message or 'no reason given'}); nothing was sent. Check "
        "base_url and this machine's clock. If an authority of your own signs it, give settings.http.ssl_context"
    )


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
