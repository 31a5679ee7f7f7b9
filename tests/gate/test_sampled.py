"""Rewrites that were drawn with chance: as good, as varied and as sure as the incumbent's, and brought to an end."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from rewriter_contract.messages import EvidenceRow, EvidenceRows, SampledDraw
from rewriter_contract.reports import CheckName, CheckSettings, Finding, GateSettings, Verdict
from rewriter_operator.api.release import OF_DRAWS
from rewriter_operator.core.gate import judge
from rewriter_operator.core.gate_checks import CHECKS
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_sampled import variety

from .evidence_builder import both_sides, passthrough

FAST = GateSettings(resamples=200)
Change = Callable[[SampledDraw], SampledDraw]


def find(name: CheckName, candidate: EvidenceRows, incumbent: EvidenceRows, settings: GateSettings = FAST) -> Finding:
    check = next(check for check in CHECKS if check.name is name)
    return check.find(gather(candidate, incumbent, settings))


def changed(side: EvidenceRows, change: Change) -> EvidenceRows:
    def of_row(row: EvidenceRow) -> EvidenceRow:
        assert row.sampled is not None
        return replace(row, sampled=change(row.sampled))

    return replace(side, rows=tuple(map(of_row, side.rows)))


def without_draws(side: EvidenceRows) -> EvidenceRows:
    return replace(side, rows=tuple(replace(row, sampled=None, cut=None, weighed=None) for row in side.rows))


def worse_by(loss: float) -> Change:
    return lambda draw: replace(draw, reward=(draw.reward or 0.0) - loss, ndcg10=max((draw.ndcg10 or 0.0) - loss, 0.0))


@pytest.mark.parametrize("name", [CheckName.SAMPLED_REWARD, CheckName.SAMPLED_GOLD])
def test_draws_that_lose_more_than_the_margin_fail(name: CheckName) -> None:
    candidate, incumbent = both_sides()
    same = changed(incumbent, lambda draw: draw)
    assert find(name, same, incumbent).verdict is Verdict.PASS
    lost = find(name, changed(same, worse_by(0.3)), incumbent)
    assert lost.verdict is Verdict.FAIL and (lost.difference or 0.0) < -0.05
    assert find(name, candidate, incumbent, FAST).n == 80


@pytest.mark.parametrize("name", [CheckName.SAMPLED_REWARD, CheckName.SAMPLED_GOLD])
def test_draws_are_held_against_the_query_alone_where_nothing_was_served(name: CheckName) -> None:
    candidate, incumbent = both_sides()
    found = find(name, changed(candidate, worse_by(0.5)), passthrough(incumbent))
    assert found.verdict is Verdict.FAIL, "a first release is compared with the query alone"
    assert found.incumbent == pytest.approx(find(name, candidate, passthrough(incumbent)).incumbent)


def test_rewards_of_another_revision_are_not_compared() -> None:
    candidate, incumbent = both_sides()
    other = replace(incumbent, reward_revision="other")
    assert find(CheckName.SAMPLED_REWARD, candidate, other).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("texts", "share"),
    [
        (("a", "b", "c", "d"), 1.0),
        (("a", "a", "a", "a"), 0.0),
        (("a", " A ", "b", "b"), 4 / 6),
        (("a", "b"), 1.0),
        (("a",), None),
    ],
)
def test_variety_is_the_share_of_pairs_that_differ(texts: tuple[str, ...], share: float | None) -> None:
    (row, *_) = both_sides()[0].rows
    assert row.sampled
    assert variety(replace(row, sampled=replace(row.sampled, rewrites=texts))) == share


def test_a_model_that_always_says_the_same_fails() -> None:
    candidate, incumbent = both_sides()
    found = find(CheckName.SAMPLED_VARIETY, changed(candidate, all_alike), incumbent)
    assert (found.verdict, found.candidate, found.incumbent) == (Verdict.FAIL, 0.0, 1.0)
    assert (
        find(CheckName.SAMPLED_VARIETY, changed(candidate, all_alike), passthrough(incumbent)).verdict is Verdict.FAIL
    )
    assert find(CheckName.SAMPLED_VARIETY, candidate, incumbent).verdict is Verdict.PASS


def test_variety_may_fall_by_the_margin_beside_the_incumbent_and_no_further() -> None:
    candidate, incumbent = both_sides()
    half = changed(candidate, lambda draw: replace(draw, rewrites=(*draw.rewrites[:2], *draw.rewrites[:2])))
    found = find(CheckName.SAMPLED_VARIETY, half, incumbent)
    assert found.candidate == pytest.approx(4 / 6) and found.threshold == pytest.approx(0.7)
    assert found.verdict is Verdict.FAIL
    wider = GateSettings(resamples=200, checks={CheckName.SAMPLED_VARIETY: CheckSettings(margin=0.4)})
    assert find(CheckName.SAMPLED_VARIETY, half, incumbent, wider).verdict is Verdict.PASS


def all_alike(draw: SampledDraw) -> SampledDraw:
    return replace(draw, rewrites=draw.rewrites[:1] * len(draw.rewrites))


@pytest.mark.parametrize(
    ("nats", "verdict"), [(1.5, Verdict.PASS), (0.7, Verdict.FAIL), (0.76, Verdict.PASS), (3.1, Verdict.FAIL)]
)
def test_surprise_may_halve_or_double_and_no_more(nats: float, verdict: Verdict) -> None:
    candidate, incumbent = both_sides()
    found = find(CheckName.SURPRISE, changed(candidate, lambda draw: replace(draw, nats=nats)), incumbent)
    assert found.verdict is verdict
    assert (found.candidate, found.incumbent) == (pytest.approx(nats), pytest.approx(1.5))


def test_unknown_surprise_is_no_evidence() -> None:
    candidate, incumbent = both_sides()
    silent = changed(candidate, lambda draw: replace(draw, nats=None))
    enforced = GateSettings(resamples=200, checks={CheckName.SURPRISE: CheckSettings(enforced=True)})
    assert find(CheckName.SURPRISE, silent, incumbent).verdict is Verdict.NOT_APPLICABLE
    assert find(CheckName.SURPRISE, silent, incumbent, enforced).verdict is Verdict.INCONCLUSIVE
    assert find(CheckName.SURPRISE, candidate, passthrough(incumbent), enforced).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("nats", "verdict"), [(0.5, Verdict.PASS), (10.0, Verdict.PASS), (12.0, Verdict.FAIL), (-3.0, Verdict.PASS)]
)
def test_draws_that_the_incumbent_would_hardly_make_are_far_away(nats: float, verdict: Verdict) -> None:
    candidate, incumbent = both_sides()
    rows = [replace(row, weighed=tuple(value - nats for value in (-6.0, -7.0, -8.0, -9.0))) for row in incumbent.rows]
    found = find(CheckName.DIVERGENCE, candidate, replace(incumbent, rows=tuple(rows)))
    assert (found.verdict, found.n) == (verdict, 80) and found.candidate == pytest.approx(nats)


def test_draws_that_were_not_all_weighed_have_no_divergence() -> None:
    candidate, incumbent = both_sides()
    three = replace(incumbent, rows=tuple(replace(row, weighed=(-1.0, -2.0, -3.0)) for row in incumbent.rows))
    assert find(CheckName.DIVERGENCE, candidate, three).verdict is Verdict.NOT_APPLICABLE
    some = replace(incumbent, rows=(*incumbent.rows[:20], *three.rows[20:]))
    assert find(CheckName.DIVERGENCE, candidate, some).verdict is Verdict.INCONCLUSIVE
    assert find(CheckName.DIVERGENCE, candidate, passthrough(incumbent)).verdict is Verdict.NOT_APPLICABLE


@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "drawn"])
def test_rewrites_that_are_cut_are_counted_by_query(greedy: bool) -> None:
    candidate, incumbent = both_sides()
    rows = [
        replace(row, cut=int(greedy), sampled=row.sampled and replace(row.sampled, cut=2 * (not greedy)))
        for row in candidate.rows[:20]
    ]
    cut = replace(candidate, rows=(*rows, *candidate.rows[20:]))
    found = find(CheckName.TRUNCATED, cut, incumbent)
    assert (found.verdict, found.candidate, found.incumbent) == (Verdict.FAIL, 0.25, 0.0)
    assert find(CheckName.TRUNCATED, candidate, incumbent).verdict is Verdict.PASS


@pytest.mark.parametrize("name", OF_DRAWS)
def test_evidence_without_draws_decides_nothing_unless_somebody_asked(name: str) -> None:
    candidate, incumbent = map(without_draws, both_sides())
    assert judge(candidate, incumbent, FAST).verdict is Verdict.PASS
    enforced = GateSettings(resamples=200, checks={name: CheckSettings(enforced=True)})
    report = judge(candidate, incumbent, enforced)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert f"set spec.gate.sampledRewrites, or take {name} out of spec.gate.checks" in report.reason


def silent(row: EvidenceRow) -> EvidenceRow:
    """As if nothing could be had of its draw, and nothing of it had been weighed."""
    assert row.sampled is not None
    nothing = replace(row.sampled, reward=None, ndcg10=None, nats=None, logprobs=None)
    return replace(row, sampled=nothing, weighed=None)


@pytest.mark.parametrize("name", sorted({*OF_DRAWS} - {"SampledVariety"}))
@pytest.mark.parametrize(("missing", "verdict"), [(4, Verdict.PASS), (5, Verdict.INCONCLUSIVE)])
def test_what_is_missing_for_over_a_twentieth_of_the_queries_is_unknown(
    name: str, missing: int, verdict: Verdict
) -> None:
    candidate, incumbent = both_sides()
    some = replace(candidate, rows=(*map(silent, candidate.rows[:missing]), *candidate.rows[missing:]))
    assert find(CheckName(name), some, incumbent).verdict is verdict


@pytest.mark.parametrize(("missing", "verdict"), [(4, Verdict.PASS), (5, Verdict.INCONCLUSIVE)])
def test_queries_that_were_not_drawn_from_are_not_taken_for_varied(missing: int, verdict: Verdict) -> None:
    candidate, incumbent = both_sides()
    rows = [replace(row, sampled=None) for row in candidate.rows[:missing]]
    some = replace(candidate, rows=(*rows, *candidate.rows[missing:]))
    assert find(CheckName.SAMPLED_VARIETY, some, incumbent).verdict is verdict
    too_long = changed(replace(candidate, rows=candidate.rows[:20]), lambda draw: replace(draw, rewrites=()))
    some = replace(candidate, rows=(*too_long.rows, *candidate.rows[20:]))
    assert find(CheckName.SAMPLED_VARIETY, some, incumbent).verdict is Verdict.PASS, "a long query lacks nothing"


def test_one_draw_a_query_holds_no_release_up() -> None:
    candidate, incumbent = (
        changed(side, lambda draw: replace(draw, rewrites=draw.rewrites[:1])) for side in both_sides()
    )
    assert find(CheckName.SAMPLED_VARIETY, candidate, incumbent).verdict is Verdict.NOT_APPLICABLE
    assert judge(candidate, incumbent, FAST).verdict is Verdict.PASS


def test_a_missing_reward_of_a_draw_is_not_a_reward_of_nothing() -> None:
    candidate, incumbent = both_sides()
    missing = changed(candidate, lambda draw: replace(draw, reward=None))
    assert find(CheckName.SAMPLED_REWARD, missing, incumbent).verdict is Verdict.INCONCLUSIVE
