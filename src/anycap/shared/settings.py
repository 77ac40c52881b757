"""`Shared`: which Valkey or Redis server a fleet of clients shares, and how careful it is with what it writes there.

Nothing is opened here and coredis is not imported. How the server is reached is in `connections.py`.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import field, frozen

from anycap.credentials import ArgumentsHidden, Secret, attempt
from anycap.errors import ConfigurationError

Durability = Literal["fsync", "replica", "memory"]
DURABILITIES: tuple[Durability, ...] = ("fsync", "replica", "memory")
LEASE_MIN_S = 1.0
"""Shorter leases would be lost to one slow answer of the server."""

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PORT = 6379
URL_NAME, PASSWORD_NAME = "ANYCAP_SHARED_URL", "ANYCAP_SHARED_PASSWORD"
_FORMS = "redis://host:6379/0 (loopback), rediss://host:6379/0 (TLS) or unix:///path/to/socket"


@frozen(kw_only=True)
class Shared(metaclass=ArgumentsHidden):
    """The Valkey or Redis server (7.2 or later) that all clients of a fleet share; needs `anycap[redis]`.

    url: `rediss://user@host:6379/0` (TLS, always verified), `redis://` on loopback, or `unix:///path`. `valkey://` and
        `valkeys://` mean the same as `redis://` and `rediss://`. A password in it becomes a `Secret`, and is never shown.
    namespace: fleets of one name share; it is part of every name in the server, and one hash slot of a cluster.
    lease_s: seconds after which a member that was not heard of is taken for dead, and its tickets are taken over.
    durability: "fsync" waits until what money hangs on is on the server's disk (for servers with `appendfsync always`),
        "replica" also until one replica has it, "memory" for nothing.
    allow_plain: whether `redis://` may go to other machines. Everybody on the way can then read tokens.
    password: the password, where it is not in the URL.
    cafile: the file of an authority of your own that signs the server's certificate; by default certifi's are trusted.

    Raises ConfigurationError for anything else.

    >>> Shared("redis://:hunter2@localhost:6379/1", namespace="crawlers")
    Shared('redis://localhost:6379/1', namespace='crawlers')
    """

    url: str = field(kw_only=False)
    """Without the password."""
    namespace: str = "anycap"
    lease_s: float = 30.0
    durability: Durability = "fsync"
    allow_plain: bool = False
    password: Secret | None = field(default=None, repr=False)
    cafile: str | None = None
    username: str | None = field(init=False, default=None, repr=False)
    host: str = field(init=False, default="", repr=False)
    port: int = field(init=False, default=_PORT, repr=False)
    path: str = field(init=False, default="", repr=False)
    """Of the socket, for `unix://`."""
    db: int = field(init=False, default=0, repr=False)
    tls: bool = field(init=False, default=False, repr=False)

    def __attrs_post_init__(self) -> None:
        read, error = attempt(_read, self.url)
        # From here on no frame holds the URL as it was given.
        object.__setattr__(self, "url", "" if read is None else read.pop("shown"))
        if read is None:
            raise error if error is not None else ConfigurationError("Shared(url): no URL")
        password = read.pop("password")
        if password is not None and self.password is None:
            object.__setattr__(self, "password", password)
        for name, value in read.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        if self.password is not None and not isinstance(self.password, Secret):
            object.__setattr__(self, "password", Secret(self.password))
        if not _NAMESPACE.fullmatch(str(self.namespace)):
            raise ConfigurationError(
                "Shared(namespace=...) is up to 64 letters, digits, dots, dashes and underscores. Nothing was sent."
            )
        if type(self.lease_s) not in (int, float) or not LEASE_MIN_S <= self.lease_s < math.inf:
            raise ConfigurationError(f"Shared(lease_s=...) is a number of seconds, at least {LEASE_MIN_S:g}")
        if self.durability not in DURABILITIES:
            raise ConfigurationError(f"Shared(durability=...) is one of {', '.join(map(repr, DURABILITIES))}")
        if not self.path and not self.tls and not self.allow_plain and not _is_loopback(self.host):
            raise ConfigurationError(
                f"Shared({self.url!r}): plain redis:// to another machine shows everybody on the way what is written, "
                "solutions included. Use rediss://, or say allow_plain=True for a network that you trust. Nothing was sent."
            )
        if self.cafile is not None and not self.tls:
            raise ConfigurationError("Shared(cafile=...) is for rediss://. Nothing was sent.")

    def __repr__(self) -> str:
        return f"Shared({self.url!r}, namespace={self.namespace!r})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Shared:
        """The server that `ANYCAP_SHARED_URL` names, with `ANYCAP_SHARED_PASSWORD` or the file `..._PASSWORD_FILE`.

        given: further arguments, as for the class.

        Raises ConfigurationError when there is no URL, or when the file cannot be read.

        >>> Shared.from_env({"ANYCAP_SHARED_URL": "redis://127.0.0.1"}, lease_s=10)
        Shared('redis://127.0.0.1:6379/0', namespace='anycap')
        """
        source = os.environ if environ is None else environ
        url = source.get(URL_NAME, "").strip()
        if not url:
            raise ConfigurationError(f"{URL_NAME} is not set; it names the server to share, such as {_FORMS}")
        if "password" not in given:
            password = _password_from(source)
            if password is not None:
                given["password"] = password
        return cls(url, **given)


def _password_from(environ: Mapping[str, str]) -> Secret | None:
    if environ.get(PASSWORD_NAME):
        return Secret(environ[PASSWORD_NAME])
    path = environ.get(f"{PASSWORD_NAME}_FILE", "").strip()
    if not path:
        return None
    try:
        return Secret(Path(path).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__
    raise ConfigurationError(f"{PASSWORD_NAME}_FILE names a file that cannot be read ({reason})")


def _read(url: object) -> dict[str, Any]:
    """What a URL says. Raises ConfigurationError, which repeats nothing of the URL: a password may stand anywhere in it."""
    wrong = ConfigurationError(f"Shared(url) is {_FORMS}; this is none of them. Nothing was sent.")
    if not isinstance(url, str):
        raise wrong
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _PORT
        query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        raise wrong from None
    scheme = parts.scheme.replace("valkey", "redis", 1)
    path = ""
    match scheme:
        case "redis" | "rediss":
            if not parts.hostname or query or parts.fragment:
                raise wrong
            db = parts.path.strip("/") or "0"
        case "unix" | "redis+unix":
            if parts.hostname or not parts.path or parts.fragment or not query.keys() <= {"db"}:
                raise wrong
            path, db = unquote(parts.path), query.get("db", "0")
        case _:
            raise wrong
    if not (db.isascii() and db.isdigit()):
        raise wrong
    return {
        "shown": _shown(scheme, parts, port, db),
        "password": Secret(unquote(parts.password)) if parts.password else None,
        "username": unquote(parts.username) if parts.username else None,
        "host": parts.hostname or "",
        "port": port,
        "path": path,
        "db": int(db),
        "tls": scheme == "rediss",
    }


def _shown(scheme: str, parts: SplitResult, port: int, db: str) -> str:
    user = f"{parts.username}@" if parts.username else ""
    if not parts.hostname:
        return f"unix://{user}{parts.path}" + (f"?db={db}" if db != "0" else "")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{user}{host}:{port}/{db}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
