"""One relevance model scores a cycle: a swap between phases, before the gate or under an upgrade promotes nothing."""

from hashlib import sha256
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import WeightsRef
from rewriter_contract.reports import REPORT_SCHEMA
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core.cycle import CONTRACT, NAMES_ITS_MODEL
from rewriter_operator.core.decision import WantedRevision
from rewriter_operator.core.gating import LATER_CHECKS, SIDES, evidence_order, report_of
from rewriter_operator.core.plan import plan
from rewriter_operator.core.training import samples_order
from rewriter_operator.core.validating import validation_order
from tests.builders import RELEVANCE, make_spec, serving, stage_status, weights_ref
from tests.core.simulator import Simulator

OTHER = "minilm@2"
SPEC = make_spec(**{"data.validation": "data/validation.jsonl"})


def story_with_incumbent() -> Simulator:
    """The first cycle of a release that r0001 serves."""
    status = RewriterReleaseStatus(
        state=State.IDLE, stages=[stage_status(incumbent=serving(1))], last_cycle_number=1, last_spec_digest="0" * 64
    )
    return Simulator(SPEC, status)


def kept_its_incumbent(story: Simulator) -> bool:
    return [stage.incumbent for stage in story.status.stages] == [serving(1)] and story.share() == 0


def test_every_order_to_a_sampler_names_the_model_that_the_cycle_was_prepared_with() -> None:
    story = story_with_incumbent().until(swapped_between_phases)
    world, cycle = story.world(), story.status.cycle
    assert cycle and cycle.phase
    told = [samples_order(world, cycle.phase, 0, 0).reward, validation_order(world, cycle.phase, 0).reward]
    story.until(State.GATING)
    told += [evidence_order(story.world(), side, 0).reward for side in SIDES]
    assert {reward.relevance_model for reward in told} == {RELEVANCE} == {cycle.relevance_model}


def swapped_before_sampling(story: Simulator) -> bool:
    return story.status.state is State.TRAINING


def swapped_between_phases(story: Simulator) -> bool:
    return bool(story.status.cycle and story.status.cycle.phases)


def swapped_before_the_gate(story: Simulator) -> bool:
    return story.status.state is State.GATING


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (swapped_before_sampling, "SamplingFailed"),
        (swapped_between_phases, "ValidationFailed"),
        (swapped_before_the_gate, "EvidenceFailed"),
    ],
)
def test_a_model_that_is_swapped_in_mid_cycle_ends_the_cycle_which_keeps_its_incumbent(when: Any, reason: str) -> None:
    story = story_with_incumbent().until(when)
    story.behaviour.answering_model = OTHER
    assert story.cycle_ends(20_000) == "Failed"
    assert story.status.history[0].reason == reason
    assert OTHER in story.status.history[0].message and RELEVANCE in story.status.history[0].message
    assert kept_its_incumbent(story)


def test_a_model_that_comes_back_within_the_stall_timeout_costs_nothing_but_time() -> None:
    story = story_with_incumbent().until(State.TRAINING)
    story.behaviour.answering_model = OTHER
    story.wait(120)
    assert "is tried again" in story.status.message
    story.behaviour.answering_model = RELEVANCE
    assert story.cycle_ends(20_000) == "Promoted"


def test_the_report_says_who_was_judged_on_what_and_the_revision_keeps_the_fusions_digest() -> None:
    story = story_with_incumbent().until(State.GATING).until(lambda told: len(told.world().evidence) == 2)
    report, cycle = report_of(story.world()), story.status.cycle
    assert cycle and cycle.candidate and report.judged
    assert report.schema == REPORT_SCHEMA
    assert report.judged.cycle == cycle.number
    assert report.judged.candidate == WeightsRef(cycle.candidate.weights.version, cycle.candidate.weights.digest)
    assert report.judged.incumbent == weights_ref("r0001-p02")
    assert report.judged.data_digests == cycle.data_digests
    assert report.judged.fusion_sha256 == cycle.fusion_sha256 == sha256(cycle.fusion.encode()).hexdigest()
    story.until(lambda told: told.has("RewriterRevision", "shop-r0002"))
    (wanted,) = [item for item in plan(story.world()).wanted if isinstance(item, WantedRevision)]
    assert wanted.spec.fusion_sha256 == cycle.fusion_sha256


def upgraded(story: Simulator, **changes: Any) -> Simulator:
    """Its cycle as an operator from before orders named the model has written it; its pods are from then too."""
    written = story.status.to_api()
    del written["cycle"]["contract"], written["cycle"]["fusionSha256"]
    written["cycle"].update(changes)
    story.status = RewriterReleaseStatus.model_validate(written)
    return story


def test_pods_of_a_cycle_from_before_the_upgrade_are_told_nothing_that_they_would_refuse() -> None:
    story = upgraded(story_with_incumbent().until(State.GATING))
    text = wire.dumps(evidence_order(story.world(), "candidate", 0))
    assert not any(word in text for word in ('"relevanceModel"', '"penalties"', '"expression"', '"sampled"'))
    story.until(lambda told: len(told.world().evidence) == 2)
    text = wire.dumps(report_of(story.world()))
    assert not any(word in text for word in ('"judged"', '"schema"', '"tested"', "NotApplicable", *LATER_CHECKS))
    assert story.cycle_ends() == "Promoted"


def test_pods_that_do_not_know_the_second_draw_are_not_asked_for_it_and_get_a_report_without_its_checks() -> None:
    story = story_with_incumbent().until(State.GATING)
    assert '"sampled"' in wire.dumps(evidence_order(story.world(), "candidate", 0))
    written = story.status.to_api()
    written["cycle"]["contract"] = NAMES_ITS_MODEL
    story.status = RewriterReleaseStatus.model_validate(written)
    order = wire.dumps(evidence_order(story.world(), "candidate", 0))
    assert '"sampled"' not in order and '"relevanceModel"' in order
    story.until(lambda told: len(told.world().evidence) == 2)
    report = report_of(story.world())
    assert report.schema == REPORT_SCHEMA and not {found.name for found in report.findings} & LATER_CHECKS
    assert story.cycle_ends() == "Promoted"


def test_evidence_of_such_a_cycle_by_another_model_is_not_judged_although_both_sides_agree() -> None:
    story = upgraded(story_with_incumbent().until(State.GATING))
    story.behaviour.answering_model = OTHER
    assert story.cycle_ends() == "Rejected"
    assert f"scored by relevance model {OTHER}, the cycle's is {RELEVANCE}" in story.status.history[0].message
    assert kept_its_incumbent(story)


def test_a_cycle_that_recorded_no_model_promotes_nothing() -> None:
    story = upgraded(story_with_incumbent().until(State.GATING), relevanceModel="")
    assert story.cycle_ends() == "Rejected"
    assert "the cycle recorded no relevance model" in story.status.history[0].message
    assert kept_its_incumbent(story)


def test_the_next_cycle_is_of_the_new_model_from_its_beginning() -> None:
    story = story_with_incumbent().until(State.GATING)
    story.behaviour.answering_model = OTHER
    story.cycle_ends(20_000)
    prepare = story.behaviour.prepare
    story.behaviour.prepare = type(prepare)(**(vars(prepare) | {"relevance_model": OTHER}))
    story.annotations["rewriter.dev/run"] = "again"
    story.until(State.TRAINING)
    assert story.status.cycle and (story.status.cycle.relevance_model, story.status.cycle.contract) == (OTHER, CONTRACT)
    assert story.cycle_ends(20_000) == "Promoted"
