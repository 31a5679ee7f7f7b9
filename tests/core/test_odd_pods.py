"""Whatever pods tell: plan() answers, and what makes no sense promotes nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from rewriter_contract import wire
from rewriter_contract.messages import (
    LoadState,
    PrepareResult,
    PromotionRecord,
    ServingStats,
    ShardRef,
    StageCounters,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Phase, PhaseStep, RewriterReleaseStatus, Shadow
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Pod, Role, World
from tests.builders import (
    NOW,
    digest_of,
    make_cycle,
    make_deployment,
    make_route,
    make_spec,
    make_status,
    make_world,
    serving,
    stage,
    stage_status,
    weights,
    weights_ref,
)
from tests.core.simulator import Behaviour, Simulator, healthy_prepare
from tests.core.test_rollout import PASSED, passed, rolled_back

SPEC = make_spec()
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

NUMBERS = some.one_of(some.integers(-5, 200), some.sampled_from([-1, 2**63, 10**300, 10**4000]))
TEXTS = some.one_of(some.text(max_size=8), some.sampled_from(["", "r0002", "r0001", "x" * 5000, "\\ud800", "boot-0"]))
BOUNDS = some.one_of(some.sampled_from(["50", "1000", "+Inf", "nan", "inf", "-1", "1e999", "fast"]), TEXTS)
HISTOGRAMS = some.one_of(
    some.dictionaries(BOUNDS, NUMBERS, max_size=6),
    some.integers(20, 60).map(lambda size: {str(bound): 5 for bound in range(size)}),
)
COUNTERS = some.builds(
    StageCounters, requests=NUMBERS, errors=NUMBERS, empty=NUMBERS, timeouts=NUMBERS, latency_ms=HISTOGRAMS
)
STATS = some.builds(
    ServingStats,
    boot_id=TEXTS,
    revision=TEXTS,
    state=some.sampled_from(LoadState),
    weights=some.none(),
    stages=some.dictionaries(some.sampled_from(["finerank", "recall"]), COUNTERS),
    message=TEXTS,
    shadowed=some.dictionaries(some.sampled_from(["finerank", "recall"]), COUNTERS),
)
FLOATS = some.floats(allow_nan=False, allow_infinity=False)
REPORTS = some.builds(
    WorkReport,
    state=some.sampled_from(WorkState),
    done=NUMBERS,
    total=NUMBERS,
    message=TEXTS,
    metrics=some.dictionaries(TEXTS, FLOATS, max_size=60),
    heartbeat_at=FLOATS,
    shard=some.one_of(some.none(), some.builds(ShardRef, path=TEXTS, rows=NUMBERS, sha256=TEXTS)),
    weights=some.one_of(some.none(), some.builds(WeightsRef, version=TEXTS, digest=TEXTS)),
)
JSON = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=5)),
    lambda inner: some.one_of(some.lists(inner, max_size=3), some.dictionaries(some.text(max_size=5), inner)),
    max_leaves=10,
)


def pod(revision: int, index: int = 0) -> Pod:
    name = f"shop-r{revision:04d}-{index}"
    return Pod("Pod", name, f"uid-{name}", Role.SERVING, revision, 0, "", phase="Running", ready=True, ip="10.0.0.2")


def with_traffic(state: State, told: dict[str, ServingStats]) -> World:
    """r0002 has all of finerank's requests, and everything but the counters says yes."""
    stage = stage_status(incumbent=serving(1), share=100, share_at=NOW - 60, counting_since=NOW - 50, step=2)
    cycle = make_cycle(SPEC, 2, candidate=serving(2), compared_with=serving(1), gate=PASSED, since=NOW - 40)
    record = Pod("Pod", "shop-c0002-record-1", "uid-record", Role.RECORD, 2, 1, "", phase="Succeeded", exit_code=0)
    return make_world(
        SPEC,
        make_status(SPEC, state=state, cycle=cycle, stages=[stage], last_cycle_number=2),
        children=(make_route({"finerank": 100}), make_deployment(1), make_deployment(2), pod(1), pod(2), record),
        stats=told,
    )


def settled(world: World) -> RewriterReleaseStatus:
    """The status that plan() comes to, as the API server would store it."""
    for _ in range(4):
        status = plan(world).status
        json.dumps(status.to_api(), allow_nan=False)
        world = replace(world, release=replace(world.release, status=status))
    return status


