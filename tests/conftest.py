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

__all__ = [  # pytest finds these hooks here
    "canary_hears_captured_output", "pytest_configure", "pytest_runtest_makereport", "pytest_runtest_protocol",
    "pytest_unconfigure",
]  # fmt: skip

# How long an example takes is the machine's business: with other work on it, any test may exceed 200 ms.
hypothesis.settings.register_profile(
    "anycap", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("anycap")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
