"""Challenges that are a vendor's own script or type: `AntiGate` templates, and `VendorTask` for any type not modelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from attrs import Attribute, field, frozen

from anycap.challenges.base import JSON, Challenge, a_text, a_url, an_object, as_tuple, copied, texts, trimmed
from anycap.errors import InvalidChallenge
from anycap.results import RawSolution, Solution

WAIT: Final = "_WAIT_FOR_IT_"
"""The value of an `AntiGate` variable that will be handed in later, by `client.push_variable` (anti-captcha apidoc)."""


@frozen(repr=False)
class AntiGate(Challenge[RawSolution]):
    """A page played through by an anti-captcha worker after a template made on the vendor's site.

    `template` is the template's name. `variables` are the values it asks for; the worker waits for those that are
    `WAIT` until `client.push_variable(ticket, name, value)` hands them in. `domains_of_interest`: whose cookies and
    local storage to return. A `proxy` is taken without its scheme (HTTP). The solution is in `raw`.

    Raises InvalidChallenge for a wrong or missing field.

    >>> AntiGate("https://example.com", "Sign-in with a code", variables={"login": "me", "code": WAIT}).waits_for
    ('code',)
    """

    solution_type: ClassVar[type[Solution]] = RawSolution

    website_url: str = field(converter=trimmed, validator=a_url)
    template: str = field(validator=a_text)
    variables: Mapping[str, JSON] = field(
        factory=dict, kw_only=True, converter=copied, validator=an_object, hash=False, repr=False
    )
    domains_of_interest: Sequence[str] = field(default=(), kw_only=True, converter=as_tuple, validator=texts)

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The names of the variables that are still to be handed in."""
        return tuple(name for name, value in self.variables.items() if value == WAIT)


def _no_envelope(challenge: Any, attribute: Attribute[Any], value: Any) -> None:
    an_object(challenge, attribute, value)
    for name in ("type", "clientKey"):
        if name in value:
            raise InvalidChallenge(f"VendorTask: fields must not hold {name!r}; the type has an argument of its own")


@frozen(repr=False)
class VendorTask(Challenge[RawSolution]):
    """Any task type that this library does not model: the vendor's own type name and fields, sent as they are.

    `type` is the vendor's type name, `fields` the rest of the task object. A `proxy` is added in the vendor's own
    form. Nothing is checked beyond JSON; read the answer in the solution's `raw`.

    Raises InvalidChallenge when `fields` is not a JSON object or repeats the type.

    >>> task = VendorTask("CustomTask", {"class": "Basilisk", "websiteURL": "https://example.com", "websiteKey": "b7c4"})
    >>> task.kind
    'VendorTask/CustomTask'
    """

    solution_type: ClassVar[type[Solution]] = RawSolution

    type: str = field(validator=a_text)
    fields: Mapping[str, JSON] = field(factory=dict, converter=copied, validator=_no_envelope, hash=False, repr=False)

    @property
    def kind(self) -> str:
        return f"VendorTask/{self.type}"
