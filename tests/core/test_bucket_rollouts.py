"""Rollouts of a release that tells users apart by buckets, where every request has one: to full share, and back."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Route
from tests.builders import make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back, with_share
from tests.data_plane import tells_buckets_apart

STEPS = [stage("finerank", {"setShare": 5}, {"setShare": 25}, {"setShare": 50}, {"setShare": 100})]
GATEWAY: dict[str, Any] = {"gateway": {"name": "internal"}}
ISTIO: dict[str, Any] = {"virtualService": {"hosts": ["rewrites"]}}

each_kind = pytest.mark.parametrize("traffic", [GATEWAY, ISTIO], ids=["HTTPRoute", "VirtualService"])


def spec_of(traffic: dict[str, Any], **assignment: Any) -> RewriterReleaseSpec:
    return make_spec(traffic=traffic | {"assignment": assignment}, **{"rollout.stages": STEPS})


def story_of(traffic: dict[str, Any], share: int = 0, **behaviour: Any) -> Simulator:
    values = behaviour | ({"gateway_accepts": None} if traffic is ISTIO else {})
    return with_share(spec_of(traffic), share, **values) if share else passed(spec_of(traffic), **values)


@each_kind
def test_shares_are_verified_by_the_requests_of_their_buckets_up_to_the_promotion(traffic: dict[str, Any]) -> None:
    story = story_of(traffic)
    for share in (5, 25, 50, 100):
        story.until(lambda it, share=share: it.share() == share)
        assert story.data_plane["finerank"]["shop-r0002"] == share
    assert story.cycle_ends() == "Promoted"


@each_kind
def test_a_candidate_that_fails_for_its_buckets_is_taken_back_for_everybody(traffic: dict[str, Any]) -> None:
    story = story_of(traffic, 25)
    story.behaviour.candidate_error_rate = 1.0
    assert "finerank" in rolled_back(story, "LimitCrossed")
    assert story.data_plane["finerank"].get("shop-r0002", 0) == 0


@each_kind
def test_a_bucket_rule_that_gives_more_by_hand_is_the_first_thing_to_be_written(traffic: dict[str, Any]) -> None:
    story = story_of(traffic, 5)
    key = ("VirtualService" if traffic is ISTIO else "HTTPRoute", "shop-rewrites")
    found = story.children[key]
    assert isinstance(found, Route)
    story.children[key] = replace(found, shares={"finerank": 55}, spec_hash="edited by hand")
    assert plan(story.world()).urgent_route
    story.settle()
    assert story.share() == 5


@each_kind
def test_users_can_be_told_apart_from_the_middle_of_a_rollout_on(traffic: dict[str, Any]) -> None:
    """Nothing of the cycle hangs on it: the route is written anew, and the cycle goes on."""
    silent = {"gateway_accepts": None} if traffic is ISTIO else {}
    story = with_share(make_spec(traffic=traffic, **{"rollout.stages": STEPS}), 25, **silent)
    story.spec = spec_of(traffic)
    story.settle()
    route = story.world().route
    assert route is not None and route.spec is not None and tells_buckets_apart(route.spec)
    assert story.cycle_ends() == "Promoted"
    assert story.status.history[0].number == 2, "the cycle that ran, and no other"
