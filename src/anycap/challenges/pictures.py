"""Challenges that are pictures: text to read, places to click, grid cells to choose, a picture to turn.

An image is bytes, a `pathlib.Path`, a file opened in binary mode, or base64 text (see `images.Image`); paths and files
are read by `load()`, off the event loop. Sizes and formats that a vendor takes are checked in
`providers/preflight.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, ClassVar, Self, TypeAlias, TypeVar

from attrs import Attribute, evolve, field, fields, frozen

from anycap.challenges.base import (
    JSON,
    Challenge,
    a_block,
    a_count,
    a_flag,
    a_fraction,
    a_header,
    a_text,
    a_url,
    an_object,
    as_tuple,
    copied,
    maybe,
    one_of,
    texts,
    trimmed_or_none,
)
from anycap.challenges.images import AudioFile, Image
from anycap.errors import InvalidChallenge
from anycap.results import AngleSolution, CellsSolution, CoordinatesSolution, Solution, TextSolution

ImageLike: TypeAlias = "Image | bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO"
"""What an image field takes."""

S_co = TypeVar("S_co", bound=Solution, covariant=True)


def as_image(value: ImageLike) -> Image:
    """An image field's value, whatever it was given as."""
    return Image(value)


def as_audio(value: ImageLike) -> AudioFile:
    """The same for a recording."""
    return AudioFile(value)


def as_image_or_none(value: ImageLike | None) -> Image | None:
    """The same for a field that may be left out."""
    return None if value is None else Image(value)


def as_number(value: int | None) -> int | None:
    """True as 1 and False as 0: `numeric=True` reads well and means digits only."""
    return int(value) if isinstance(value, bool) else value


def as_images(value: ImageLike | Iterable[ImageLike]) -> tuple[Image, ...]:
    """One image or several, as a tuple."""
    if isinstance(value, (list, tuple)):
        return tuple(Image(item) for item in value)
    return (Image(value),)  # type: ignore[arg-type] # what is no image is refused by Image itself


def _some_images(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    if not value:
        raise InvalidChallenge(f"{type(challenge).__name__}: {attribute.name} must hold at least one image")


class _WithImages(Challenge[S_co]):
    """What challenges with image fields share: `loaded` and `load()` look at every field that holds one."""

    __slots__ = ()

    @property
    def loaded(self) -> bool:
        return all(image.loaded for image in images_of(self))

    def load(self) -> Self:
        if self.loaded:
            return self
        fresh: dict[str, Any] = {}
        for each in fields(type(self)):
            value = getattr(self, each.name)
            if isinstance(value, Image):
                fresh[each.name] = value.load()
            elif isinstance(value, tuple) and any(isinstance(item, Image) for item in value):
                fresh[each.name] = tuple(item.load() if isinstance(item, Image) else item for item in value)
        return evolve(self, **fresh)


_NEVER_IMAGES = frozenset(
    optional
    for plain in ("str", "bool", "int", "float", "Proxy", "Mapping[str, str]", "Mapping[str, JSON]")
    for optional in (plain, f"{plain} | None")
)
"""Annotations of fields that need not be looked at: nearly all of them, and this is on the way of every solve."""


@lru_cache(maxsize=256)
def _field_names(kind: type[Challenge[Any]]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind) if each.type not in _NEVER_IMAGES)


def may_hold_images(kind: type[Challenge[Any]]) -> bool:
    """Whether a challenge of this class has a field for images.

    >>> from anycap.challenges import Turnstile
    >>> may_hold_images(FunCaptchaGrid), may_hold_images(Turnstile)
    (True, False)
    """
    return bool(_field_names(kind))


def images_of(challenge: Challenge[Any]) -> list[Image]:
    """Every image that a challenge carries, in field order.

    >>> images_of(FunCaptchaGrid([b"GIF89a", b"GIF87a"], "which one?"))
    [<image 6 bytes sha256:610f5ae4>, <image 6 bytes sha256:9faccac8>]
    """
    return images_in([getattr(challenge, name) for name in _field_names(type(challenge))])


def images_in(values: Iterable[Any]) -> list[Image]:
    """Every image among the values of a challenge's fields."""
    found: list[Image] = []
    for value in values:
        if value is None or type(value) is str:  # nearly all of them, and this is on the way of every solve
            continue
        if isinstance(value, Image):
            found.append(value)
        elif isinstance(value, tuple):
            found.extend(item for item in value if isinstance(item, Image))
    return found


