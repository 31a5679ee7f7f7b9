"""Serving pods that nothing routes to any more are kept for their drain time, and not until somebody looks again."""

from rewriter_operator.core.children import DRAIN_SECONDS
from rewriter_operator.core.plan import IDLE_SECONDS, plan
from rewriter_operator.core.world import World
from tests.builders import NOW, make_deployment, make_route, make_spec, make_status, make_world, serving, stage_status


def world_with(*revisions: int, draining_since: float = 0.0) -> World:
    """A release that rests and whose stages r0002 serves, with the pods of these revisions."""
    spec = make_spec()
    stages = [stage_status(stage.name, incumbent=serving(2)) for stage in spec.rollout.stages]
    status = make_status(spec, stages=stages, draining_since=draining_since)
    pods = tuple(make_deployment(revision) for revision in (-1, *revisions))
    return make_world(spec, status, children=(*pods, make_route()))


def test_the_next_look_is_when_the_superfluous_pods_may_go() -> None:
    assert plan(world_with(1, 2, draining_since=NOW - 10)).wait_seconds == DRAIN_SECONDS - 10


def test_pods_that_have_just_become_superfluous_are_looked_at_after_their_drain_time() -> None:
    decision = plan(world_with(1, 2))
    assert decision.status.draining_since == NOW
    assert decision.wait_seconds == DRAIN_SECONDS


def test_what_may_go_already_and_waits_for_the_gateway_is_left_to_its_event() -> None:
    assert plan(world_with(1, 2, draining_since=NOW - DRAIN_SECONDS)).wait_seconds == IDLE_SECONDS


def test_a_release_without_superfluous_pods_is_looked_at_as_seldom_as_before() -> None:
    assert plan(world_with(2)).wait_seconds == IDLE_SECONDS