@QUICK
@given(state=some.sampled_from([State.ROLLING_OUT, State.BAKING, State.PROMOTING]), candidate=STATS, incumbent=STATS)
def test_whatever_serving_pods_tell_nothing_is_promoted_by_it(
    state: State, candidate: ServingStats, incumbent: ServingStats
) -> None:
    status = settled(with_traffic(state, {"shop-r0002-0": candidate, "shop-r0001-0": incumbent}))
    believable = all(0 < len(item.boot_id) <= 64 for item in (candidate, incumbent))
    believable &= (candidate.revision, incumbent.revision) == ("r0002", "r0001")
    assert status.state in (state, State.WITHDRAWING) or believable


@QUICK
@given(candidate=STATS, incumbent=STATS)
def test_whatever_serving_pods_tell_of_copies_no_share_follows_from_it(
    candidate: ServingStats, incumbent: ServingStats
) -> None:
    """The shadow's time is over, the route mirrors, and everything but the counters says yes."""
    steps = ({"shadow": {"percent": 20, "duration": "1m"}}, {"setShare": 100})
    spec = make_spec(**{"rollout.stages": [stage("finerank", *steps)]})
    shadow = Shadow(percent=20, counting_since=NOW - 90)
    row = stage_status(incumbent=serving(1), step_at=NOW - 100, shadow=shadow)
    cycle = make_cycle(spec, 2, candidate=serving(2), compared_with=serving(1), gate=PASSED, since=NOW - 120)
    world = make_world(
        spec,
        make_status(spec, state=State.ROLLING_OUT, cycle=cycle, stages=[row], last_cycle_number=2),
        children=(make_route(mirrors={"finerank": 20}), make_deployment(1), make_deployment(2), pod(1), pod(2)),
        stats={"shop-r0002-0": candidate, "shop-r0001-0": incumbent},
    )
    status = settled(world)
    copies = candidate.shadowed.get("finerank", StageCounters())
    believable = all(0 < len(item.boot_id) <= 64 for item in (candidate, incumbent))
    believable &= (candidate.revision, incumbent.revision) == ("r0002", "r0001") and copies.requests >= 20
    assert status.stages[0].share == 0 and (status.stages[0].step == 0 or believable)


@QUICK
@given(text=JSON.map(json.dumps))
@example(text="[" * 50_000)
@example(text='{"bootId": "b", "revision": "r0002", "state": "Ready", "stages": {"finerank": {"requests": 1e400}}}')
def test_any_json_is_either_read_or_refused(text: str) -> None:
    for kind in (ServingStats, WorkReport, PrepareResult):
        try:
            wire.loads(kind, text)
        except wire.WireError:
            continue


def in_phase(step: PhaseStep, path: str, report: WorkReport) -> World:
    phase = Phase(number=1, step=step, weights=weights("base-0123456789ab"), started_at=NOW - 60, since=NOW - 50)
    cycle = make_cycle(SPEC, 2, phase=phase)
    return make_world(SPEC, make_status(SPEC, state=State.TRAINING, cycle=cycle), works={path: report})


@QUICK
@given(report=REPORTS)
def test_whatever_work_is_reported_the_phase_goes_on_or_ends(report: WorkReport) -> None:
    for step, path in ((PhaseStep.SAMPLING, "/v1/samples/2/1/0"), (PhaseStep.TRAINING, "/v1/phases/2/1")):
        assert settled(in_phase(step, path, report)).state in (State.TRAINING, State.IDLE)


REFS = some.builds(WeightsRef, version=TEXTS, digest=some.one_of(TEXTS, some.just(digest_of("a"))))
PREPARED = some.builds(
    PrepareResult,
    base=some.one_of(some.none(), REFS),
    data_digests=some.one_of(some.just(healthy_prepare().data_digests), some.dictionaries(TEXTS, TEXTS)),
    relevance_model=TEXTS,
    last_cycle=NUMBERS,
    promoted=some.one_of(
        some.none(),
        some.builds(
            PromotionRecord,
            release=TEXTS,
            revision=NUMBERS,
            stages=some.dictionaries(some.sampled_from(["finerank", "recall"]), REFS),
            recipe=some.sampled_from(["", "{}", "not json", '{"template": 5}']),
        ),
    ),
)


@QUICK
@given(answer=PREPARED)
def test_whatever_a_prepare_pod_answers_the_release_goes_on_or_says_why_not(answer: PrepareResult) -> None:
    story = Simulator(SPEC, behaviour=Behaviour(prepare=answer))
    for _ in range(12):
        story.reconcile()
    assert story.status.state in (State.BOOTSTRAPPING, State.IDLE, State.PREPARING, State.TRAINING)