@frozen(repr=False)
class ImageToText(_WithImages[TextSolution]):
    """A picture of letters, digits or a sum, to be read.

    `phrase`: the answer has a blank in it. `case`: capitals matter. `numeric`: 1 digits only, 2 letters only (2Captcha
    also 3 one or the other, 4 both needed; True is 1). `math`: the answer is the result of the sum. `min_length` and
    `max_length` in characters. `comment`: a hint for the worker. `language_pool`: `en` or `rn` (Cyrillic).
    `website_url`: where the picture is from, for statistics. `threshold` (0 to 100): how sure the vendor must be;
    `module`: the vendor's name for the kind of picture.

    Raises InvalidChallenge for a wrong or missing field.

    >>> ImageToText(b"GIF89a...", numeric=1)
    ImageToText(image=<image 9 bytes sha256:76b9a065>, numeric=1)
    """

    solution_type: ClassVar[type[Solution]] = TextSolution

    image: Image = field(converter=as_image)
    phrase: bool | None = field(default=None, kw_only=True, validator=maybe(a_flag))
    case: bool | None = field(default=None, kw_only=True, validator=maybe(a_flag))
    numeric: int | None = field(default=None, kw_only=True, converter=as_number, validator=maybe(one_of(0, 1, 2, 3, 4)))
    math: bool | None = field(default=None, kw_only=True, validator=maybe(a_flag))
    min_length: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    max_length: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    comment: str | None = field(default=None, kw_only=True, validator=maybe(a_block))
    language_pool: str | None = field(default=None, kw_only=True, validator=maybe(one_of("en", "rn")))
    website_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    threshold: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    module: str | None = field(default=None, kw_only=True, validator=maybe(a_text))

    def __attrs_post_init__(self) -> None:
        if self.min_length and self.max_length and self.min_length > self.max_length:
            raise InvalidChallenge("ImageToText: min_length is larger than max_length")


@frozen(repr=False)
class ImageToCoordinates(_WithImages[CoordinatesSolution]):
    """A picture with something to point at. `mode` is `points` or `rectangles`; `comment` says what to look for.

    `instructions` is a second picture that shows it; `min_clicks` and `max_clicks` bound the answer.

    Raises InvalidChallenge for a wrong or missing field.

    >>> ImageToCoordinates(b"GIF89a...", comment="the red car").mode
    'points'
    """

    solution_type: ClassVar[type[Solution]] = CoordinatesSolution

    image: Image = field(converter=as_image)
    comment: str | None = field(default=None, kw_only=True, validator=maybe(a_block))
    mode: str = field(default="points", kw_only=True, validator=one_of("points", "rectangles"))
    instructions: Image | None = field(default=None, kw_only=True, converter=as_image_or_none)
    min_clicks: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    max_clicks: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    website_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))


@frozen(repr=False)
class RecaptchaGrid(_WithImages[CellsSolution]):
    """The reCAPTCHA picture grid: which cells show the thing asked for.

    `image` is the whole grid in one picture, or a list of pictures. `question` is what is asked for: an id such as
    `/m/0k4j` (cars), or English words where the vendor takes them. `grid` is `3x3`, `4x4` or `1x1`. `confidence`
    (0 to 1) is for 3x3 grids.

    Raises InvalidChallenge for a wrong or missing field.

    >>> RecaptchaGrid(b"GIF89a...", "/m/0k4j", grid="3x3").question
    '/m/0k4j'
    """

    solution_type: ClassVar[type[Solution]] = CellsSolution

    image: tuple[Image, ...] = field(converter=as_images, validator=_some_images)
    question: str = field(validator=a_text)
    grid: str | None = field(default=None, kw_only=True, validator=maybe(one_of("1x1", "3x3", "4x4")))
    confidence: float | None = field(default=None, kw_only=True, validator=maybe(a_fraction))
    website_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    website_key: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_text))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))


@frozen(repr=False)
class HCaptchaGrid(_WithImages[CellsSolution]):
    """The hCaptcha pictures: which of `images` fit the `question`; `anchors` are example pictures.

    `coordinate`: the answer is a place in the picture, not a choice of pictures.

    Raises InvalidChallenge for a wrong or missing field.

    >>> len(HCaptchaGrid([b"GIF89a...", b"GIF89b..."], "Please click each image containing a boat").images)
    2
    """

    solution_type: ClassVar[type[Solution]] = CellsSolution

    images: tuple[Image, ...] = field(converter=as_images, validator=_some_images)
    question: str = field(validator=a_text)
    anchors: tuple[Image, ...] = field(default=(), kw_only=True, converter=as_images)
    coordinate: bool | None = field(default=None, kw_only=True, validator=maybe(a_flag))


