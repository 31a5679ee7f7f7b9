"""Checks of rewrites that were drawn with chance, and of draws that did not come to their end.

Greedy answers show what is served today; drawn ones show what the next cycle will train on. A model that always says
the same has no pairs left to learn from, and one whose draws fall apart served well by luck. Each is a pure function of
the evidence and its limits.
"""

from collections.abc import Callable
from itertools import combinations

from rewriter_contract.messages import EvidenceRow, SampledDraw
from rewriter_contract.reports import Verdict
from rewriter_contract.text import normalise
from rewriter_operator.core.gate_evidence import Evidence, Measure, Pair, minus, number
from rewriter_operator.core.gate_measured import MOST_MISSING, Limits, Measured, at_most, nothing_to_judge, unknown
from rewriter_operator.core.gate_ranking import not_inferior
from rewriter_operator.core.gate_rates import rare
from rewriter_operator.core.statistics import bootstrap_mean, mean


def few_are_cut(evidence: Evidence, limits: Limits) -> Measured:
    """Few rewrites, greedy or drawn, are cut at maxTokens: the model has forgotten how to end."""

    def is_cut(row: EvidenceRow) -> bool | None:
        cuts = [cut for cut in (row.cut, row.sampled.cut if row.sampled else None) if cut is not None]
        return any(cuts) if cuts else None

    return rare("queries with a rewrite that was cut", evidence, limits, is_cut)


def sampled_reward_holds(evidence: Evidence, limits: Limits) -> Measured:
    """The drawn rewrites' log R is not worse than the incumbent's by `margin`."""
    if not evidence.rewards_are_comparable:
        return unknown("log R of drawn rewrites", "the rewards of the two sides are not comparable")
    return _holds("log R of drawn rewrites", evidence, limits, _drawn(lambda row: row.reward, lambda draw: draw.reward))


def sampled_gold_holds(evidence: Evidence, limits: Limits) -> Measured:
    """The search with all drawn rewrites beside the query is not worse than with the incumbent's by `margin`."""
    measure = _drawn(lambda row: row.ndcg10, lambda draw: draw.ndcg10)
    return _holds("nDCG@10 of drawn rewrites", evidence, limits, measure)


def draws_vary(evidence: Evidence, limits: Limits) -> Measured:
    """Two draws of a query differ in at least `min` of all cases, and in a `margin` fewer than the incumbent's."""
    what = "draws of a query that differ"
    lacking = _lacking(what, evidence, lambda pair: pair.candidate.sampled)
    ours = [found for pair in evidence.pairs if (found := variety(pair.candidate)) is not None]
    if lacking or not ours:
        return lacking or nothing_to_judge(what, "no query was drawn from twice")
    if len(ours) < evidence.settings.minimum_queries:
        return unknown(what, "too few queries were drawn from twice")
    beside = evidence.compare(what, variety)
    floor = limits.min if beside is None else max(limits.min, (1.0 - limits.margin) * beside.incumbent)
    bound = bootstrap_mean(ours, evidence.settings.alpha, evidence.resamples, evidence.random(what))
    found = mean(ours)
    verdict, relation = Verdict.PASS, f">= {floor:.2f}"
    if found < floor:
        verdict = Verdict.FAIL if bound.high < floor else Verdict.INCONCLUSIVE
        relation = f"< {floor:.2f}, upper bound {bound.high:.2f}"
    return Measured(
        verdict,
        f"{what}: {found:.2f} {relation}" + (f"; {beside.incumbent:.2f} of the incumbent" if beside else ""),
        candidate=found,
        incumbent=beside.incumbent if beside else None,
        low=bound.low,
        high=bound.high,
        threshold=floor,
        n=len(ours),
    )


