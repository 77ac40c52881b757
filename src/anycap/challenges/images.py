"""Images and recordings as challenges carry them (bytes, base64, path or open file) and a small header parser.

Here live reading, base64 and format detection by magic bytes; no imaging library, nothing about a vendor. Which sizes
and formats a vendor takes is catalog data, checked in `providers/preflight.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
from typing import BinaryIO, ClassVar, NamedTuple, Self

from anycap.errors import InvalidChallenge

IMAGE_BYTES_MAX = 8 << 20
"""More than any vendor takes (about 1 MB): what is larger is refused before it fills the memory."""


class ImageInfo(NamedTuple):
    """What an image's own header says: `format` (`jpg gif png webp bmp`), size in pixels (0: not told), animation."""

    format: str
    width: int = 0
    height: int = 0
    animated: bool = False


def inspect_image(data: bytes) -> ImageInfo | None:
    """Format and pixel size by magic bytes and header; None when the bytes are no image known here.

    Never raises: a header that breaks off gives what could be read (sizes 0).

    >>> inspect_image(b"GIF89a" + bytes([100, 0, 50, 0]) + bytes(3))
    ImageInfo(format='gif', width=100, height=50, animated=False)
    >>> inspect_image(b"<html>") is None
    True
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        if len(data) >= 24 and data[12:16] == b"IHDR":
            width, height = struct.unpack(">II", data[16:24])
            return ImageInfo("png", width, height, b"acTL" in data[24:1024])
        return ImageInfo("png")
    if data.startswith((b"GIF87a", b"GIF89a")):
        if len(data) < 10:
            return ImageInfo("gif")
        width, height = struct.unpack("<HH", data[6:10])
        return ImageInfo("gif", width, height, _gif_frames(data, at_most=2) > 1)
    if data.startswith(b"\xff\xd8\xff"):
        return ImageInfo("jpg", *_jpeg_size(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageInfo("webp")
    if data.startswith(b"BM") and len(data) >= 26 and data[6:10] == b"\0\0\0\0":
        width, height = struct.unpack("<ii", data[18:26])
        return ImageInfo("bmp", abs(width), abs(height))
    return None


def inspect_recording(data: bytes) -> str | None:
    """The format of a recording by its magic bytes (`mp3 wav ogg flac m4a`); None when it is none of them.

    >>> inspect_recording(b"ID3" + bytes(7)), inspect_recording(b"<html>")
    ('mp3', None)
    """
    if data.startswith(b"ID3") or (
        len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    ):  # a frame of layer III
        return "mp3"
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "m4a"
    return {b"OggS": "ogg", b"fLaC": "flac"}.get(data[:4])


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return 0, 0
        marker = data[at + 1]
        if marker == 0xFF:  # padding before a marker
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2:
            return 0, 0
        at += 2 + length
    return 0, 0


def _gif_frames(data: bytes, at_most: int) -> int:
    """Image blocks in a GIF, counted up to `at_most`; a broken stream ends the count."""
    if len(data) < 13:
        return 0
    at = 13 + _colour_table(data[10])
    frames = 0
    while at < len(data) and frames < at_most:
        block = data[at]
        if block == 0x2C and at + 9 < len(data):
            frames += 1
            at = _skip_sub_blocks(data, at + 10 + _colour_table(data[at + 9]) + 1)
        elif block == 0x21:
            at = _skip_sub_blocks(data, at + 2)
        else:
            break
    return frames


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_sub_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


class Image:
    """An image to solve: bytes that are here, or a path or open file that `load()` reads.

    `source` is bytes, a path object, a binary file object, or a str holding base64 (a `data:` prefix and line breaks
    are dropped; a file *name* must be a `pathlib.Path`, so that the two cannot be mixed up). Nothing is read before
    `load()`, which the client runs off the event loop. Shown as size and SHA-256, never as its bytes.

    Raises InvalidChallenge for another type, and for a str that is not base64.

    >>> Image(b"GIF89a")
    <image 6 bytes sha256:610f5ae4>
    >>> Image("R0lGODlh") == Image(b"GIF89a")
    True
    """

    __slots__ = ("_data", "_source")

    word: ClassVar[str] = "image"
    """What it is called in messages."""

    def __init__(self, source: Image | bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO) -> None:
        self._data: bytes | None = None
        self._source: os.PathLike[str] | BinaryIO | None = None
        if isinstance(source, Image):
            self._data, self._source = source._data, source._source
        elif isinstance(source, (bytes, bytearray, memoryview)):
            self._data = bytes(source)
        elif isinstance(source, str):
            self._data = self._decode(source)
        elif isinstance(source, os.PathLike) or callable(getattr(source, "read", None)):
            self._source = source
        else:
            raise InvalidChallenge(
                f"expected an {self.word} as bytes, a pathlib.Path, a file opened in binary mode or base64 text, "
                f"not {type(source).__name__}"
            )
        if self._data is not None and len(self._data) > IMAGE_BYTES_MAX:
            raise InvalidChallenge(
                f"the {self.word} has more than {IMAGE_BYTES_MAX:,} bytes; no vendor takes more than about a million"
            )

    @property
    def loaded(self) -> bool:
        """Whether the bytes are here already."""
        return self._data is not None

    @property
    def data(self) -> bytes:
        """The image's bytes. Raises InvalidChallenge when they have not been read yet (see `load`)."""
        if self._data is None:
            raise InvalidChallenge(
                f"the {self.word} has not been read yet: call challenge.load() (the client does so itself)"
            )
        return self._data

    def load(self) -> Self:
        """This image with its bytes; reads the path or file (blocking: not for an event loop).

        Raises InvalidChallenge when it cannot be read, is over 8 MiB, or the file was opened in text mode.
        """
        if self._data is not None:
            return self
        source = self._source
        try:
            if isinstance(source, os.PathLike):
                with open(source, "rb") as file:
                    data = file.read(IMAGE_BYTES_MAX + 1)
            else:
                assert source is not None  # noqa: S101 - an image has bytes or a source
                data = source.read(IMAGE_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            raise InvalidChallenge(f"the {self.word} {self._where()} cannot be read: {error}") from None
        if not data and not isinstance(source, os.PathLike) and _is_past_its_start(source):
            raise InvalidChallenge(
                f"the {self.word}'s file is at its end, nothing is left to read: it was read before. seek(0) first, or give "
                "the bytes"
            )
        if not isinstance(data, bytes):
            raise InvalidChallenge(f"the {self.word} {self._where()} gave text: open the file in binary mode ('rb')")
        return type(self)(data)  # which refuses what is too large

    def to_base64(self) -> str:
        """The bytes as base64 on one line without a `data:` prefix, as every vendor wants it."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes: names the image in a journal without keeping it."""
        return hashlib.sha256(self.data).hexdigest()

    def _where(self) -> str:
        return f"{os.fspath(self._source)!r}" if isinstance(self._source, os.PathLike) else "file"

    def __repr__(self) -> str:
        if self._data is None:
            return f"<{self.word} from {self._where()}>"
        return f"<{self.word} {len(self._data)} bytes sha256:{self.sha256[:8]}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return self._data == other._data and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._data)

    @classmethod
    def _decode(cls, text: str) -> bytes:
        if text.startswith("data:"):
            head, _, text = text.partition(",")
            if not head.endswith(";base64"):
                raise InvalidChallenge(f"the {cls.word}'s data: URL is not base64")
        try:
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidChallenge(
                f"an {cls.word} given as str must be base64; for a file use pathlib.Path(...), for raw bytes use bytes"
            ) from None
        if not data:
            raise InvalidChallenge(f"the {cls.word} is empty")
        return data


class AudioFile(Image):
    """A recording to solve, given and read like an image.

    >>> AudioFile(b"ID3")
    <audio file 3 bytes sha256:04114918>
    """

    __slots__ = ()

    word = "audio file"


def _is_past_its_start(file: BinaryIO) -> bool:
    try:
        return file.tell() > 0
    except (AttributeError, OSError, ValueError):  # a pipe, or an object that only reads
        return False
