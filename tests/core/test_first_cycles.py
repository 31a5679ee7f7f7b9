"""Whole stories from a new release to its first promotions, and what may go wrong before any request is touched."""

from dataclasses import replace

import pytest

from rewriter_contract.messages import PrepareResult, Problem, PromotionRecord
from rewriter_operator.api.states import State
from rewriter_operator.core.cycle import RUN_ANNOTATION
from rewriter_operator.core.world import Claim
from tests.builders import evidence, make_spec, make_status, serving, stage_status, weights_ref
from tests.core.simulator import Behaviour, Simulator, healthy_prepare

FIRST_PROMOTION = [
    State.BOOTSTRAPPING,
    State.IDLE,
    State.PREPARING,
    State.TRAINING,
    State.GATING,
    State.DEPLOYING,
    State.ROLLING_OUT,
    State.BAKING,
    State.PROMOTING,
    State.IDLE,
]


def test_the_first_cycle_is_promoted_and_the_second_starts_from_its_weights() -> None:
    story = Simulator(make_spec())
    assert story.cycle_ends() == "Promoted"
    assert story.states == FIRST_PROMOTION
    assert story.status.serves == "r0001"
    assert story.settle().condition("Ready") == ("True", "Serving")

    story.annotations[RUN_ANNOTATION] = "again"
    story.until(State.TRAINING)
    assert story.status.cycle and story.status.cycle.start
    assert story.status.cycle.start.version == "r0001-p02"
    assert story.cycle_ends() == "Promoted"
    assert story.status.serves == "r0002"

    story.settle()
    assert story.has("Deployment", "shop-r0001"), "requests under way are answered to their end"
    story.wait(60)
    assert not story.has("Deployment", "shop-r0001")
    assert not story.has("Service", "shop-r0001")
    assert story.has("RewriterRevision", "shop-r0001")
    route_moved = max(index for index, write in enumerate(story.writes) if write == "apply HTTPRoute shop-rewrites")
    assert story.writes.index("delete Deployment shop-r0001") > route_moved


@pytest.mark.parametrize(
    "effects, reason",
    [
        pytest.param({"gold_gain": -0.3}, "GateFailed", id="reward-up-and-gold-down"),
        pytest.param({"queries": 10}, "GateInconclusive", id="too-few-queries"),
    ],
)
def test_a_candidate_that_the_gate_does_not_pass_never_gets_a_share(effects: dict[str, float], reason: str) -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(evidence=evidence(**effects)))  # type: ignore[arg-type]
    assert story.cycle_ends() == "Rejected"
    assert story.status.history[0].reason == reason
    story.wait(60)
    assert not set(story.states) & {State.DEPLOYING, State.ROLLING_OUT}
    assert not story.has("Deployment", "shop-r0001")
    assert story.has("RewriterRevision", "shop-r0001"), "the evidence is kept"
    assert story.condition("GatePassed")[0] in ("False", "Unknown")
    assert story.status.serves == "passthrough"


def test_what_prepare_finds_is_shown_and_mends_itself() -> None:
    missing = Problem("DataFileMissing", "spec.data.train: data/train.jsonl is not on the volume; put it there")
    story = Simulator(make_spec(), behaviour=Behaviour(prepare=PrepareResult(problems=(missing,))))
    story.settle().wait(60)
    assert story.condition("Accepted") == ("False", "DataFileMissing")
    assert story.condition("Stalled") == ("True", "DataFileMissing")
    assert story.status.message == missing.message
    assert not any("trainer" in write or "sampler" in write for write in story.writes)

    story.behaviour.prepare = healthy_prepare()
    story.until(State.TRAINING, limit=60)
    assert story.condition("Accepted") == ("True", "Accepted")


def test_a_missing_claim_starts_no_pod_and_is_waited_for() -> None:
    story = Simulator(make_spec())
    story.claim = None
    story.settle().wait(30)
    assert story.condition("Accepted") == ("False", "ClaimMissing")
    assert "spec.volume.claimName" in story.status.message
    assert not any("prepare" in write for write in story.writes)

    story.claim = Claim("Bound", ("ReadWriteOnce",))
    story.settle()
    assert story.condition("Accepted") == ("False", "ClaimNotReadWriteMany")

    story.claim = Claim("Bound", ("ReadWriteMany",))
    story.reconcile()
    assert story.condition("Accepted") == ("Unknown", "Preparing"), "the pod that looks at the volume has not answered"
    assert story.condition("Stalled")[0] == "False"
    story.until(State.TRAINING, limit=30)
    assert story.condition("Accepted") == ("True", "Accepted")


