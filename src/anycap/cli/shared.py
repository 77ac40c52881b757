"""The options that name a shared server, for the commands that look at one. Its password never comes as an argument."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anycap.errors import ConfigurationError

if TYPE_CHECKING:
    from anycap.shared.settings import Shared

URL_VARIABLE = "ANYCAP_SHARED_URL"


DEFAULTS = {"namespace": "anycap", "allow_plain": False}


def add_shared_options(
    parser: argparse.ArgumentParser, *, what: str, default: Callable[[str], Any] = DEFAULTS.get
) -> None:
    """`--shared URL` (or, without a URL, the one of the environment), and how to reach it.

    default: the default of each option by its name, for commands whose actions take the same options again.
    """
    parser.add_argument(
        "--shared",
        metavar="URL",
        nargs="?",
        const="",
        default=default("shared"),
        help=f"{what}: rediss://user@host:6379/0 (default: {URL_VARIABLE}; the password is read from "
        "ANYCAP_SHARED_PASSWORD or ..._PASSWORD_FILE)",
    )
    parser.add_argument(
        "--namespace", metavar="NAME", default=default("namespace"), help="the fleet's name there (default: anycap)"
    )
    parser.add_argument(
        "--cafile",
        metavar="FILE",
        default=default("cafile"),
        help="an authority of your own that signs the server's certificate",
    )
    parser.add_argument(
        "--allow-plain",
        action="store_true",
        default=default("allow_plain"),
        help="redis:// to another machine: everybody on the way can read",
    )


def read_shared(options: argparse.Namespace, **more: Any) -> Shared:
    """The server of the options. Raises ConfigurationError."""
    from anycap.shared.settings import Shared

    url = options.shared or os.environ.get(URL_VARIABLE, "")
    more |= {"namespace": options.namespace, "cafile": options.cafile, "allow_plain": options.allow_plain}
    if options.shared and Shared(options.shared, **more).password is not None:
        raise ConfigurationError(
            "--shared: no password in an argument, where every process of this machine can read it; put it into "
            "ANYCAP_SHARED_PASSWORD, or name its file in ANYCAP_SHARED_PASSWORD_FILE. Nothing was sent."
        )
    return Shared.from_env({**os.environ, URL_VARIABLE: url}, **more)
