"""The fixtures `run`, `make` and `anyio_backend` (each transport on each event loop it can run on) and `certificates`."""

from tests.certificates import certificates
from tests.transports import anyio_backend, make, run

__all__ = ["anyio_backend", "certificates", "make", "run"]