def test_a_relevance_model_with_an_endless_name_is_refused_with_its_length() -> None:
    story = Simulator(SPEC, behaviour=Behaviour(prepare=replace(healthy_prepare(), relevance_model="m" * 300)))
    story.settle()
    assert story.condition("Accepted") == ("False", "PrepareFailed")
    assert "300 characters, at most 256" in story.status.message


@pytest.mark.parametrize("name", ["", " "])
def test_a_prepare_pod_that_names_no_relevance_model_starts_no_cycle(name: str) -> None:
    story = Simulator(SPEC, behaviour=Behaviour(prepare=replace(healthy_prepare(), relevance_model=name)))
    story.settle()
    assert story.condition("Accepted") == ("False", "PrepareFailed")
    assert "names no relevance model" in story.status.message and "spec.training.trainer.image" in story.status.message


def odd(story: Simulator, name: str, **changes: Any) -> None:
    """The pod of r0002 tells something odd about finerank, once and for all."""
    counters = story.servers[name].stages.get("finerank", StageCounters())
    story.behaviour.odd_counters = {name: replace(counters, **changes)}


ODD: list[Any] = [
    pytest.param({"latency_ms": {str(bound): 1 for bound in range(1, 41)}}, "40 bounds", id="too-many-bounds"),
    pytest.param({"latency_ms": {"fast": 1, "+Inf": 1}}, "'fast'", id="a-bound-that-is-no-number"),
    pytest.param({"latency_ms": {"50": 9, "+Inf": 1}}, "not cumulative", id="not-cumulative"),
    pytest.param({"requests": -4}, "negative or beyond reason", id="negative"),
    pytest.param({"requests": 10**40}, "negative or beyond reason", id="beyond-reason"),
]


@pytest.mark.parametrize("changes, says", ODD)
def test_counters_that_make_no_sense_are_unknown_and_rolled_back_at_the_deadline(
    changes: dict[str, Any], says: str
) -> None:
    story = passed().until(State.BAKING)
    odd(story, "shop-r0002-0", **changes)
    assert says in rolled_back(story, "NotVerified")


def test_counters_that_go_backwards_without_a_restart_are_unknown() -> None:
    story = passed().until(State.BAKING)
    odd(story, "shop-r0001-0", requests=1, latency_ms={"50": 1, "+Inf": 1})
    assert "went backwards" in rolled_back(story, "NotVerified")


def test_a_pod_that_says_it_is_another_revision_hides_nothing() -> None:
    story = passed().until(State.BAKING)
    story.servers["shop-r0002-0"].revision = "r0001"
    assert "its Deployment is r0002" in rolled_back(story, "NotVerified")


def test_a_pod_whose_numbers_cannot_be_used_does_not_excuse_the_others() -> None:
    story = passed(make_spec(**{"serving.replicas": 2, "rollout.bake": "10m"})).until(State.BAKING)
    odd(story, "shop-r0002-0", requests=-1)
    story.behaviour.candidate_error_rate = 0.5
    rolled_back(story, "LimitCrossed")


def test_more_serving_pods_than_the_baseline_once_held_are_no_trouble() -> None:
    pods = tuple(pod(revision, index) for revision in (1, 2) for index in range(300))
    stage = stage_status(incumbent=serving(1), share=10, share_at=NOW - 60, step_at=NOW - 60)
    cycle = make_cycle(SPEC, 2, candidate=serving(2), gate=PASSED)
    told = {
        item.name: ServingStats(f"boot-{item.name}", f"r{item.cycle:04d}", LoadState.READY, weights_ref(), {})
        for item in pods
    }
    counted = {
        name: replace(item, stages={"finerank": StageCounters(5, 0, 0, 0, {"50": 5, "+Inf": 5})})
        for name, item in told.items()
    }
    world = make_world(
        SPEC,
        make_status(SPEC, state=State.ROLLING_OUT, cycle=cycle, stages=[stage]),
        children=(make_route({"finerank": 10}), make_deployment(1), make_deployment(2), *pods),
        stats=counted,
    )
    assert len(plan(world).status.stages[0].baseline) == 600
    idle = plan(replace(world, stats=told)).status.stages[0]
    assert (idle.baseline, idle.counting_since) == ([], NOW)