@frozen(repr=False)
class FunCaptchaGrid(_WithImages[CellsSolution]):
    """The FunCaptcha pictures: which part of the image (or which of several) answers the `question`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> FunCaptchaGrid(b"GIF89a...", "Pick the image that is the correct way up").kind
    'FunCaptchaGrid'
    """

    solution_type: ClassVar[type[Solution]] = CellsSolution

    image: tuple[Image, ...] = field(converter=as_images, validator=_some_images)
    question: str = field(validator=a_text)


@frozen(repr=False)
class RotateImage(_WithImages[AngleSolution]):
    """A picture to be turned until it stands upright, or fits what is around it.

    `image` is the part to turn. `background`: what lies behind it, one picture or several, the rearmost first, where
    the vendor wants them apart. `angle`: by how many degrees one click turns the picture. `comment` and `instructions`
    (a picture) tell the worker what to do. `module`: the vendor's name for the kind of puzzle, where it has one.
    `website_url`: where the picture is from.

    Raises InvalidChallenge for a wrong or missing field.

    >>> RotateImage(b"GIF89a...", angle=60)
    RotateImage(image=<image 9 bytes sha256:76b9a065>, angle=60)
    """

    solution_type: ClassVar[type[Solution]] = AngleSolution

    image: Image = field(converter=as_image)
    background: tuple[Image, ...] = field(default=(), kw_only=True, converter=as_images)
    angle: int | None = field(default=None, kw_only=True, validator=maybe(a_count))
    comment: str | None = field(default=None, kw_only=True, validator=maybe(a_block))
    instructions: Image | None = field(default=None, kw_only=True, converter=as_image_or_none)
    module: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    website_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))


@frozen(repr=False)
class AudioToText(_WithImages[TextSolution]):
    """A recording of letters, digits or words, to be written down.

    `audio` is given like an image: bytes, a path, a file opened in binary mode, or base64 text. `language`: what is
    spoken (`en`, `fr` ...). `module`: the vendor's name for the kind of recording, where it has one.

    Raises InvalidChallenge for a wrong or missing field.

    >>> AudioToText(b"ID3...", language="en")
    AudioToText(audio=<audio file 6 bytes sha256:7ec73ef9>, language='en')
    """

    solution_type: ClassVar[type[Solution]] = TextSolution

    audio: AudioFile = field(converter=as_audio)
    language: str | None = field(default=None, kw_only=True, validator=maybe(a_text))
    module: str | None = field(default=None, kw_only=True, validator=maybe(a_text))


@frozen(repr=False)
class ComplexImage(_WithImages[CellsSolution]):
    """A picture task that a vendor solves by a module of its own (CapMonster's ComplexImageTask).

    `module` is the vendor's class of tasks (`recognition`), `task` the name inside it (`bls_3x3`, `oocl_rotate_new`),
    `images` the pictures in the order the vendor says, or `image_urls` their addresses; `metadata` what else the
    module needs. The answer comes whole in the solution's `answer`, and as `cells` where it is a grid.

    Raises InvalidChallenge for a wrong or missing field.

    >>> ComplexImage("recognition", "shein", images=[b"GIF89a..."]).task
    'shein'
    """

    solution_type: ClassVar[type[Solution]] = CellsSolution

    module: str = field(validator=a_text)
    task: str = field(validator=a_text)
    images: tuple[Image, ...] = field(default=(), kw_only=True, converter=as_images)
    image_urls: Sequence[str] = field(default=(), kw_only=True, converter=as_tuple, validator=texts)
    metadata: Mapping[str, JSON] = field(
        factory=dict, kw_only=True, converter=copied, validator=an_object, hash=False, repr=False
    )
    website_url: str | None = field(default=None, kw_only=True, converter=trimmed_or_none, validator=maybe(a_url))
    user_agent: str | None = field(default=None, kw_only=True, validator=maybe(a_header))

    def __attrs_post_init__(self) -> None:
        if bool(self.images) is bool(self.image_urls):
            raise InvalidChallenge("ComplexImage: give either images or image_urls")
