"""The table of states is whole, and everything else about states follows from it."""

from itertools import product

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.api.status import Outcome
from rewriter_operator.core.plan import STATES
from rewriter_operator.core.states import (
    CANDIDATE_STATES,
    OUTCOMES,
    TRAFFIC_STATES,
    TRANSITIONS,
    Event,
    UnlistedTransition,
    advance,
    allows,
    mermaid,
)

UNLISTED = [(state, event) for state, event in product(State, Event) if event not in TRANSITIONS[state]]


def test_every_state_has_a_row_and_a_function() -> None:
    assert set(TRANSITIONS) == set(State) == set(STATES)


def test_every_state_can_be_reached_and_can_be_left_for_idle() -> None:
    assert _reachable(State.BOOTSTRAPPING) == set(State)
    assert all(State.IDLE in _reachable(state) for state in State)


def test_every_event_is_listed_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@pytest.mark.parametrize("state, event", UNLISTED, ids=[f"{state}-{event.name}" for state, event in UNLISTED])
def test_an_unlisted_transition_raises(state: State, event: Event) -> None:
    assert not allows(state, event)
    with pytest.raises(UnlistedTransition, match=f"{state} has no transition for {event.name}"):
        advance(state, event)


def test_traffic_is_only_reached_through_a_gate_that_passed_or_a_person_that_approved() -> None:
    ways = [
        (state, event)
        for state, row in TRANSITIONS.items()
        for event, target in row.items()
        if target in CANDIDATE_STATES and state not in CANDIDATE_STATES
    ]
    assert ways == [(State.GATING, Event.PASSED), (State.HOLDING, Event.APPROVED)]


def test_no_state_with_traffic_is_left_for_idle_without_a_withdrawal_or_a_promotion() -> None:
    ways = {event for state in TRAFFIC_STATES for event, target in TRANSITIONS[state].items() if target is State.IDLE}
    assert ways == {Event.RECORDED}


def test_every_outcome_is_decided_by_one_event() -> None:
    assert sorted(OUTCOMES.values()) == sorted(Outcome)


def test_the_diagram_shows_every_state_and_every_transition() -> None:
    lines = mermaid().splitlines()
    for state, row in TRANSITIONS.items():
        for event, target in row.items():
            arrow = f"    {state} --> {target}: "
            assert any(line.startswith(arrow) and event.name.capitalize() in line for line in lines)


def _reachable(start: State) -> set[State]:
    found, new = {start}, [start]
    while new:
        for target in TRANSITIONS[new.pop()].values():
            if target not in found:
                found.add(target)
                new.append(target)
    return found