def surprise_is_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Nats per drawn token are at most `max` times the incumbent's, and at least a `max`-th: not frozen, not random."""
    what = "nats per drawn token"
    compared = evidence.compare(what, _nats)
    if compared is None or compared.incumbent <= 0.0:
        return _lacking(what, evidence) or nothing_to_judge(what, "the incumbent's are not known")
    lacking = _lacking(what, evidence, lambda pair: minus(_nats(pair.candidate), _nats(pair.incumbent)))
    if lacking:
        return lacking
    ratio = compared.candidate / compared.incumbent
    least = 1.0 / limits.max
    inside = least <= ratio <= limits.max
    return Measured(
        Verdict.PASS if inside else Verdict.FAIL,
        f"{what}: {compared.candidate:.2f}, {ratio:.2f} times the incumbent's, "
        f"{'inside' if inside else 'outside'} {least:.2f} to {limits.max:.2f}",
        candidate=compared.candidate,
        incumbent=compared.incumbent,
        difference=compared.candidate - compared.incumbent,
        threshold=least if ratio < 1.0 else limits.max,
        n=compared.n,
    )


def weights_stay_near(evidence: Evidence, limits: Limits) -> Measured:
    """The drawn rewrites are on average at most `max` nats likelier to the candidate than to the incumbent.

    At temperature 1 the mean is an unbiased estimate of the Kullback-Leibler divergence per rewrite.
    """
    what = "nats by which drawn rewrites are likelier than to the incumbent"
    found = [value for pair in evidence.pairs if (value := divergence(pair)) is not None]
    if not found:
        return nothing_to_judge(what, "the incumbent did not weigh them")
    lacking = _lacking(what, evidence, divergence)
    if lacking or len(found) < evidence.settings.minimum_queries:
        return lacking or unknown(what, f"weighed for {len(found)} queries only")
    bound = bootstrap_mean(found, evidence.settings.alpha, evidence.resamples, evidence.random(what))
    verdict, relation = at_most(bound, limits.max, ".2f")
    return Measured(
        verdict,
        f"{what}: {bound.estimate:.2f} {relation}",
        candidate=bound.estimate,
        low=bound.low,
        high=bound.high,
        threshold=limits.max,
        n=len(found),
    )


def divergence(pair: Pair) -> float | None:
    """Mean log p(candidate) - log p(incumbent) of the candidate's draws, in nats per rewrite; None where unknown."""
    draw, theirs = pair.candidate.sampled, pair.incumbent.weighed
    if draw is None or not draw.logprobs or theirs is None or len(theirs) != len(draw.logprobs):
        return None
    return number(mean([mine - other for mine, other in zip(draw.logprobs, theirs, strict=True)]))


def variety(row: EvidenceRow) -> float | None:
    """Share of the pairs of draws that differ after normalisation, whatever their number; None under two draws."""
    if row.sampled is None or len(row.sampled.rewrites) < 2:
        return None
    pairs = list(combinations(map(normalise, row.sampled.rewrites), 2))
    return sum(one != other for one, other in pairs) / len(pairs)


def _drawn(alone: Measure, of_draw: Callable[[SampledDraw], float | None]) -> Measure:
    """A measure of the draw; a query that gets no rewrite in any way has what it has alone."""

    def measure(row: EvidenceRow) -> float | None:
        if row.sampled is not None:
            return number(of_draw(row.sampled))
        return None if row.rewrites else alone(row)

    return measure


def _holds(what: str, evidence: Evidence, limits: Limits, measure: Measure) -> Measured:
    lacking = _lacking(what, evidence, lambda pair: minus(measure(pair.candidate), measure(pair.incumbent)))
    return lacking or not_inferior(what, evidence.compare(what, measure), limits.margin)


def _nats(row: EvidenceRow) -> float | None:
    return row.sampled.nats if row.sampled else None


def _lacking(what: str, evidence: Evidence, measure: Callable[[Pair], object] | None = None) -> Measured | None:
    """Why nothing can be concluded of the candidate's draws; None where that is not so.

    There are none, by the spec's word, or because pods of this cycle did not know how; or `measure` is None for too
    many. A query that is too long for the model cannot be drawn from, and lacks nothing.
    """
    if not any(pair.candidate.sampled for pair in evidence.pairs):
        return nothing_to_judge(what, "nothing was drawn with chance")
    asked = [pair for pair in evidence.pairs if pair.candidate.sampled is None or pair.candidate.sampled.rewrites]
    missing = sum(measure(pair) is None for pair in asked) if measure else 0
    if missing <= MOST_MISSING * len(asked):
        return None
    return unknown(what, f"missing for {missing} of {len(asked)} queries that were drawn from")
