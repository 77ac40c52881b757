"""The control route of the loopback door: faults, ledger, trace, clock and reset, all as JSON.

    GET  /_control/faults            the faults in force, with how often each was seen and hit
    POST /_control/faults            a list of faults: exactly these from now on ({"add": [...]} adds to them)
    GET  /_control/ledger            every vendor's ledger, balances and bans
    GET  /_control/trace             the exchanges so far, one line each
    GET  /_control/callbacks         where callbacks may go, and where they were refused
    POST /_control/callbacks         {"allow": ["http://127.0.0.1:9000"]}: may go there too
    POST /_control/advance           {"seconds": 5}: moves a manual clock
    POST /_control/reset             everything as at the start, no faults

What the parts do is in `emulator.py`; nothing here opens a socket.
"""

from __future__ import annotations

import json
from typing import Any

from anycap.emulator.clock import ManualClock
from anycap.emulator.emulator import Emulator
from anycap.emulator.exchange import Exchange
from anycap.emulator.faults import faults_from_json
from anycap.errors import ConfigurationError

_HEADERS = (("Content-Type", "application/json"),)


def answer(emulator: Emulator, verb: str, target: str, body: bytes) -> Exchange:
    """Answer a request to the control route."""
    name = target.partition("?")[0].removeprefix("/_control").strip("/")
    match verb, name:
        case "GET", "faults":
            return _ok({"faults": emulator.faults.to_json()})
        case "POST" | "PUT", "faults":
            return _set_faults(emulator, body)
        case "DELETE", "faults":
            emulator.faults.replace(())
            return _ok({"faults": []})
        case "GET", "ledger":
            return _ok(emulator.ledgers())
        case "GET", "trace":
            return _ok({"trace": [line.text() for line in emulator.trace]})
        case "GET", "callbacks":
            return _ok(_callbacks(emulator))
        case "POST", "callbacks":
            return _allow_callbacks(emulator, body)
        case "POST", "advance":
            return _advance(emulator, body)
        case "POST", "reset":
            emulator.reset()
            return _ok({"reset": True})
        case _, "faults" | "ledger" | "trace" | "callbacks" | "advance" | "reset":
            return _refused(405, f"{verb} is not for /_control/{name}")
        case _:
            return _refused(404, "the control route has faults, ledger, trace, callbacks, advance and reset")


def _set_faults(emulator: Emulator, body: bytes) -> Exchange:
    try:
        value = json.loads(body or b"null")
        adding = isinstance(value, dict) and "add" in value
        faults = faults_from_json(value["add"] if adding else value)
    except ConfigurationError as error:
        return _refused(400, str(error))
    except (ValueError, RecursionError):
        return _refused(400, "the body is not JSON")
    if adding:
        for fault in faults:
            emulator.faults.add(fault)
    else:
        emulator.faults.replace(faults)
    return _ok({"faults": emulator.faults.to_json()})


def _callbacks(emulator: Emulator) -> dict[str, Any]:
    access = emulator.access
    return {"allowed": sorted(access.callback_origins), "refused": dict(access.refused_callbacks)}


def _allow_callbacks(emulator: Emulator, body: bytes) -> Exchange:
    try:
        urls = json.loads(body)["allow"]
        for url in [urls] if isinstance(urls, str) else urls:
            emulator.access.allow_callback(url)
    except ConfigurationError as error:
        return _refused(400, str(error))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _refused(400, 'the body must be {"allow": ["http://127.0.0.1:9000", ...]}')
    return _ok(_callbacks(emulator))


def _advance(emulator: Emulator, body: bytes) -> Exchange:
    clock = emulator.clock
    if not isinstance(clock, ManualClock):
        return _refused(
            409, "this emulator runs on the machine's clock; start it with a ManualClock to move time by hand"
        )
    try:
        seconds = json.loads(body)["seconds"]
        clock.advance(float(seconds))
    except (ValueError, KeyError, TypeError, RecursionError):
        return _refused(400, 'the body must be {"seconds": a number of at least 0}')
    return _ok({"now": clock()})


def _ok(value: Any) -> Exchange:
    return Exchange(200, _HEADERS, json.dumps(value).encode())


def _refused(status: int, why: str) -> Exchange:
    return Exchange(status, _HEADERS, json.dumps({"error": why}).encode())
