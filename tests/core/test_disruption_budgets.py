"""Which revisions have a disruption budget, for how long, and what becomes of one that somebody edits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.world import Budget, Role
from tests.builders import make_spec
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, with_share

SEVERAL = make_spec(**{"serving.replicas": 2})
KIND = "PodDisruptionBudget"


def budgets(story: Simulator) -> set[str]:
    return {name for kind, name in story.children if kind == KIND}


def test_incumbent_and_candidate_have_one_each_for_as_long_as_requests_may_reach_them() -> None:
    story = passed(SEVERAL, serving_ready=False).settle()
    assert budgets(story) == {"shop-r0001", "shop-r0002"}, "not the passthrough, which is one pod"
    story = with_share(SEVERAL)
    assert story.cycle_ends() == "Promoted"
    assert budgets(story) == {"shop-r0001", "shop-r0002"}, "requests of the incumbent of before are under way"
    story.wait(120)
    assert budgets(story) == {"shop-r0002"}
    assert not story.has("Deployment", "shop-r0001")


def test_a_candidate_that_is_taken_back_keeps_its_own_until_its_pods_go() -> None:
    story = with_share(SEVERAL)
    story.behaviour.candidate_error_rate = 1.0
    story.behaviour.gateway_accepts = None
    story.until(State.WITHDRAWING).wait(120)
    assert budgets(story) == {"shop-r0001", "shop-r0002"}, "nobody has said that no request reaches it"
    story.behaviour.gateway_accepts = True
    story.gateway_answers()
    story.cycle_ends()
    story.wait(120)
    assert budgets(story) == {"shop-r0001"}


def test_what_drains_is_over_only_when_the_budget_has_gone_too() -> None:
    story = with_share(SEVERAL)
    story.cycle_ends()
    gone = story.wait(120).writes
    assert [write for write in gone if write.startswith("delete") and write.endswith("shop-r0001")] == [
        "delete Deployment shop-r0001",
        "delete Service shop-r0001",
        "delete PodDisruptionBudget shop-r0001",
    ]
    assert story.status.draining_since == 0


def test_pods_that_become_one_lose_the_budget_at_once_and_nothing_else() -> None:
    story = with_share(SEVERAL)
    story.cycle_ends()
    written = len(story.wait(120).writes)
    story.spec = make_spec(**{"serving.replicas": 1})
    story.settle()
    told = [write for write in story.writes[written:] if not write.startswith("status")]
    assert told == ["apply Deployment shop-r0002", "delete PodDisruptionBudget shop-r0002"]
    assert story.status.state is State.IDLE, "no cycle hangs on it"


def test_a_release_from_before_there_were_budgets_is_given_one_and_nothing_more() -> None:
    story = with_share(SEVERAL)
    story.cycle_ends()
    story.wait(120)
    del story.children[(KIND, "shop-r0002")]
    written = len(story.writes)
    story.wait(300)
    assert story.writes[written:] == ["apply PodDisruptionBudget shop-r0002"]


def test_an_idle_release_is_left_alone() -> None:
    story = with_share(SEVERAL)
    story.cycle_ends()
    written = len(story.wait(120).writes)
    story.wait(3600)
    assert story.writes[written:] == []


LABELS = {"rewriter.dev/release": "shop", "rewriter.dev/cycle": "2"}
SPEC = {
    "maxUnavailable": 1,
    "minAvailable": None,
    "selector": {"matchLabels": LABELS},
    "unhealthyPodEvictionPolicy": "AlwaysAllow",
}
STORED = {key: value for key, value in SPEC.items() if value is not None}
WANT = Want(KIND, "shop-r0002", "as written", True, Role.SERVING, spec=SPEC)


def found(spec: Mapping[str, Any]) -> Budget:
    return Budget(KIND, "shop-r0002", "uid", Role.SERVING, 2, 0, "as written", spec=spec)


@pytest.mark.parametrize(
    "edit",
    [
        {"maxUnavailable": 0},
        {"maxUnavailable": "50%"},
        {"maxUnavailable": None, "minAvailable": 2},
        {"unhealthyPodEvictionPolicy": "IfHealthyBudget"},
        {"selector": {"matchLabels": LABELS | {"team": "other"}}},
        {"selector": {}},
    ],
    ids=str,
)
def test_every_edit_of_what_a_drain_may_take_is_put_right(edit: dict[str, Any]) -> None:
    live = {key: value for key, value in (STORED | edit).items() if value is not None}
    assert first_difference([WANT], [found(live)]) is WANT
    assert first_difference([WANT], [replace(found(live), deleting=True)]) is None


def test_what_the_api_server_stores_of_it_is_no_difference() -> None:
    assert first_difference([WANT], [found(STORED)]) is None
    assert first_difference([WANT], [found(STORED | {"addedLater": "Always"})]) is None
