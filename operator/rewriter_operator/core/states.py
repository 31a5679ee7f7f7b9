"""The state machine of a release, whole: everything about which state follows which lives in this file.

docs/architecture.md draws its diagram from these tables. An event that a state does not list raises: the machine never
guesses.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rewriter_operator.api.states import State
from rewriter_operator.api.status import Outcome


class Event(StrEnum):
    """What can happen to a release."""

    SERVED = "what serves first is up"
    STARTED = "a cycle starts"
    PREPARED = "everything the cycle needs is there"
    TRAINED = "all phases are done and synced"
    PASSED = "the gate passed"
    HELD = "the gate could not decide, and a person may"
    APPROVED = "a person decided for the candidate"
    REFUSED = "the gate refused"
    DEPLOYED = "candidate pods are ready"
    FULL = "every stage is at full share"
    BAKED = "the bake time is over"
    RECORDED = "the promotion is on the volume"
    DEGRADED = "traffic says no"
    BROKE = "the cycle cannot go on"
    ABORTED = "a person said stop"
    SUPERSEDED = "the spec changed"
    WITHDRAWN = "no request reaches the candidate"
    RETURN = "a person wants an earlier revision"
    RETURNED = "the earlier revision serves"


_STOPS: Final = (Event.BROKE, Event.ABORTED, Event.SUPERSEDED)


def _stops_to(state: State) -> dict[Event, State]:
    return dict.fromkeys(_STOPS, state)


TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    State.BOOTSTRAPPING: {Event.SERVED: State.IDLE},
    State.IDLE: {Event.STARTED: State.PREPARING, Event.RETURN: State.RETURNING},
    # Up to here no pod of the candidate serves, so a cycle that stops has nothing to take back.
    State.PREPARING: {Event.PREPARED: State.TRAINING, **_stops_to(State.IDLE)},
    State.TRAINING: {Event.TRAINED: State.GATING, **_stops_to(State.IDLE)},
    State.GATING: {
        Event.PASSED: State.DEPLOYING,
        Event.HELD: State.HOLDING,
        Event.REFUSED: State.IDLE,
        **_stops_to(State.IDLE),
    },
    State.HOLDING: {
        Event.APPROVED: State.DEPLOYING,
        Event.REFUSED: State.IDLE,
        Event.ABORTED: State.IDLE,
        Event.SUPERSEDED: State.IDLE,
    },
    # From here on a stop goes through WITHDRAWING: the route is taken back and seen to be back before anything else.
    State.DEPLOYING: {Event.DEPLOYED: State.ROLLING_OUT, **_stops_to(State.WITHDRAWING)},
    State.ROLLING_OUT: {
        Event.FULL: State.BAKING,
        Event.DEGRADED: State.WITHDRAWING,
        **_stops_to(State.WITHDRAWING),
    },
    State.BAKING: {Event.BAKED: State.PROMOTING, Event.DEGRADED: State.WITHDRAWING, **_stops_to(State.WITHDRAWING)},
    # Still watched: the volume may already name the candidate, so a way back from here also writes the record back.
    # A changed spec waits for the next cycle: what is all but promoted is not thrown away for it.
    State.PROMOTING: {
        Event.RECORDED: State.IDLE,
        Event.DEGRADED: State.WITHDRAWING,
        Event.ABORTED: State.WITHDRAWING,
    },
    State.WITHDRAWING: {Event.WITHDRAWN: State.IDLE},
    # No cycle, no share: requests move from incumbent to incumbent, or, when its pods do not come up, not at all.
    State.RETURNING: {Event.RETURNED: State.IDLE, Event.BROKE: State.IDLE},
}

OUTCOMES: Final[Mapping[Event, Outcome]] = {
    Event.RECORDED: Outcome.PROMOTED,
    Event.REFUSED: Outcome.REJECTED,
    Event.DEGRADED: Outcome.ROLLED_BACK,
    Event.BROKE: Outcome.FAILED,
    Event.ABORTED: Outcome.ABORTED,
    Event.SUPERSEDED: Outcome.SUPERSEDED,
}
"""The outcome that an event decides for its cycle; WITHDRAWN keeps the one that was decided before."""

TRAFFIC_STATES: Final = frozenset({State.ROLLING_OUT, State.BAKING, State.PROMOTING})
"""Only in these may a request reach the candidate."""

CANDIDATE_STATES: Final = TRAFFIC_STATES | {State.DEPLOYING, State.WITHDRAWING}
"""In these the candidate's serving pods exist."""

CYCLE_STATES: Final = frozenset(State) - {State.BOOTSTRAPPING, State.IDLE, State.RETURNING}


class UnlistedTransition(RuntimeError):
    """A bug: the plan asked for a transition that the table does not have."""


def advance(state: State, event: Event) -> State:
    """The state after `event`.

    Raises:
        UnlistedTransition: when `state` does not list `event`.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise UnlistedTransition(f"{state} has no transition for {event.name}") from None


def allows(state: State, event: Event) -> bool:
    """Whether the table lists the transition."""
    return event in TRANSITIONS[state]


def mermaid() -> str:
    """The diagram of docs/architecture.md."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.BOOTSTRAPPING}"]
    for state, row in TRANSITIONS.items():
        targets: dict[State, list[str]] = {}
        for event, target in row.items():
            targets.setdefault(target, []).append(event.name.capitalize())
        lines += [f"    {state} --> {target}: {', '.join(events)}" for target, events in targets.items()]
    return "\n".join(lines) + "\n"