def test_a_prepare_answer_without_a_base_model_is_no_answer() -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(prepare=replace(healthy_prepare(), base=None)))
    story.settle()
    assert story.condition("Accepted") == ("False", "PrepareFailed")


def test_the_base_model_serves_first_when_the_spec_says_so() -> None:
    story = Simulator(make_spec(bootstrap="BaseModel", **{"training.phases": 1}))
    story.until(State.IDLE)
    assert story.status.serves == "r0000"
    assert story.has("Deployment", "shop-r0000")
    assert story.cycle_ends() == "Promoted"
    assert story.states.count(State.BOOTSTRAPPING) == 1


def test_what_was_promoted_on_the_volume_serves_again_and_numbers_go_on() -> None:
    record = PromotionRecord(release="shop", revision=7, stages={"finerank": weights_ref("r0007-p02")})
    found = replace(healthy_prepare(), promoted=record, last_cycle=9)
    story = Simulator(make_spec(), behaviour=Behaviour(prepare=found))
    story.until(State.IDLE).wait(120)
    assert story.status.serves == "r0007"
    assert story.status.cycle is None, "the spec of a release that was re-created counts as seen"
    story.annotations[RUN_ANNOTATION] = "now"
    story.until(State.TRAINING)
    assert story.status.cycle and story.status.cycle.number == 10


def test_cycle_numbers_on_the_volume_are_never_used_again_even_when_none_was_promoted() -> None:
    found = replace(healthy_prepare(), last_cycle=3)
    story = Simulator(make_spec(), behaviour=Behaviour(prepare=found)).until(State.TRAINING)
    assert story.status.cycle and story.status.cycle.number == 4


def test_the_reward_of_a_cycle_does_not_follow_the_config_map() -> None:
    story = Simulator(make_spec()).until(State.TRAINING)
    story.fusion = None
    assert story.cycle_ends() == "Promoted"


def test_a_sampler_that_restarts_is_brought_to_the_weights_again() -> None:
    story = Simulator(make_spec()).until(lambda it: "order /v1/samples/1/1/0" in it.writes)
    story.restart_sampler()
    story.until(lambda it: it.writes.count("order /v1/samples/1/1/0") == 2)
    order = [write for write in story.writes if write.startswith("order")]
    assert order[:4] == ["order /v1/weights", "order /v1/samples/1/1/0"] * 2


def test_a_sampler_that_is_silent_stops_the_clock_and_fails_at_the_deadline() -> None:
    story = Simulator(make_spec(**{"training.phaseDeadline": "10m"})).until(State.TRAINING)
    story.samplers.clear()
    story.until(lambda it: it.has("Pod", "shop-c0001-sampler-0"))
    story.samplers.clear()
    story.wait(300)
    assert story.status.state is State.TRAINING
    assert "waiting for sampler 0" in story.status.message
    assert story.cycle_ends() == "Failed"
    assert story.status.history[0].reason == "PhaseDeadlineExceeded"


def test_evidence_that_never_comes_fails_at_the_deadline() -> None:
    story = Simulator(make_spec(**{"training.phaseDeadline": "10m"})).until(State.GATING)
    story.samplers.clear()
    story.works.clear()
    assert story.cycle_ends() == "Failed"
    assert story.status.history[0].reason == "EvidenceDeadlineExceeded"


def test_a_trainer_that_dies_is_made_anew_and_told_again() -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(trainer_finishes=False))
    story.until(lambda it: "order /v1/phases/1/1" in it.writes)
    story.kill("shop-c0001-trainer-0")
    story.behaviour.trainer_finishes = True
    story.until(lambda it: it.writes.count("order /v1/phases/1/1") == 2)
    assert "delete Pod shop-c0001-trainer-0" in story.writes
    assert story.cycle_ends() == "Promoted"


def test_gpus_are_free_between_cycles() -> None:
    status = make_status(make_spec(), stages=[stage_status(incumbent=serving(1))], last_cycle_number=1)
    story = Simulator(make_spec(), status)
    story.wait(60)
    pods = {child.role.value for child in story.children.values() if child.kind == "Pod"}
    assert pods == {"serving", "passthrough"}
