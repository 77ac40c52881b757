"""`Challenge`, the root of everything that can be solved, and the checks its fields share.

Checks that hold at every vendor happen here, when a challenge is made; what one vendor demands is catalog data, checked
in `providers/preflight.py`. The kinds themselves are the neighbours: `tokens.py`, `pictures.py`, `scripted.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeGuard, TypeVar, cast
from urllib.parse import urlsplit

from attrs import Attribute, Factory, field, fields, frozen

from anycap.credentials import ArgumentsHidden, attempt
from anycap.errors import InvalidChallenge
from anycap.results import Solution

if TYPE_CHECKING:
    from anycap.challenges.proxy import Proxy

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Anything that JSON can say."""

S_co = TypeVar("S_co", bound=Solution, covariant=True)
_DEPTH_MAX = 16
"""Far above what a vendor nests (three deep); a structure that holds itself ends here."""
_CONTROL = frozenset(map(chr, [*range(32), 127]))


_NO_OBJECTS = frozenset({str, bool, int, float, list, tuple, type(None)})


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is what JSON calls an object. Asks for the usual types first: an abstract class answers slowly."""
    kind = type(value)
    return kind is dict or (kind not in _NO_OBJECTS and isinstance(value, Mapping))


class _Field(Protocol):
    @property
    def name(self) -> str: ...


Check: TypeAlias = "Callable[[Any, Attribute[Any], Any], None]"


def _refuse(challenge: object, attribute: _Field, what: str) -> InvalidChallenge:
    return InvalidChallenge(f"{type(challenge).__name__}: {attribute.name} {what}")


def briefly(value: object) -> str:
    """A wrong value as an error shows it: a number or a plain word. Other text may be a password in the wrong place."""
    if isinstance(value, str):
        word = value.isascii() and value.replace("_", "").replace("-", "").isalpha() and len(value) <= 24
        return repr(value) if word else f"a text of {len(value)} characters"
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**9):
        return repr(value)
    return f"a {type(value).__name__}"


def a_text(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A str that is not empty and holds no control character (no line break can reach a header)."""
    if not isinstance(value, str):
        raise _refuse(challenge, attribute, f"must be text (str), not {type(value).__name__}")
    if not value.strip():
        raise _refuse(challenge, attribute, "is empty; it must be given")
    if not value.isprintable() and not _CONTROL.isdisjoint(value):  # what is printable holds none, and is known faster
        raise _refuse(challenge, attribute, "holds a line break or another control character")


