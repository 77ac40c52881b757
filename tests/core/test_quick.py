"""`quick` changes how long a value takes to make, and nothing else of it."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import Factory, asdict, evolve, field, fields, frozen
from attrs.exceptions import FrozenInstanceError

from anycap._quick import quick
from anycap.events import Event, EventKind
from anycap.journal import Record, RecordKind
from anycap.results import Ticket, TicketState

TICKET = Ticket(
    "a" * 32, 7, "main", "anti-captcha", "RecaptchaV2", TicketState.PENDING, datetime(2026, 1, 1, tzinfo=UTC)
)
VALUES = (
    TICKET,
    Event(EventKind.POLLED, 1e9, "main", TICKET),
    Event(EventKind.CHARGED, 1e9, "main", data={"amount": Decimal("0.1")}),
    Record("a", RecordKind.ACCEPTED, 1e9, {"task_id": 7}),
    Record("a", RecordKind.DELIVERED, 1e9),
)


def _made_by_attrs(cls: type[Any]) -> type[Any]:
    """The same fields with the constructor that attrs makes."""
    own = {each.name: field(default=each.default, repr=each.repr, alias=each.alias) for each in fields(cls)}
    annotations = {each.name: each.type for each in fields(cls)}
    return frozen(type(cls.__name__, (), {"__annotations__": annotations, **own}))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_quick_value_is_what_attrs_would_have_made(value: Any) -> None:
    cls = type(value)
    twin = _made_by_attrs(cls)(**{each.alias: getattr(value, each.name) for each in fields(cls)})
    assert repr(twin) == repr(value)
    assert asdict(twin) == asdict(value)
    signatures = inspect.signature(cls), inspect.signature(type(twin))
    assert str(signatures[0]) == str(signatures[1])
    assert all(
        one.kind is other.kind for one, other in zip(*(each.parameters.values() for each in signatures), strict=True)
    )


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_quick_value_is_frozen_small_and_travels(value: Any) -> None:
    first = fields(type(value))[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, "other")
    with pytest.raises(FrozenInstanceError):
        delattr(value, first)
    assert not hasattr(value, "__dict__")
    for twin in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value), evolve(value)):
        assert twin == value
        assert type(twin) is type(value)
    assert evolve(value, **{first: "other"}) != value


def test_values_that_can_be_hashed_still_are() -> None:
    assert hash(TICKET) == hash(evolve(TICKET))


def test_a_default_that_is_made_is_made_for_each() -> None:
    one, other = Record("a", RecordKind.DELIVERED, 1e9), Record("a", RecordKind.DELIVERED, 1e9)
    assert one.fields == {}
    assert one.fields is not other.fields
    assert Event(EventKind.WARNING, 1.0, "main", data={}).data == {}


def test_what_is_missing_or_too_much_is_a_type_error() -> None:
    make: Any = Event
    with pytest.raises(TypeError, match="account"):
        make(EventKind.QUEUED, 1.0)
    with pytest.raises(TypeError, match="colour"):
        make(EventKind.QUEUED, 1.0, "main", colour="red")


def test_subclasses_and_private_names_work() -> None:
    @quick
    @frozen
    class Base:
        _hidden: int
        seen: Mapping[str, int] = field(factory=dict)

    @frozen
    class Derived(Base):
        more: int = 0

    assert Base(1, {"a": 1}) == Base(hidden=1, seen={"a": 1})
    assert Derived(1, {}, 2) == Derived(hidden=1, more=2)


@pytest.mark.parametrize(
    "own",
    [
        field(validator=lambda *_: None),
        field(converter=int),
        field(init=False, default=1),
        field(kw_only=True),
        field(default=Factory(lambda self: 1, takes_self=True)),
    ],
)
def test_more_than_a_plain_field_is_refused(own: Any) -> None:
    cls = frozen(type("Odd", (), {"__annotations__": {"x": int}, "x": own}))
    with pytest.raises(TypeError, match=r"Odd\.x is more than a plain field"):
        quick(cls)
