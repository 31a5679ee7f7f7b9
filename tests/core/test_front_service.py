"""A release behind a Service that consumers call already: the route comes once somebody answers there, and stays."""

from dataclasses import replace

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.world import Deployment
from tests.builders import make_spec, serving, stage_status
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back

FRONT = make_spec(traffic={"service": {"name": "rewrites", "port": 80}})
ROUTE = ("HTTPRoute", "shop-rewrites")
PASSTHROUGH = ("Deployment", "shop-passthrough")


def pods_are_ready(story: Simulator, key: tuple[str, str], ready: int) -> None:
    live = story.children[key]
    assert isinstance(live, Deployment)
    story.children[key] = replace(live, ready=ready)


def started_without_pods() -> Simulator:
    """The passthrough's pods are made, and are not ready."""
    story = Simulator(FRONT)
    story.until(lambda it: PASSTHROUGH in it.children)
    pods_are_ready(story, PASSTHROUGH, 0)
    return story


def test_no_route_takes_the_callers_before_somebody_answers_them() -> None:
    story = started_without_pods().settle()
    assert ROUTE not in story.children
    told = next(item for item in story.status.conditions if item.type == "Ready")
    assert (told.status, told.reason) == ("Unknown", "Preparing")
    assert "the route is made once pods are ready behind it" in told.message
    pods_are_ready(story, PASSTHROUGH, 1)
    story.settle()
    assert ROUTE in story.children
    assert story.condition("Ready") == ("True", "Serving")


def test_behind_a_gateway_nobody_is_called_before_so_nothing_waits() -> None:
    story = Simulator(make_spec())
    story.until(lambda it: PASSTHROUGH in it.children)
    pods_are_ready(story, PASSTHROUGH, 0)
    assert ROUTE in story.settle().children


@pytest.mark.parametrize("ready", [0, 1])
def test_after_a_restore_the_route_waits_for_what_it_would_name(ready: int) -> None:
    status = passed(FRONT).status.model_copy(
        update={
            "state": State.IDLE,
            "cycle": None,
            "stages": [stage_status("finerank", incumbent=serving(1))],
        }
    )
    story = Simulator(FRONT, status)
    story.behaviour.serving_ready = bool(ready)
    story.settle()
    assert story.has("Deployment", "shop-r0001")
    assert (ROUTE in story.children) is bool(ready), "the passthrough is ready, and would not be asked"


def test_a_route_that_is_there_stays_whatever_becomes_of_the_pods() -> None:
    story = Simulator(FRONT).settle()
    assert ROUTE in story.children
    pods_are_ready(story, PASSTHROUGH, 0)
    written = len(story.writes)
    story.settle()
    assert ROUTE in story.children
    assert not [write for write in story.writes[written:] if "HTTPRoute" in write]
    assert story.condition("Ready") == ("False", "NotServing")


def test_a_whole_rollout_goes_as_behind_a_gateway() -> None:
    assert passed(FRONT).cycle_ends() == "Promoted"


def test_and_back_as_well() -> None:
    story = passed(FRONT).until(lambda it: it.share() == 10)
    story.behaviour.candidate_error_rate = 1.0
    rolled_back(story, "LimitCrossed")
    assert story.share() == 0


def test_a_mesh_that_does_not_take_the_route_gets_no_candidate() -> None:
    story = passed(FRONT, gateway_accepts=False).until(State.WITHDRAWING)
    assert story.status.cycle and story.status.cycle.reason == "NotVerified"
    assert "is not accepted by the gateway" in story.status.cycle.message
    assert story.share() == 0
