"""The rules that the gate is measured against do what their origin says, or the comparison would be unfair."""

from dataclasses import replace
from random import Random

from e2e.bench.gate import RECORDED, Recorded, with_gain, without_effect
from e2e.bench.rules import is_low, kayenta_promotes, threshold_promotes
from rewriter_contract import wire

from .evidence_builder import World, both_sides


def test_a_clear_fall_is_low_and_an_equal_sample_is_not() -> None:
    random = Random(1)
    control = [random.gauss(0, 1) for _ in range(60)]
    assert is_low([value - 1 for value in control], control)
    assert not is_low(control, control)
    assert not is_low([value + 1 for value in control], control)


def test_thresholds_see_a_fall_of_gold_over_the_margin_and_nothing_less() -> None:
    candidate, incumbent = both_sides(World(gold_gain=0.0, gold_spread=0.0))
    assert threshold_promotes(candidate.rows, incumbent.rows)
    fallen = [replace(row, ndcg10=(row.ndcg10 or 0.0) - 0.06) for row in candidate.rows]
    assert not threshold_promotes(fallen, incumbent.rows)


def test_kayenta_promotes_what_is_not_shown_to_be_worse() -> None:
    _, incumbent = both_sides()
    assert kayenta_promotes(incumbent.rows, incumbent.rows), "no gain is asked for"


def test_cases_without_effect_swap_the_sides_of_recorded_pairs() -> None:
    recorded = wire.loads(Recorded, RECORDED.read_text())
    case = without_effect(recorded, 40, Random(1))
    known = {row.rewrites for side in (recorded.candidate, recorded.incumbent) for row in side.rows}
    assert {row.rewrites for row in case.candidate.rows + case.incumbent.rows} <= known
    ours = {row.rewrites for row in recorded.candidate.rows}
    assert 8 < sum(row.rewrites in ours for row in case.candidate.rows) < 32
    raised = with_gain(case, 0.5).candidate.rows
    assert all(
        (after.reward or 0) - (before.reward or 0) > 0.49
        for after, before in zip(raised, case.candidate.rows, strict=True)
    )
