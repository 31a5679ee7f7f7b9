"""The namespace is gone, the volume is not: the YAML is applied again, and what was promoted serves first.

A second simulator is the new namespace: no status, no children. All that it has of the first one is what a prepare pod
reads on the volume: promoted.json and the numbers of the cycles that left a directory there.
"""

from dataclasses import replace

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import RUN_ANNOTATION
from tests.builders import make_spec
from tests.core.simulator import Behaviour, Simulator, healthy_prepare

SPEC = make_spec()


def rebuilt(lost: Simulator) -> Simulator:
    """The release in a new namespace over the volume that the lost one left."""
    last = lost.status.last_cycle_number
    return Simulator(
        SPEC, behaviour=Behaviour(prepare=replace(healthy_prepare(), promoted=lost.promoted, last_cycle=last))
    )


def lost_in(state: State) -> Simulator:
    """A release that serves r0001 and loses its namespace while r0002 is in this state."""
    story = Simulator(SPEC)
    assert story.cycle_ends() == "Promoted"
    story.settle()
    story.annotations[RUN_ANNOTATION] = "second"
    if state is State.WITHDRAWING:
        story.until(State.ROLLING_OUT)
        story.behaviour.candidate_error_rate = 1.0
    story.behaviour.record_ends = False  # the namespace is lost before the record pod of r0002 writes
    return story.until(state)


def answers(story: Simulator) -> set[str]:
    """Services that the data plane sends requests to now."""
    return {service for backends in story.data_plane.values() for service, weight in backends.items() if weight}


@pytest.mark.parametrize(
    "state",
    [
        State.IDLE,
        State.TRAINING,
        State.GATING,
        State.DEPLOYING,
        State.ROLLING_OUT,
        State.BAKING,
        State.PROMOTING,
        State.WITHDRAWING,
    ],
)
def test_the_promoted_revision_serves_first_whatever_the_lost_release_was_doing(state: State) -> None:
    lost = lost_in(state) if state is not State.IDLE else lost_in(State.PREPARING)
    assert lost.promoted and lost.promoted.revision == 1
    story, seen = rebuilt(lost), []
    for _ in range(600):  # an hour, looked at after every single write
        if not story.reconcile():
            story.pass_time(6.0)
        seen.append(frozenset(answers(story)))
    order = [item for index, item in enumerate(seen) if item and item not in seen[:index]]
    assert order == [{"shop-passthrough"}, {"shop-r0001"}], "nothing else ever got a request"
    assert story.states == [State.BOOTSTRAPPING, State.IDLE], "and no cycle began by itself"
    assert story.condition("Ready") == ("True", "Serving")


def test_requests_are_answered_by_the_passthrough_until_the_promoted_pods_are_ready() -> None:
    story = rebuilt(lost_in(State.ROLLING_OUT))
    story.behaviour.serving_ready = False
    story.settle().wait(300)
    assert answers(story) == {"shop-passthrough"}
    assert story.status.state is State.BOOTSTRAPPING
    assert story.has("Deployment", "shop-r0001") and not story.has("Deployment", "shop-r0002")


def test_the_candidate_that_was_lost_comes_back_under_another_number_and_through_the_gate() -> None:
    lost = lost_in(State.ROLLING_OUT).until(lambda it: it.share() > 0)
    story = rebuilt(lost).until(State.IDLE).settle()
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(lambda it: answers(it) > {"shop-r0001"})
    assert story.status.cycle and story.status.cycle.number == 3
    assert story.status.cycle.gate and story.status.cycle.gate.verdict == "Pass"
    assert story.status.cycle.start and story.status.cycle.start.version == "r0001-p02"
    assert answers(story) == {"shop-r0001", "shop-r0003"}


def test_a_namespace_that_was_lost_before_any_promotion_begins_like_a_new_one() -> None:
    lost = Simulator(SPEC).until(lambda it: it.share() > 0)
    assert lost.promoted is None
    story = rebuilt(lost).until(State.PREPARING)
    assert answers(story) == {"shop-passthrough"}
    assert story.status.cycle and story.status.cycle.number == 2, "the lost candidate's directory is not touched"
    assert story.cycle_ends() == "Promoted"
    assert not any("r0001" in write for write in story.writes)
