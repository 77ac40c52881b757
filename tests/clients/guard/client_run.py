"""What the scripts share: where the vendor is, what is asked for, and one line of JSON for each kind of request."""

import asyncio
import base64
import inspect
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

VENDOR = os.environ["ANYCAP_CLIENT_VENDOR"]
ADDRESS = os.environ["ANYCAP_CLIENT_ADDRESS"]
"""The vendor's own port, such as http://127.0.0.1:40001, for clients with an option for it."""

KEY = os.environ["ANYCAP_CLIENT_KEY"]
WRONG_KEY = "0" * 32
PAGE = "https://example.com/login"
SITE_KEY = "6LeIxboZAAAAAFQy7d8GPzgRZu2bV0GwKS8ue_cH"
PICTURE = base64.b64decode(os.environ["ANYCAP_CLIENT_PICTURE"])
PICTURE_TEXT = os.environ["ANYCAP_CLIENT_PICTURE"]
KINDS = os.environ.get("ANYCAP_CLIENT_KINDS", "image,v2,v3,turnstile,balance,wrong_key").split(",")
CALLERS = int(os.environ.get("ANYCAP_CLIENT_CALLERS", "1"))
"""How many calls of each kind are made at once, each in a thread of its own."""


class SaidNo(Exception):
    """The client gave an error back as a value."""


def told(answer, wanted):
    """`wanted(answer)`, or SaidNo with the whole answer when the client returned an error instead."""
    if answer.get("errorId"):
        raise SaidNo(json.dumps(answer))
    return wanted(answer)


def run(*, callers_of_its_own=(), **kinds):
    """Call what is given for each kind that is wanted; wrong_key is meant to fail.

    `v2_async` is asked for in place of v2 where a client has it, with ANYCAP_CLIENT_PREFER=async. The kinds in
    `callers_of_its_own` make their calls at once by themselves.
    """
    if os.environ.get("ANYCAP_CLIENT_PREFER") == "async":
        kinds["v2"] = kinds.get("v2_async", kinds["v2"])
    for kind in (kind for kind in KINDS if kind in kinds):
        callers = 1 if kind in callers_of_its_own else CALLERS
        with ThreadPoolExecutor(callers) as threads:
            answers = list(threads.map(_call, [kinds[kind]] * callers))
        value, error, took_s = answers[0]
        line = {"kind": kind, "value": _plain(value), "error": error, "took_s": round(took_s, 1)}
        print("RESULT " + json.dumps(line), flush=True)
    sys.stdout.flush()
    os._exit(0)  # some clients leave a thread behind that would hold the process for minutes


def _call(ask):
    value, error, began_s = None, None, time.monotonic()
    try:
        value = ask()
        if inspect.isawaitable(value):
            value = asyncio.run(_await(value))
    except BaseException as exception:  # whatever a client raises is its answer
        error = f"{type(exception).__name__}: {exception}"
    return value, error, time.monotonic() - began_s


async def _await(value):
    return await value


def _plain(value):
    return value if isinstance(value, str | int | float | type(None)) else str(value)
