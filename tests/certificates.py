"""Certificates made during the test run by an authority of its own."""

from __future__ import annotations

import ssl

import pytest
import trustme


class Certificates:
    """An authority that nobody trusts by default, and contexts for both ends."""

    def __init__(self) -> None:
        self.authority = trustme.CA()

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A server's context with a certificate for `names` (127.0.0.1 and localhost when none are given)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A verifying context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """One authority for the whole run."""
    return Certificates()
