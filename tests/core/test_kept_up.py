"""spec.serving.scaleDownDelay: what was replaced stays up for a while, so that the way back loads no model."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Replaced
from rewriter_operator.cli.tree import lines, tree
from rewriter_operator.core import kept_up, retention
from rewriter_operator.core.children import DRAIN_SECONDS, route, servings
from rewriter_operator.core.cycle import ROLLBACK_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.plan import IDLE_SECONDS, plan
from rewriter_operator.core.world import Deployment, Pod, Revision, Role
from tests.builders import (
    NOW,
    evidence,
    make_cycle,
    make_deployment,
    make_route,
    make_spec,
    make_status,
    make_world,
    serving,
    stage,
    stage_status,
)
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed

TEN_MINUTES = 600
OLD, NEW = ("Deployment", "shop-r0001"), ("Deployment", "shop-r0002")


def kept_for(delay: str = "10m", **changes: Any) -> RewriterReleaseSpec:
    return make_spec(**{"serving.scaleDownDelay": delay, "serving.replicas": 2, **changes})


def promoted(spec: RewriterReleaseSpec | None = None) -> Simulator:
    """r0002 has just taken the place of r0001."""
    story = passed(spec or kept_for())
    story.children[("RewriterRevision", "shop-r0001")] = Revision(
        "RewriterRevision", "shop-r0001", "uid-r0001", Role.REVISION, 1, 0, ""
    )
    assert story.cycle_ends() == "Promoted"
    return story.settle()


def runs_again(story: Simulator) -> Simulator:
    story.annotations[RUN_ANNOTATION] = f"run-{story.status.last_cycle_number}"
    assert story.cycle_ends() == "Promoted"
    return story.settle()


def goes_back(story: Simulator, to: str) -> Simulator:
    story.annotations[ROLLBACK_ANNOTATION] = to
    return story


def told(story: Simulator, reason: str) -> list[str]:
    return [note.message for note in story.notes if note.reason == reason]


def kept(story: Simulator) -> list[int]:
    return [item.revision for item in story.status.replaced.revisions] if story.status.replaced else []


def test_what_was_replaced_stays_for_the_delay_and_goes_when_it_has_drained() -> None:
    story = promoted()
    story.wait(TEN_MINUTES - 10)
    found = story.children[OLD]
    assert isinstance(found, Deployment) and (found.replicas, found.ready) == (2, 2), "all of them, for all requests"
    assert story.has("PodDisruptionBudget", "shop-r0001")
    story.wait(20)
    assert story.has(*OLD) and kept(story) == []
    story.wait(DRAIN_SECONDS + 10)
    assert not any(story.has(kind, "shop-r0001") for kind in ("Deployment", "Service", "PodDisruptionBudget"))
    assert story.has(*NEW)


def test_without_a_delay_it_goes_when_it_has_drained_as_before() -> None:
    story = promoted(make_spec())
    assert story.status.replaced is None and "replaced" not in story.status.to_api()
    story.wait(DRAIN_SECONDS + 10)
    assert not story.has(*OLD)


def test_a_rollback_to_what_is_kept_switches_at_once_and_loads_nothing() -> None:
    story = promoted()
    story.wait(300)
    story.behaviour.serving_ready = False  # a pod that is made now does not come up
    began, written = story.now, len(story.writes)
    goes_back(story, "r0001").until(lambda it: it.status.serves == "r0001")
    story.settle()
    assert story.now == began, "no second went by"
    assert story.data_plane["finerank"]["shop-r0001"] == 100
    assert not [write for write in story.writes[written:] if "Deployment" in write]
    assert told(story, "ReplacedReleased") == [], "it is kept until it serves"


def test_without_a_delay_a_rollback_waits_for_pods() -> None:
    story = promoted(make_spec())
    story.wait(300)
    began = story.now
    story.behaviour.serving_ready = False
    goes_back(story, "r0001").wait(120)
    assert story.status.serves == "r0002" and story.now > began


def test_what_a_rollback_has_left_is_kept_as_well_so_that_the_way_forward_is_as_short() -> None:
    story = goes_back(promoted(), "r0001").until(State.RETURNING).until(State.IDLE).settle()
    assert kept(story) == [2]
    story.behaviour.serving_ready = False
    began = story.now
    goes_back(story, "r0002/it was the search").until(lambda it: it.status.serves == "r0002")
    assert story.now == began
    story.until(State.IDLE).wait(TEN_MINUTES + DRAIN_SECONDS + 60)
    assert story.has(*NEW) and not story.has(*OLD)


def test_its_time_counts_from_when_it_was_replaced_whatever_happens_meanwhile() -> None:
    story = promoted()
    story.pass_time(TEN_MINUTES + 100)  # nobody looked
    story.settle()
    assert kept(story) == [] and story.has(*OLD)
    story.wait(DRAIN_SECONDS + 5)
    assert not story.has(*OLD)


def test_a_new_candidates_pods_come_first() -> None:
    story = promoted(kept_for("12h"))
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(State.TRAINING)
    assert kept(story) == [1], "training does not need what serves"
    story.until(State.DEPLOYING)
    assert kept(story) == []
    assert told(story, "ReplacedReleased") == [
        "pods of r0001 are no longer kept: a new candidate's pods come up and may need their room"
    ]
    assert story.cycle_ends() == "Promoted"
    assert kept(story) == [2]


def test_a_candidate_that_is_taken_back_is_not_kept() -> None:
    story = promoted(kept_for("12h"))
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(lambda it: it.share() == 10)
    story.behaviour.candidate_error_rate = 0.5
    assert story.cycle_ends() == "RolledBack"
    assert story.status.replaced is None
    story.wait(DRAIN_SECONDS + 10)
    assert not story.has("Deployment", "shop-r0003") and story.has(*NEW)


def test_a_candidate_that_the_gate_refused_costs_nothing_of_it() -> None:
    story = promoted(kept_for("12h"))
    story.behaviour.evidence = evidence(gain=-0.5)
    story.annotations[RUN_ANNOTATION] = "again"
    assert story.cycle_ends() == "Rejected"
    assert kept(story.settle()) == [1] and story.has(*OLD)


def test_an_older_revision_that_is_brought_back_comes_first() -> None:
    story = runs_again(promoted(kept_for("12h")))
    assert kept(story) == [2]
    story.behaviour.serving_ready = False
    story.wait(60)
    assert not story.has(*OLD)
    goes_back(story, "r0001").until(State.RETURNING)
    assert kept(story) == []
    assert "pods of r0001 come up and may need their room" in told(story, "ReplacedReleased")[-1]


@pytest.mark.parametrize(
    "trouble, why",
    [
        ("Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "finds no node"),
        ("SchedulingGated: Scheduling is blocked due to non-empty scheduling gates", "finds no node"),
        ("ImagePullBackOff: no such image", ""),
    ],
)
def test_a_pod_that_finds_no_node_comes_first(trouble: str, why: str) -> None:
    story = promoted(kept_for("12h"))
    story.annotations[RUN_ANNOTATION] = "again"
    story.until(lambda it: it.has("Pod", "shop-c0003-trainer-0"))
    pod = story.children[("Pod", "shop-c0003-trainer-0")]
    waiting = replace(pod, phase="Pending", ready=False, message=trouble, created_at=story.now)  # type: ignore[call-arg]
    story.children[("Pod", "shop-c0003-trainer-0")] = waiting
    story.settle()
    assert kept(story) == [1], "a node may be on its way"
    story.wait(90)
    assert kept(story) == ([] if why else [1])
    assert [why in message for message in told(story, "ReplacedReleased")] == ([True] if why else [])


def a_full_quota(story: Simulator) -> Any:
    return replace(story.world(), refusal="Pod shop-c0003-trainer-0: exceeded quota: gpus, requested: 1, used: 4")


def a_deployment_over_quota(story: Simulator) -> Any:
    found = story.children[NEW]
    told_by = replace(found, message="FailedCreate: exceeded quota: gpus")  # type: ignore[call-arg]
    return replace(story.world(), children=(*(c for c in story.children.values() if c is not found), told_by))


@pytest.mark.parametrize("full", [a_full_quota, a_deployment_over_quota])
def test_a_quota_that_is_used_up_ends_it(full: Callable[[Simulator], Any]) -> None:
    story = promoted(kept_for("12h"))
    assert plan(story.world()).status.replaced is not None
    assert plan(full(story)).status.replaced is None


@pytest.mark.parametrize("trouble", ["Internal error occurred: failed calling webhook", "violates PodSecurity"])
def test_a_deployment_without_pods_for_another_reason_is_helped_by_no_room(trouble: str) -> None:
    story = promoted(kept_for("12h"))
    found = story.children[NEW]
    story.children[NEW] = replace(found, message=f"FailedCreate: {trouble}")  # type: ignore[call-arg]
    assert plan(story.world()).status.replaced is not None


def test_a_delay_that_is_taken_back_ends_it_and_another_one_moves_its_end() -> None:
    story = promoted()
    story.spec = kept_for("12h")
    story.wait(TEN_MINUTES + 60)
    assert kept(story) == [1]
    story.spec = kept_for("0s")
    story.settle()
    assert kept(story) == []
    assert told(story, "ReplacedReleased") == [
        "pods of r0001 are no longer kept: spec.serving has scaleDownDelay 0s and capacity.mode Surge"
    ]
    story.spec = kept_for("12h")
    story.wait(DRAIN_SECONDS + 10)
    assert not story.has(*OLD), "what was let go is not made again"


def test_every_incumbent_that_the_stages_had_is_kept() -> None:
    spec = kept_for(**{"rollout.stages": [stage(name, {"setShare": 100}) for name in ("finerank", "recall")]})
    stages = [stage_status("finerank", incumbent=serving(3)), stage_status("recall", incumbent=serving(2))]
    cycle = make_cycle(spec, 5, candidate=serving(5))
    story = Simulator(spec, make_status(spec, state=State.BAKING, cycle=cycle, stages=stages))
    done = story.world()
    promoted_now = make_status(spec, stages=[stage_status(item.name, incumbent=serving(5)) for item in stages])
    after = kept_up.settled(done, promoted_now)
    assert after.status.replaced == Replaced(revisions=[serving(3), serving(2)], since=NOW)
    assert after.notes[0].message.startswith("pods of r0003 and r0002 are kept until ")


def test_the_operator_looks_again_when_the_time_is_over() -> None:
    spec, stages = kept_for(), [stage_status(incumbent=serving(2))]
    pods = tuple(make_deployment(revision, ready=2, replicas=2) for revision in (-1, 1, 2))

    def waits(since: float) -> float:
        status = make_status(spec, stages=stages, replaced=Replaced(revisions=[serving(1)], since=since))
        return plan(make_world(spec, status, children=(*pods, make_route()))).wait_seconds

    assert waits(NOW - TEN_MINUTES + 7) == 7
    assert waits(NOW) == IDLE_SECONDS
    assert waits(NOW - TEN_MINUTES) == DRAIN_SECONDS


def test_the_gateway_knows_what_is_kept_also_while_something_else_drains() -> None:
    spec, stages = kept_for(), [stage_status(incumbent=serving(2))]
    replaced = Replaced(revisions=[serving(1)], since=NOW - 100)
    status = make_status(spec, stages=stages, replaced=replaced, draining_since=NOW - 2 * DRAIN_SECONDS)
    world = make_world(spec, status, children=(make_deployment(1), make_deployment(2), make_deployment(4)))
    assert route(world).idle == (-1, 1, 2), "r0004 has drained"
    assert sorted(servings(world)) == [1, 2]


def test_weights_and_revision_of_what_is_kept_are_not_collected() -> None:
    spec = kept_for(**{"retention.weights": 1})
    values: dict[str, Any] = {
        "state": State.PREPARING,
        "cycle": make_cycle(spec, 9),
        "stages": [stage_status(incumbent=serving(8))],
        "promoted": [serving(number) for number in (8, 7, 6, 5)],
    }
    pod = Pod("Pod", "shop-r0005-0", "uid", Role.SERVING, 5, 0, "", phase="Running")
    status = make_status(spec, **values, replaced=Replaced(revisions=[serving(5)], since=NOW))
    world = make_world(spec, status, children=(pod,))
    decided = retention.ordered(world).retention
    assert decided is not None and decided.kept == ["r0005-p02", "r0007-p02", "r0008-p02"]
    assert 5 in retention.kept_revisions(world)
    assert 5 not in retention.kept_revisions(make_world(spec, make_status(spec, **values)))


def test_people_see_how_long_it_is_kept() -> None:
    story = promoted()
    assert story.status.replaced is not None
    ends = rfc3339(story.status.replaced.since + TEN_MINUTES)
    story.wait(120)
    assert story.status.message.endswith(f"; pods of r0001 are kept until {ends}")
    (note,) = told(story, "ReplacedKept")
    assert note == (
        f"pods of r0001 are kept until {ends} (spec.serving.scaleDownDelay 10m): "
        "r0001 can be rolled back to without loading a model"
    )
    shown = list(lines(tree(story.world())))
    assert any(f"pods of r0001 are kept until {ends}: kubectl rewriter rollback-to shop REVISION" in it for it in shown)
    story.wait(TEN_MINUTES)
    assert "are kept" not in story.status.message
    assert told(story, "ReplacedReleased") == [
        "pods of r0001 are no longer kept: spec.serving.scaleDownDelay 10m is over"
    ]


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_a_crash_before_any_status_write_keeps_the_same(lost: int) -> None:
    story = passed(kept_for()).until(State.PROMOTING)
    story.lose_status_writes = lost
    story.until(State.IDLE).settle()
    assert kept(story) == [1]