def a_header(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A text that can stand in an HTTP header: printable ASCII."""
    a_text(challenge, attribute, value)
    if not value.isascii():
        raise _refuse(challenge, attribute, "holds a character that no HTTP header can carry (ASCII only)")


def a_block(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A str that is not empty; line breaks are fine (markup, scripts, comments)."""
    if not isinstance(value, str):
        raise _refuse(challenge, attribute, f"must be text (str), not {type(value).__name__}")
    if not value:
        raise _refuse(challenge, attribute, "is empty; leave it out or give it a value")


def a_url(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """An absolute http or https URL with a host, without blanks or control characters."""
    a_text(challenge, attribute, value)
    try:
        parts = urlsplit(value)
        host = parts.hostname
        # Asked for its error: a port that is none is found only when it is read.
        _ = parts.port
    except ValueError:  # its text may repeat login and password
        raise _refuse(challenge, attribute, "is not a URL") from None
    # "example.com" alone would be paid for and fail: the worker's browser needs the whole address.
    if parts.scheme not in ("http", "https"):
        raise _refuse(challenge, attribute, "must be the page's full address, starting with http:// or https://")
    if not host:
        raise _refuse(challenge, attribute, "is a URL without a host")
    if value.split() != [value]:  # whatever Python counts as white space
        raise _refuse(challenge, attribute, "holds a blank or line break; is it one address?")


def a_flag(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise _refuse(challenge, attribute, f"must be True or False, not {briefly(value)}")


def a_count(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """An int from 0 up."""
    # bool is an int in Python, and True given for a count is a mistake.
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _refuse(challenge, attribute, f"must be a whole number from 0 up, not {briefly(value)}")


def a_fraction(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A number from 0 to 1."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _refuse(challenge, attribute, f"must be a number from 0 to 1, not {briefly(value)}")


def an_object(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A mapping of str to JSON values."""
    if not is_object(value):
        raise _refuse(challenge, attribute, f"must be a mapping (dict), not {type(value).__name__}")
    if value:
        _check_json(challenge, attribute, value, 0)


def a_text_or_object(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """Text, or a mapping of str to JSON values."""
    (an_object if is_object(value) else a_block)(challenge, attribute, value)


def texts(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A tuple of texts that are not empty."""
    if not isinstance(value, tuple):
        raise _refuse(challenge, attribute, f"must be a list of texts, not {type(value).__name__}")
    for item in value:
        a_text(challenge, attribute, item)


def cookie_pairs(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    """A mapping of cookie names to values, free of the characters that would end one."""
    an_object(challenge, attribute, value)
    for name, text in value.items():
        if not isinstance(text, str):
            raise _refuse(challenge, attribute, f"must map names to text; {briefly(name)} has {type(text).__name__}")
        # A ";" or a line break in a value would add a cookie, or a header, in the worker's browser.
        if not name or not _CONTROL.isdisjoint(name + text) or set("=; ,") & set(name) or ";" in text:
            raise _refuse(challenge, attribute, f"has a name or value that no cookie header can carry: {briefly(name)}")


def one_of(*choices: object) -> Check:
    """A check for one of `choices`."""

    def check(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
        if value not in choices:
            said = ", ".join(repr(choice) for choice in choices)
            raise _refuse(challenge, attribute, f"must be one of {said}, not {briefly(value)}")

    return check


def maybe(check: Check) -> Check:
    """`check`, unless the value is None (not given)."""

    def maybe_check(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is not None:
            check(challenge, attribute, value)

    return maybe_check


def _check_json(challenge: object, attribute: _Field, value: object, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise _refuse(challenge, attribute, f"is nested deeper than {_DEPTH_MAX} levels")
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refuse(challenge, attribute, f"holds {value!r}, which JSON cannot say")
    elif is_object(value):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _refuse(challenge, attribute, f"has a key that is not text: {briefly(key)}")
            _check_json(challenge, attribute, inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_json(challenge, attribute, inner, depth + 1)
    else:
        raise _refuse(challenge, attribute, f"holds a {type(value).__name__}, which JSON cannot say")


def copied(value: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """A copy of the mappings and lists in `value`, so that a later change outside does not reach the challenge."""
    copy: Mapping[str, JSON] = _copied(value, 0)
    return copy


def copied_or_none(value: Mapping[str, JSON] | None) -> Mapping[str, JSON] | None:
    """The same for a field that may be left out."""
    return None if value is None else copied(value)


def copied_or_text(value: str | Mapping[str, JSON] | None) -> str | Mapping[str, JSON] | None:
    """The same for a field that may also be text."""
    return value if value is None or isinstance(value, str) else copied(value)


def _copied(value: Any, depth: int) -> Any:
    if depth > _DEPTH_MAX:
        return value  # refused by the check that follows
    if is_object(value):
        return {key: _copied(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(inner, depth + 1) for inner in value]
    return value


def trimmed_or_none(value: str | None) -> str | None:
    """A text without the blanks and line breaks at its ends, which come with copying; anything else untouched."""
    return value.strip() if isinstance(value, str) else value


def trimmed(value: str) -> str:
    """The same for a field that must be given."""
    return cast("str", trimmed_or_none(value))


def as_tuple(value: Sequence[str]) -> Sequence[str]:
    """A list as a tuple; anything else untouched, for the check to refuse (a text is a sequence too)."""
    return tuple(value) if isinstance(value, list) else value


def as_cookies(value: Mapping[str, str] | str | None) -> Mapping[str, str] | None:
    """Cookies given as text (`a=1; b=2`) as a mapping; anything else copied."""
    if not isinstance(value, str):
        copy: Mapping[str, str] | None = _copied(value, 0)
        return copy
    pairs = (part.strip().partition("=") for part in value.split(";") if part.strip())
    return {name.strip(): text.strip() for name, _, text in pairs}


class _NamesFields(ArgumentsHidden):
    """Turns Python's TypeError for a missing or unknown argument into an InvalidChallenge that names the fields.

    A challenge holds cookies, one-time values and a proxy's password, so its arguments stay out of tracebacks, too.
    """

    if not TYPE_CHECKING:

        def __call__(cls, *args, **kwargs):  # noqa: N805 - a metaclass, which ruff does not see here
            made, error = attempt(type.__call__, cls, *args, **kwargs)
            if isinstance(error, TypeError):
                error = _wrong_arguments(cls, args, kwargs) or error
            del args, kwargs
            if error is not None:
                raise error
            return made


def _wrong_arguments(cls: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> InvalidChallenge | None:
    from inspect import signature

    try:
        signature(cls.__init__).bind(None, *args, **kwargs)
    except TypeError as error:
        known = ", ".join(each.name for each in _own_first(cls))
        return InvalidChallenge(f"{cls.__name__}: {error}. Fields: {known}")
    return None


def _own_first(cls: type[Any]) -> list[Attribute[Any]]:
    """The fields of a challenge class, those that all classes share last."""
    shared = {each.name for each in fields(Challenge)}
    return sorted(fields(cls), key=lambda each: each.name in shared)


def _a_proxy(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    from anycap.challenges.proxy import Proxy

    if not isinstance(value, Proxy):
        raise _refuse(
            challenge, attribute, f"must be a Proxy (Proxy.from_url('http://user:pass@192.0.2.1:8080')), "
            f"not {type(value).__name__}"
        )  # fmt: skip


@frozen(kw_only=True, repr=False)
class Challenge(Generic[S_co], metaclass=_NamesFields):
    """Something to solve. Each kind is a subclass and names the type of its solution.

    `proxy`: solve through this proxy, where the vendor has a form for it. `variant`: the vendor's other type name for
    the same thing, as its catalog lists it (`"RecaptchaV3TaskProxylessM1"`). `extra`: vendor fields that are handed
    on as they are (`{"nocache": True}`); they may add to a task, never replace what the challenge itself says.

    Raises InvalidChallenge (also a ValueError) for a wrong or missing field; nothing has been sent then.

    >>> from anycap.challenges import Turnstile
    >>> Turnstile("example.com", "0x4AAA")
    Traceback (most recent call last):
    anycap.errors.InvalidChallenge: Turnstile: website_url must be the page's full address, starting with http:// or https://
    """

    solution_type: ClassVar[type[Solution]] = Solution

    proxy: Proxy | None = field(default=None, validator=maybe(_a_proxy))
    variant: str | None = field(default=None, validator=maybe(a_text))
    extra: Mapping[str, JSON] = field(factory=dict, converter=copied, validator=an_object, hash=False, repr=False)

    @property
    def kind(self) -> str:
        """The challenge's name in tickets, journals and catalogs: the class name."""
        return type(self).__name__

    @property
    def loaded(self) -> bool:
        """Whether everything to send is here; False while an image is still a path or an open file."""
        return True

    def load(self) -> Self:
        """This challenge with its images read. Blocking: the client runs it off the event loop.

        Raises InvalidChallenge when an image cannot be read.
        """
        return self

    def __repr__(self) -> str:
        shown = []
        for each in _own_first(type(self)):
            value = getattr(self, each.name)
            if value != default_of(each):
                shown.append(f"{each.name}={value!r}" if each.repr else f"{each.name}=<hidden>")
        return f"{type(self).__name__}({', '.join(shown)})"


def default_of(attribute: Attribute[Any]) -> Any:
    """What a field is when it is not given; `NOTHING` for a required one."""
    default: Any = attribute.default
    return default.factory() if isinstance(default, Factory) else default  # type: ignore[arg-type] # a class at run time
