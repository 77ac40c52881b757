"""Shared fixtures: every async test runs on asyncio and on trio."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.canary import (
    canary_hears_captured_output,
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_unconfigure,
)
from tests.valkey_server import make_valkey, own_valkey, valkey

__all__ = [
    "canary_hears_captured_output",
    "make_valkey",
    "own_valkey",
    "pytest_configure",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_unconfigure",
    "valkey",
]  # fmt: skip

# How long an example takes is the machine's business: with other work on it, any test may exceed 200 ms.
hypothesis.settings.register_profile(
    "anycap", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("anycap")


@pytest.fixture(scope="session", autouse=True)
def no_address_file_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients of real addresses share an address file in the cache folder: tests have one of their own."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
