"""Shared fixtures: every async test runs on asyncio and on trio."""

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


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
