"""The transition table: total, and no way round the rules that keep money safe."""

import pytest

from anycap.core.machine import ENDS, TRANSITIONS, Action, Event, ImpossibleTransition, State, step

# What each state may be followed by, written down from the rules in prose, not from the table.
MAY_FOLLOW = {
    State.QUEUED: {State.RECORDING, State.FAILED},
    State.RECORDING: {State.SUBMITTING, State.FAILED, State.RECORDING, State.QUEUED},
    State.SUBMITTING: {
        State.STORING, State.SAVING, State.QUEUED, State.FAILED, State.IN_DOUBT, State.SUBMITTING,
    },
    State.STORING: {State.WAITING, State.ABANDONED},
    State.WAITING: {State.POLLING, State.FAILED, State.ABANDONED, State.WAITING},
    State.POLLING: {State.WAITING, State.SAVING, State.FAILED, State.STALLED, State.ABANDONED, State.POLLING},
    State.SAVING: {State.SOLVED, State.SAVING},
    State.SOLVED: {State.DELIVERED, State.ABANDONED, State.SOLVED},
    State.STALLED: {State.WAITING, State.ABANDONED},
    State.DELIVERED: {State.DELIVERED},
    State.FAILED: {State.FAILED},
    State.IN_DOUBT: {State.IN_DOUBT},
    State.ABANDONED: {State.ABANDONED},
}  # fmt: skip


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_pair_is_in_the_table_or_impossible(state: State, event: Event) -> None:
    if event not in TRANSITIONS[state]:
        with pytest.raises(ImpossibleTransition, match=f"{event} cannot happen to a solve that is {state}"):
            step(state, event)
        return
    after, actions = step(state, event)
    assert after in MAY_FOLLOW[state]
    assert all(isinstance(action, Action) for action in actions)


def test_money_is_spent_only_after_the_intent_is_durable() -> None:
    ways = [(state, event) for state, row in TRANSITIONS.items() for event, (_, acts) in row.items()
            if Action.SEND_SUBMIT in acts]  # fmt: skip
    assert ways == [(State.RECORDING, Event.STORED)]


def test_a_task_id_is_stored_before_anything_else_happens() -> None:
    assert step(State.SUBMITTING, Event.TASK_ID_RECEIVED) == (State.STORING, (Action.WRITE_ACCEPTED,))


def test_a_solution_is_stored_before_anybody_is_told() -> None:
    tellers = {
        (state, event)
        for state, row in TRANSITIONS.items()
        for event, (after, acts) in row.items()
        if after is State.SOLVED and Action.NOTIFY in acts
    }
    assert tellers == {(State.SAVING, Event.STORED), (State.SAVING, Event.STORE_FAILED)}


def test_in_doubt_is_never_left() -> None:
    assert {after for after, _ in TRANSITIONS[State.IN_DOUBT].values()} == {State.IN_DOUBT}


def test_a_lost_poll_never_ends_the_task() -> None:
    assert step(State.POLLING, Event.POLL_LOST) == (State.WAITING, (Action.SCHEDULE_POLL,))


@pytest.mark.parametrize("state", sorted(ENDS))
def test_an_end_asks_for_nothing_more(state: State) -> None:
    for _, (after, actions) in TRANSITIONS[state].items():
        assert after is state
        assert actions == ()


def test_every_state_can_be_reached_and_left_for_an_end() -> None:
    reached = {State.QUEUED}
    while True:
        more = {after for state in reached for after, _ in TRANSITIONS[state].values()} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(State)
    for start in State:
        seen, todo = {start}, [start]
        while todo:
            for after, _ in TRANSITIONS[todo.pop()].values():
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        assert seen & ENDS
