"""The bounded body reader that all transports share: feed chunks, get bytes or a refusal. Sans-IO, no library type.

Raw and inflated size are both capped, so neither a long body nor a small one that inflates without end takes more
memory than the cap. Reading from the network is the adapters' work; what the bytes mean is decided in `providers/`.
"""

from __future__ import annotations

import zlib

from anycap.transport.port import FailureKind, Request

HEADER_CHARS_MAX = 2048
"""Of a header's value. A `Location` may be a long URL; none of the headers that we use has need of more."""
_INFLATE_STEP_BYTES = 1 << 16
"""Inflated at a time: the bound is looked at after each, and deflate grows up to 1,032 times."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
_KNOWN_CODINGS = frozenset(
    {"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "aes128gcm", "pack200-gzip", "gzip, gzip"}
)


def header_value(value: str | None) -> str | None:
    """A header's value as far as we keep it."""
    return value and value[:HEADER_CHARS_MAX]


def no_whole_answer(host: str, request: Request) -> str:
    """The words for a request whose deadline came first."""
    return f"no whole answer from {host} within the {request.timeout_s:g} s of the request"


def too_late(host: str) -> str:
    """The words for a request that could not be written in time (`Request.send_by`)."""
    return f"no connection to {host} before the time for sending was over; nothing was sent"


class BodyRefused(Exception):
    """The body breaks a bound or cannot be read. Raised by `BoundedBody`, turned into a `Failure` by each transport."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(detail)


def whole_body(raw: bytes, bytes_max: int, *, encoding: str | None, length: str | None) -> bytes:
    """A body that came in one piece, as a `BoundedBody` fed with it would return it. Raises `BodyRefused`."""
    if encoding is None and len(raw) <= bytes_max and (length is None or length == str(len(raw))):
        return raw  # the usual answer, for which the steps below come to the same
    body = BoundedBody(bytes_max, encoding=encoding, length=length)
    body.feed(raw)
    return body.finish()


class BoundedBody:
    """Collects one answer's body: `feed` every chunk as it came off the wire, then `finish` for the bytes.

    `bytes_max` bounds the bytes fed and the bytes after inflating. `encoding` is the raw `Content-Encoding` header;
    `length` the raw `Content-Length`, so that a body announced as too long is refused before its first byte.
    """

    __slots__ = ("_bytes_max", "_inflater", "_maybe_raw_deflate", "_parts", "_size", "fed_bytes")

    def __init__(self, bytes_max: int, *, encoding: str | None = None, length: str | None = None) -> None:
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._size = 0
        self.fed_bytes = 0
        self._inflater: zlib._Decompress | None = None
        self._maybe_raw_deflate = False
        if length is not None and len(length) <= 20 and length.isdecimal() and int(length) > bytes_max:
            raise self._too_large("announces more")
        if encoding is not None:
            self._choose_inflater(encoding.strip().lower())

    def _choose_inflater(self, encoding: str) -> None:
        match encoding:
            case "" | "identity":
                pass
            case "gzip" | "x-gzip" | "deflate":
                self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
                self._maybe_raw_deflate = encoding == "deflate"
            case _:
                # A header's value comes from the vendor, who may put anything there, our key included.
                named = encoding if encoding in _KNOWN_CODINGS else "a coding that is not known here"
                raise BodyRefused(
                    FailureKind.ENCODING,
                    f"the server compressed its answer ({named}) though asked not to; only gzip and deflate are inflated",
                )

    @property
    def is_compressed(self) -> bool:
        """Whether a chunk may become many times as long, and take that much longer."""
        return self._inflater is not None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body as they came off the wire. Raises `BodyRefused` past the bound."""
        self.fed_bytes += len(chunk)
        if self.fed_bytes > self._bytes_max:
            raise self._too_large("is longer")
        if self._inflater is None:
            self._keep(chunk)
        else:
            self._inflate(self._inflater, chunk)

    def finish(self) -> bytes:
        """The whole body. Raises `BodyRefused` when a compressed one is cut short."""
        if self._inflater is not None and self.fed_bytes and not self._inflater.eof:
            raise BodyRefused(FailureKind.ENCODING, "the compressed answer is cut short")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._bytes_max:
            raise self._too_large("inflates to more")
        self._parts.append(part)

    def _inflate(self, inflater: zlib._Decompress, chunk: bytes) -> None:
        if self._maybe_raw_deflate and chunk:
            # "deflate" means zlib (RFC 9110, 8.4.1.2), but servers that send it bare exist; the first byte tells.
            self._maybe_raw_deflate = False
            if chunk[0] & 0x0F != 8:
                self._inflater = inflater = zlib.decompressobj(_RAW_DEFLATE)
        while chunk and not inflater.eof:
            try:
                part = inflater.decompress(chunk, _INFLATE_STEP_BYTES)
            except zlib.error:
                part = None
            if part is None:
                raise BodyRefused(FailureKind.ENCODING, "the compressed answer cannot be inflated")
            if part:
                self._keep(part)
            chunk = inflater.unconsumed_tail

    def _too_large(self, how: str) -> BodyRefused:
        self._parts.clear()
        return BodyRefused(
            FailureKind.TOO_LARGE,
            f"the answer's body {how} than the {self._bytes_max} bytes allowed (settings.http.body_bytes_max)",
        )
