"""Checks of the rewrites as texts: length, copies, repetition, format, variety.

Each is a pure function of the evidence and its limits; gate_checks.py says what it means for the verdict. Against a
passthrough incumbent, which has no texts, the limits are absolute.
"""

import math
from collections import Counter
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.reports import Verdict
from rewriter_contract.text import REPEATED_WORD_SHARE, normalise, repeats_itself
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import Limits, Measured, numbers_of, unknown
from rewriter_operator.core.gate_rates import rare, share
from rewriter_operator.core.statistics import binomial_at_least, bootstrap_mean, mean, quantile

LONG_SHARE: Final = 0.05
"""LengthTail bounds the 95th percentile: at most this share of rewrites may be longer than its limit."""


def mean_length_stays_in_bounds(evidence: Evidence, limits: Limits) -> Measured:
    """The mean length ratio lies between `min` and `max`."""
    ratios, settings = numbers_of(evidence.pairs, lambda pair: pair.candidate.length_ratio), evidence.settings
    if len(ratios) < settings.minimum_queries:
        return unknown("length ratio", "too few rewrites with a length")
    found = bootstrap_mean(ratios, settings.alpha, evidence.resamples, evidence.random("length"))
    bounds = f"{limits.min:.2f} to {limits.max:.2f}"
    theirs = numbers_of(evidence.pairs, lambda pair: pair.incumbent.length_ratio)
    if limits.min <= found.estimate <= limits.max:
        verdict, relation = Verdict.PASS, f"within {bounds}"
    elif found.low > limits.max or found.high < limits.min:
        verdict, relation = Verdict.FAIL, f"outside {bounds}"
    else:
        verdict, relation = Verdict.INCONCLUSIVE, f"outside {bounds}, perhaps by chance"
    nearer = limits.max if found.estimate > (limits.min + limits.max) / 2 else limits.min
    return Measured(
        verdict,
        f"mean length ratio {found.estimate:.2f} {relation}",
        candidate=found.estimate,
        incumbent=mean(theirs) if theirs else None,
        low=found.low,
        high=found.high,
        threshold=nearer if math.isfinite(nearer) else None,
        n=len(ratios),
    )


def few_rewrites_are_long(evidence: Evidence, limits: Limits) -> Measured:
    """The 95th percentile of the length ratio is at most `max`."""
    ratios = sorted(numbers_of(evidence.pairs, lambda pair: pair.candidate.length_ratio))
    if len(ratios) < evidence.settings.minimum_queries:
        return unknown("length ratio", "too few rewrites with a length")
    percentile = quantile(ratios, 1 - LONG_SHARE)
    theirs = sorted(numbers_of(evidence.pairs, lambda pair: pair.incumbent.length_ratio))
    chance = binomial_at_least(sum(ratio > limits.max for ratio in ratios), len(ratios), LONG_SHARE)
    verdict, relation = Verdict.PASS, f"<= {limits.max:.2f}"
    if percentile > limits.max:
        relation = f"> {limits.max:.2f}, p={chance:.3f}"
        verdict = Verdict.FAIL if chance < evidence.settings.alpha else Verdict.INCONCLUSIVE
    return Measured(
        verdict,
        f"95th percentile of the length ratio {percentile:.2f} {relation}",
        candidate=percentile,
        incumbent=quantile(theirs, 1 - LONG_SHARE) if theirs else None,
        threshold=limits.max if math.isfinite(limits.max) else None,
        n=len(ratios),
    )


def copies_are_few(evidence: Evidence, limits: Limits) -> Measured:
    """The rewriter still rewrites."""
    return rare("copies of the query", evidence, limits, lambda row: row.copy)


def repetition_is_rare(evidence: Evidence, limits: Limits) -> Measured:
    """Rewrites do not say one word, or everything, again and again."""
    return rare("repetitive rewrites", evidence, limits, _repeats_itself)


def format_is_kept(evidence: Evidence, limits: Limits) -> Measured:
    """Rewrites are what a user could have typed."""
    return rare("malformed rewrites", evidence, limits, lambda row: not row.format_ok)


def rewrites_differ(evidence: Evidence, limits: Limits) -> Measured:
    """No single text is the answer to more than `max` of the queries."""
    answers = [tuple(map(normalise, pair.candidate.rewrites)) for pair in evidence.pairs if pair.candidate.rewrites]
    if len(answers) < evidence.settings.minimum_queries:
        return unknown("most frequent rewrite", "too few rewrites")
    most = max(Counter(answers).values())
    return share("queries with the most frequent rewrite", most, len(answers), evidence, limits)


def _repeats_itself(row: EvidenceRow) -> bool:
    return row.repetition > REPEATED_WORD_SHARE or any(map(repeats_itself, row.rewrites))
