"""A status page for a running service: what is in flight, what is stopped and why, how long it takes, what it costs.

    status = Status()
    client = Client("anti-captcha", on_event=status)
    app.mount("/status", StatusApp(status, allow=is_admin))                       # FastAPI, Starlette, any ASGI server
    app.add_routes(status_routes(status, "/status", allow=is_admin))              # aiohttp: anycap.contrib.aiohttp

Without a mount there is no page. It is read only, loads nothing from elsewhere, and shows no key, token or address. Who may
see it is decided by `allow`, a function of yours. Needs no extra.

The numbers are kept in `model.py` and given out as the values of `snapshot.py`, the HTML is made in `page.py` and
`charts.py`, and `site.py` turns both into answers and a stream for any framework; `asgi.py` and `anycap.contrib.aiohttp`
mount them.
"""

from anycap.contrib.status.asgi import StatusApp
from anycap.contrib.status.model import Status
from anycap.contrib.status.snapshot import (
    AccountStatus,
    Circuit,
    Day,
    InFlight,
    Minute,
    StatusSnapshot,
    WaitingTicket,
)

__all__ = [
    "AccountStatus", "Circuit", "Day", "InFlight", "Minute", "Status", "StatusApp", "StatusSnapshot", "WaitingTicket",
]  # fmt: skip
