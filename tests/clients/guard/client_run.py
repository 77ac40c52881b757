"""What the scripts share: where the vendor is, what is asked for, and one line of JSON for each kind of request."""

import asyncio
import base64
import inspect
import json
import os
import sys

VENDOR = os.environ["ANYCAP_CLIENT_VENDOR"]
ADDRESS = os.environ["ANYCAP_CLIENT_ADDRESS"]
"""The vendor's own port, such as http://127.0.0.1:40001, for clients with an option for it."""

KEY = os.environ["ANYCAP_CLIENT_KEY"]
WRONG_KEY = "0" * 32
PAGE = "https://example.com/login"
SITE_KEY = "6LeIxboZAAAAAFQy7d8GPzgRZu2bV0GwKS8ue_cH"
PICTURE = base64.b64decode(os.environ["ANYCAP_CLIENT_PICTURE"])
PICTURE_TEXT = os.environ["ANYCAP_CLIENT_PICTURE"]


class SaidNo(Exception):
    """The client gave an error back as a value."""


def told(answer, wanted):
    """`wanted(answer)`, or SaidNo with the whole answer when the client returned an error instead."""
    if answer.get("errorId"):
        raise SaidNo(json.dumps(answer))
    return wanted(answer)


def run(**kinds):
    """Call what is given for each kind; the last one, wrong_key, is meant to fail."""
    for kind, ask in kinds.items():
        value, error = None, None
        try:
            value = ask()
            if inspect.isawaitable(value):
                value = asyncio.run(_await(value))
        except BaseException as exception:  # whatever a client raises is its answer
            error = f"{type(exception).__name__}: {exception}"
        print("RESULT " + json.dumps({"kind": kind, "value": _plain(value), "error": error}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # some clients leave a thread behind that would hold the process for minutes


async def _await(value):
    return await value


def _plain(value):
    return value if isinstance(value, str | int | float | type(None)) else str(value)
