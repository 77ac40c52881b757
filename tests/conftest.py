"""Shared fixtures: every async test runs on asyncio and on trio."""

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


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
