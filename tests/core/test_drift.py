"""Gold that is lost little by little: what is recorded, what is an alarm, and what is none."""

import math
from random import Random
from statistics import fmean, stdev
from typing import Any

import pytest

from rewriter_contract.reports import GateSettings
from rewriter_operator.api.status import BaselineStep, GoldChange
from rewriter_operator.core.cycle import ROLLBACK_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.drift import EVIDENCE_NEEDED, STEPS, Decay, decays, gold_changes, way_to
from rewriter_operator.core.gate import judge
from rewriter_operator.core.world import Revision, Role
from tests.builders import evidence, make_spec, make_status, serving, stage_status
from tests.core.simulator import Behaviour, Simulator
from tests.gate.evidence_builder import World, both_sides

MARGIN = 0.05


def change(difference: float, error: float = 0.01, **changes: Any) -> GoldChange:
    values = {"check": "GoldNdcg", "difference": difference, "error": error, "margin": MARGIN}
    return GoldChange(**(values | changes))


def series_of(differences: list[float], error: float = 0.01, promoted: bool = True) -> list[BaselineStep]:
    """Weekly candidates, newest first, each compared with the one before it."""
    return [
        BaselineStep(revision=number, compared_with=number - 1, promoted=promoted, gold=[change(difference, error)])
        for number, difference in enumerate(differences, start=1)
    ][::-1]


def ndcg(series: list[BaselineStep], serves: int) -> Decay:
    return next(decay for decay in decays(series, serves) if decay.check == "GoldNdcg")


def alarm_at(differences: list[float], error: float) -> int | None:
    """Number of the candidate with which the alarm comes."""
    for number in range(2, len(differences) + 1):
        if ndcg(series_of(differences[:number], error), number).is_certain:
            return number
    return None


def drawn(seed: int, loss: float, spread: float, queries: int = 80) -> tuple[list[float], float]:
    """A year of mean differences with heavy tails, and the error that a gate would estimate."""
    random, means, errors = Random(seed), [], []
    for _ in range(STEPS):
        moved = [random.gauss(0, spread * (3 if random.random() < 0.1 else 1)) for _ in range(queries)]
        means.append(fmean(moved) - loss)
        errors.append(stdev(moved) / math.sqrt(queries))
    return means, fmean(errors)


@pytest.mark.parametrize("spread, within", [(0.05, 6), (0.1, 12)])
def test_half_a_margin_a_week_is_an_alarm_within_weeks(spread: float, within: int) -> None:
    found = [alarm_at(*drawn(seed, MARGIN / 2, spread)) for seed in range(20)]
    assert all(week is not None and week <= within for week in found), found


def test_a_stationary_year_is_seldom_an_alarm() -> None:
    alarms = [alarm_at(*drawn(seed, 0.0, 0.1)) for seed in range(40)]
    assert sum(week is not None for week in alarms) <= 2  # 5 % is the bound; e2e/bench/drift.py plays a thousand years


def test_a_year_of_gains_and_a_quiet_year_are_none() -> None:
    assert alarm_at([0.01] * STEPS, 0.01) is None
    assert alarm_at([0.0] * STEPS, 0.0) is None


def test_one_candidate_that_was_refused_for_a_great_loss_is_no_slow_decay() -> None:
    series = series_of([0.0, 0.01, 0.0])
    refused = BaselineStep(revision=4, compared_with=3, promoted=False, gold=[change(-0.6)])
    assert not any(decay.is_certain for decay in decays([refused, *series], 3))


def test_candidates_that_the_gate_kept_out_are_no_decay_of_what_serves() -> None:
    kept_out = series_of([-0.04] * 20, promoted=False)
    found = ndcg(kept_out, 0)
    assert found.evidence > EVIDENCE_NEEDED
    assert (found.promotions, found.is_certain) == (0, False)


def test_losses_that_were_kept_out_tell_of_the_losses_that_slipped_through() -> None:
    """The promoted ones alone look harmless: the gate let the lucky pass."""
    steps = series_of([-0.005, -0.045, -0.04, -0.004, -0.05, -0.045, -0.003, -0.05])
    mixed = [step.model_copy(update={"promoted": step.revision in (1, 4, 7)}) for step in steps]
    chained = [
        step.model_copy(update={"compared_with": {4: 1, 7: 4}.get(step.revision, step.compared_with)}) for step in mixed
    ]
    found = ndcg(chained, 7)
    assert found.is_certain
    assert ndcg([step for step in chained if step.promoted], 7).evidence < EVIDENCE_NEEDED
    assert f"nDCG@10 of what serves {found.difference:+.3f} over {found.promotions} promotions" in str(found)


def test_a_decay_that_ended_is_forgotten() -> None:
    fell = [-0.03] * 6
    assert ndcg(series_of(fell), 6).is_certain
    assert not ndcg(series_of([*fell, *[0.01] * 8]), 14).is_certain


