"""What people change by hand on the release's own objects: put right at once, and never to the candidate's gain."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Deployment, Role, Route
from tests.builders import make_deployment, make_route
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back, with_share

ROUTE = ("HTTPRoute", "shop-rewrites")


def edited(story: Simulator, share: int) -> None:
    """Somebody gives the candidate this share of finerank; observe.py reads it from the rules."""
    live = story.children[ROUTE]
    assert isinstance(live, Route)
    story.children[ROUTE] = replace(live, shares={**live.shares, "finerank": share}, spec_hash="edited by hand")


@pytest.mark.parametrize("share", [11, 50, 100])
def test_a_share_that_was_raised_by_hand_is_taken_back_before_anything_else_is_written(share: int) -> None:
    story = with_share()
    del story.children[("Service", "shop-passthrough")]
    edited(story, share)
    written = len(story.writes)
    story.reconcile()
    assert story.writes[written] == "apply HTTPRoute shop-rewrites", "before the Service, which is missing as well"
    assert story.share() == 10
    assert story.cycle_ends() == "Promoted", "the candidate is not to blame"


@pytest.mark.parametrize("state", [State.DEPLOYING, State.WITHDRAWING, State.IDLE])
def test_a_share_that_was_given_by_hand_where_none_is_due_is_taken_back_at_once(state: State) -> None:
    story = passed(serving_ready=state is not State.DEPLOYING)
    if state is State.WITHDRAWING:
        story.until(State.ROLLING_OUT)
        story.behaviour.candidate_error_rate = 1.0
        story.behaviour.gateway_accepts = None
    story.until(state) if state is not State.DEPLOYING else story.settle()
    edited(story, 40)
    decision = plan(story.world())
    assert decision.urgent_route
    assert not any(item.share for item in decision.status.stages)


def test_a_share_that_was_lowered_by_hand_is_put_back_and_verified_anew() -> None:
    story = with_share()
    edited(story, 0)
    assert not plan(story.world()).urgent_route
    story.settle()
    assert story.share() == 10
    assert story.cycle_ends() == "Promoted"


def scaled(story: Simulator, revision: int, replicas: int) -> None:
    """`kubectl scale deployment shop-rNNNN --replicas=...`: nothing of its annotations changes."""
    key = ("Deployment", f"shop-r{revision:04d}")
    live = story.children[key]
    assert isinstance(live, Deployment)
    story.children[key] = replace(live, replicas=replicas, ready=min(live.ready, replicas))


@pytest.mark.parametrize("state", [State.ROLLING_OUT, State.BAKING, State.PROMOTING])
def test_an_incumbent_that_was_scaled_down_is_up_again_before_a_rollback_can_need_it(state: State) -> None:
    story = passed(record_ends=False).until(state)
    scaled(story, 1, 0)
    written = len(story.writes)
    story.settle()
    assert "apply Deployment shop-r0001" in story.writes[written:]
    story.behaviour.candidate_error_rate = 1.0
    story.behaviour.record_ends = True
    rolled_back(story, "LimitCrossed")
    assert story.condition("Ready") == ("True", "Serving")


def test_what_serves_is_scaled_back_in_idle_too() -> None:
    story = passed()
    assert story.cycle_ends() == "Promoted"
    story.wait(60)
    scaled(story, 2, 0)
    story.settle()
    assert "apply Deployment shop-r0002" in story.writes[-2:]


def test_more_pods_than_wanted_are_left_to_whoever_wants_them() -> None:
    story = passed().until(State.ROLLING_OUT)
    scaled(story, 1, 5)
    assert story.cycle_ends() == "Promoted"
    assert story.writes.count("apply Deployment shop-r0001") == 1


SPEC: dict[str, Any] = {
    "parentRefs": [{"name": "internal"}],
    "rules": [
        {"matches": [{"path": {"value": "/v1/rewrite"}}], "backendRefs": [{"name": "shop-r0001", "weight": 90}]},
        {"matches": [{"path": {"value": "/v1/rewrite"}}], "backendRefs": [{"name": "shop-passthrough", "weight": 1}]},
    ],
}


def other_backend(spec: dict[str, Any]) -> None:
    spec["rules"][0]["backendRefs"][0]["name"] = "shop-r0002"


def incumbent_without_weight(spec: dict[str, Any]) -> None:
    spec["rules"][0]["backendRefs"][0]["weight"] = 0


def other_gateway(spec: dict[str, Any]) -> None:
    spec["parentRefs"][0]["name"] = "public"


def rule_taken_away(spec: dict[str, Any]) -> None:
    spec["rules"].pop()


def rule_in_front(spec: dict[str, Any]) -> None:
    spec["rules"].insert(0, {"backendRefs": [{"name": "shop-r0002"}]})


def added_backend(spec: dict[str, Any]) -> None:
    spec["rules"][1]["backendRefs"].append({"name": "shop-r0002", "weight": 1})


def filter_added(spec: dict[str, Any]) -> None:
    spec["rules"][0]["filters"] = [{"type": "RequestRedirect"}]


def hostname_added(spec: dict[str, Any]) -> None:
    spec["hostnames"] = ["nobody.example"]


def match_narrowed(spec: dict[str, Any]) -> None:
    spec["rules"][1]["matches"][0]["headers"] = [{"name": "x-odd", "value": "1"}]


def copied(spec: Any) -> Any:
    match spec:
        case dict():
            return {key: copied(value) for key, value in spec.items()}
        case list():
            return [copied(item) for item in spec]
        case _:
            return spec


WANT = Want("HTTPRoute", "shop-rewrites", "as written", True, Role.ROUTE, spec=SPEC)
EDITS = [other_backend, incumbent_without_weight, other_gateway, rule_taken_away, rule_in_front, added_backend]
EDITS += [filter_added, hostname_added, match_narrowed]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_edit_of_a_route_that_moves_requests_is_seen(edit: Callable[[dict[str, Any]], None]) -> None:
    live = copied(SPEC)
    edit(live)
    assert first_difference([WANT], [make_route(spec_hash="as written", spec=live)]) is WANT
    assert first_difference([WANT], [make_route(spec_hash="as written", spec=copied(SPEC))]) is None


def test_defaults_that_a_newer_gateway_api_adds_are_no_edit() -> None:
    live = copied(SPEC)
    live["useDefaultGateways"] = "None"
    live["rules"][0]["timeouts"] = {"request": "3s"}
    live["rules"][0]["backendRefs"][0]["group"] = ""
    assert first_difference([WANT], [make_route(spec_hash="as written", spec=live)]) is None


def test_a_deployment_is_compared_by_its_digest_and_by_too_few_replicas() -> None:
    want = Want("Deployment", "shop-r0001", "", True, Role.SERVING, replicas=2)
    assert first_difference([want], [make_deployment(1, replicas=1)]) is want
    assert first_difference([want], [make_deployment(1, replicas=2)]) is None
    assert first_difference([want], [make_deployment(1, replicas=3)]) is None
    assert first_difference([want], [replace(make_deployment(1, replicas=1), deleting=True)]) is None
