"""How often something bad happens: exact tests of a share against a limit and against the incumbent's.

For the checks of texts and of gold. Pure; it knows nothing of what is counted.
"""

from collections.abc import Callable
from dataclasses import replace

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.reports import Verdict
from rewriter_operator.core.gate_evidence import Evidence
from rewriter_operator.core.gate_measured import Limits, Measured, nothing_to_judge, unknown, worst_of
from rewriter_operator.core.statistics import binomial_at_least, mcnemar

IsBad = Callable[[EvidenceRow], bool | None]
"""None: the question does not arise for this row, which is then not counted."""


def rare(what: str, evidence: Evidence, limits: Limits, is_bad: IsBad) -> Measured:
    """At most `max` of the queries, and at most `margin` more than the incumbent; exact binomial and McNemar tests."""
    if len(evidence.pairs) < evidence.settings.minimum_queries:
        return unknown(what, "too few queries")
    ours = [bad for pair in evidence.pairs if (bad := is_bad(pair.candidate)) is not None]
    if not ours:
        return nothing_to_judge(what, "no query where it could happen")
    absolute = share(what, sum(ours), len(ours), evidence, limits)
    return absolute if evidence.against_passthrough else _beside_incumbent(absolute, evidence, limits, is_bad)


def _beside_incumbent(absolute: Measured, evidence: Evidence, limits: Limits, is_bad: IsBad) -> Measured:
    both = [
        (mine, other)
        for pair in evidence.pairs
        if (mine := is_bad(pair.candidate)) is not None and (other := is_bad(pair.incumbent)) is not None
    ]
    if not both:
        return absolute
    worse = sum(mine and not other for mine, other in both)
    better = sum(other and not mine for mine, other in both)
    theirs = sum(other for _, other in both) / len(both)
    increase, chance = (worse - better) / len(both), mcnemar(worse, better)
    numbers = f"{theirs:.1%} of the incumbent"
    relative = Verdict.PASS
    if increase > limits.margin:
        relative = Verdict.FAIL if chance < evidence.settings.alpha else Verdict.INCONCLUSIVE
        numbers += f" {increase:+.1%} > {limits.margin:+.1%}, McNemar p={chance:.3f}"
    return replace(
        absolute,
        verdict=worst_of([absolute.verdict, relative]),
        message=f"{absolute.message}; {numbers}",
        incumbent=theirs,
        difference=increase,
    )


def share(what: str, hits: int, total: int, evidence: Evidence, limits: Limits) -> Measured:
    """At most `max` of `total`: over it is a failure when so many are no accident of sampling (exact binomial test)."""
    found, chance = hits / total, binomial_at_least(hits, total, limits.max)
    if found <= limits.max:
        verdict, relation = Verdict.PASS, f"<= {limits.max:.1%}"
    else:
        verdict = Verdict.FAIL if chance < evidence.settings.alpha else Verdict.INCONCLUSIVE
        relation = f"> {limits.max:.1%}, p={chance:.3f}"
    return Measured(
        verdict, f"{what}: {hits} of {total}, {found:.1%} {relation}", candidate=found, threshold=limits.max, n=total
    )
