"""What `statically_frozen` keeps of `attrs.frozen`: equality, hash, slots, pickling, `evolve`; what `members` are."""

import pickle
from datetime import UTC, datetime

import attrs
import pytest

from anycap.events import EventKind, WarningEvent
from anycap.tickets import Ticket, TicketState
from anycap.transport import Answer
from anycap.values import members, statically_frozen


@statically_frozen
class Point:
    x: int
    y: int = 0
    note: str = attrs.field(default="", eq=False)


def test_values_with_equal_fields_are_equal_and_have_one_hash() -> None:
    assert Point(1, 2) == Point(1, 2, note="other")
    assert len({Point(1, 2), Point(1, 2, note="other"), Point(1, 3)}) == 2


def test_a_value_has_slots_and_no_assignment_of_its_own() -> None:
    assert not hasattr(Point(1), "__dict__")
    assert Point.__setattr__ is object.__setattr__  # else its own `__init__` would pay for it
    with pytest.raises(AttributeError):
        Point(1).z = 2  # type: ignore[attr-defined]


def test_options_are_those_of_attrs() -> None:
    event = WarningEvent(kind=EventKind.WARNING, at=1.0, account="main", warning="look")
    assert vars(event)["warning"] == "look"
    with pytest.raises(TypeError):
        WarningEvent(EventKind.WARNING, 1.0, "main", "", None, None, "look")  # type: ignore[misc] # kw_only


@pytest.mark.parametrize("made", [Point(1, 2), Answer(200, b"{}")])
def test_a_value_is_copied_pickled_and_changed_as_a_new_one(made: object) -> None:
    assert pickle.loads(pickle.dumps(made)) == made
    assert attrs.evolve(Point(1, 2), y=3) == Point(1, 3)


def test_tickets_are_keys_of_mappings() -> None:
    one = Ticket("t", 7, "main", "anti-captcha", "RecaptchaV2", TicketState.PENDING, datetime(2026, 1, 1, tzinfo=UTC))
    assert {one: 1}[pickle.loads(pickle.dumps(one))] == 1


def test_members_are_those_of_the_enum() -> None:
    states = members(TicketState)
    assert states.PENDING is TicketState.PENDING
    assert {name: getattr(states, name) for name in TicketState.__members__} == dict(TicketState.__members__)
    with pytest.raises(AttributeError):
        states.SOMETHING  # type: ignore[attr-defined]  # noqa: B018 - looked up for the error