def test_after_a_return_what_was_promoted_in_between_counts_no_more() -> None:
    series = series_of([0.0, -0.03, -0.03, -0.03, -0.03, -0.03])
    assert way_to(series, 6) == {1, 2, 3, 4, 5, 6}
    assert ndcg(series, 6).is_certain
    assert way_to(series, 1) == {1}
    assert not ndcg(series, 1).is_certain
    later = BaselineStep(revision=7, compared_with=1, promoted=True, gold=[change(0.0)])
    assert way_to([later, *series], 7) == {1, 7}


def test_a_series_that_goes_round_or_lacks_numbers_ends() -> None:
    odd = [
        BaselineStep(revision=1, compared_with=2, promoted=True, gold=[change(0.0, margin=0.0)]),
        BaselineStep(revision=2, compared_with=1, promoted=True, gold=[]),
    ]
    assert way_to(odd, 1) == {1, 2}
    assert decays(odd, 1) == []
    assert decays([], 0) == []
    assert decays([odd[0]] * 9, 1)[0].evidence < EVIDENCE_NEEDED, "no margin, no loss to look for"


def test_the_report_gives_difference_error_and_margin_of_gold() -> None:
    report = judge(*both_sides(World(gold_spread=0.15)), GateSettings(resamples=400))
    found = {item.check: item for item in gold_changes(report)}
    assert set(found) == {"GoldNdcg", "GoldRecall"}
    differences = [
        (ours.ndcg10 or 0) - (theirs.ndcg10 or 0)
        for ours, theirs in zip(*(side.rows for side in both_sides(World(gold_spread=0.15))), strict=True)
    ]
    assert found["GoldNdcg"].difference == pytest.approx(fmean(differences), abs=1e-6)
    assert found["GoldNdcg"].error == pytest.approx(stdev(differences) / math.sqrt(80), rel=0.15)
    assert found["GoldNdcg"].margin == MARGIN


def test_a_report_without_gold_says_nothing_of_it() -> None:
    candidate, incumbent = both_sides()
    few = GateSettings(resamples=100, minimum_queries=1000)
    assert gold_changes(judge(candidate, incumbent, few)) == []


def served(lost: list[float], **behaviour: Any) -> Simulator:
    """Revision 6 serves; what its predecessors did to gold is in the series."""
    status = make_status(
        make_spec(),
        stages=[stage_status(incumbent=serving(6))],
        promoted=[serving(6), serving(5)],
        last_cycle_number=6,
        baseline=series_of(lost),
    )
    return Simulator(make_spec(), status, Behaviour(**behaviour))


def test_every_judged_cycle_enters_the_series_with_what_became_of_it() -> None:
    story = Simulator(make_spec(), behaviour=Behaviour(evidence=evidence(gain=0.0)))
    assert story.cycle_ends() == "Rejected"
    story.behaviour.evidence = evidence()
    for token in ("a", "b"):
        story.annotations[RUN_ANNOTATION] = token
        assert story.cycle_ends() == "Promoted"
    newest, before, first = story.status.baseline
    assert [(step.revision, step.compared_with, step.promoted) for step in (newest, before, first)] == [
        (3, 2, True),
        (2, -1, True),
        (1, -1, False),
    ]
    assert {item.check for item in newest.gold} == {"GoldNdcg", "GoldRecall"}
    assert story.settle().condition("GoldKept") == ("True", "GoldHolds")


def test_a_cycle_that_was_never_judged_enters_no_series() -> None:
    story = Simulator(make_spec(**{"training.phaseDeadline": "10m"}), behaviour=Behaviour(trainer_finishes=False))
    story.until(lambda it: "order /v1/phases/1/1" in it.writes)
    assert story.cycle_ends(limit=7200) == "Failed"
    assert story.status.baseline == []
    assert story.condition("GoldKept") == ("Unknown", "NoSeries")


def test_an_alarm_is_told_once_and_blocks_nothing() -> None:
    story = served([-0.03] * 6).settle()
    assert story.condition("GoldKept") == ("False", "GoldDecays")
    told = [note for note in story.notes if note.reason == "GoldDecays"]
    assert len(told) == 1 and told[0].warning
    assert "nDCG@10 of what serves -0.180 over 6 promotions; the last 6 candidates -0.0300 each" in told[0].message
    story.annotations[RUN_ANNOTATION] = "on"
    assert story.cycle_ends() == "Promoted"
    story.settle()
    assert story.status.serves == "r0007"
    assert len([note for note in story.notes if note.reason == "GoldDecays"]) == 1
    assert story.condition("Stalled")[0] == "False"


def test_going_back_ends_the_alarm() -> None:
    story = served([0.0, 0.0, -0.04, -0.04, -0.04, -0.04]).settle()
    assert story.condition("GoldKept")[0] == "False"
    story.status = story.status.model_copy(update={"promoted": [serving(6), serving(2)]})
    for number in (2, 6):
        story.children.update(_revision(number))
    story.annotations[ROLLBACK_ANNOTATION] = "r0002"
    story.until(lambda it: it.status.serves == "r0002").settle()
    assert story.condition("GoldKept")[0] == "True"


def _revision(number: int) -> dict[tuple[str, str], Any]:
    name = f"shop-r{number:04d}"
    return {("RewriterRevision", name): Revision("RewriterRevision", name, f"uid-{name}", Role.REVISION, number, 0, "")}
