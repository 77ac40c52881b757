"""The fixtures `run`, `make` and `anyio_backend`: each transport on each event loop it can run on."""

from tests.transports import anyio_backend, make, run

__all__ = ["anyio_backend", "make", "run"]
