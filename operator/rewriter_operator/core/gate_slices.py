"""Checks of the kinds of queries: what is lost by one kind under a mean that looks well.

Each is a pure function of the evidence and its limits; gate_checks.py says what it means for the verdict. A kind with
too few queries is named and not tested, and a loss that may be an accident is never a pass.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from rewriter_contract.messages import EvidenceRow
from rewriter_contract.reports import SliceReport, Spread, Verdict
from rewriter_operator.core.gate_evidence import Evidence, minus
from rewriter_operator.core.gate_measured import Limits, Measured, nothing_to_judge, unknown
from rewriter_operator.core.statistics import bootstrap_mean, holm, mean, sign_flip_loss

SMALLEST_SLICE: Final = 10
"""Slices with fewer queries are shown by name and not tested: nothing could be concluded."""
SHOWN: Final = 500
"""Resamples of the bounds that are only shown."""


def no_slice_regresses(evidence: Evidence, limits: Limits) -> Measured:
    """No kind of query loses more than `margin` of nDCG@10."""
    return _slices_hold("nDCG@10", "slice", evidence, limits, lambda row: row.ndcg10)


def reward_holds_in_slices(evidence: Evidence, limits: Limits) -> Measured:
    """No kind of query loses more than `margin` of log R."""
    if not evidence.rewards_are_comparable:
        return unknown("log R of slices", "rewards of both sides are not comparable")
    return _slices_hold("log R", "log R", evidence, limits, lambda row: row.reward)


def slice_reports(evidence: Evidence) -> tuple[SliceReport, ...]:
    """Every named slice with the differences of both measures."""
    rewards = _differences(evidence, lambda row: row.reward) if evidence.rewards_are_comparable else {}
    gold = _differences(evidence, lambda row: row.ndcg10)
    queries = Counter(pair.candidate.slice for pair in evidence.pairs if pair.candidate.slice)
    return tuple(
        SliceReport(
            name,
            queries[name],
            _spread(rewards.get(name, []), evidence, f"shown reward:{name}"),
            _spread(gold.get(name, []), evidence, f"shown ndcg:{name}"),
        )
        for name in sorted(queries)
    )


def _spread(values: Sequence[float], evidence: Evidence, stream: str) -> Spread | None:
    if len(values) < 2:
        return None
    found = bootstrap_mean(values, evidence.settings.alpha, min(evidence.resamples, SHOWN), evidence.random(stream))
    return Spread(found.estimate, found.low, found.high, len(values))


def _slices_hold(
    what: str, stream: str, evidence: Evidence, limits: Limits, measure: Callable[[EvidenceRow], float | None]
) -> Measured:
    """Fail: a slice loses more than `margin` for certain (sign-flip tests, Holm). Inconclusive: perhaps by chance."""
    losses = _differences(evidence, measure)
    names = sorted(name for name, values in losses.items() if len(values) >= SMALLEST_SLICE)
    small = sorted(losses.keys() - names)
    if not names:
        has = f"no slice has {SMALLEST_SLICE} queries: {', '.join(small)}" if small else "no query names its slice"
        return nothing_to_judge(f"{what} of slices", has)
    flips = evidence.resamples
    chances = holm([sign_flip_loss(losses[name], flips, evidence.random(f"{stream}:{name}")) for name in names])
    judged = {name: (mean(losses[name]), chance) for name, chance in zip(names, chances, strict=True)}
    lost = [name for name in names if judged[name][0] < -limits.margin]
    harmed = [name for name in lost if judged[name][1] < evidence.settings.alpha]
    worst = min(harmed or names, key=lambda name: judged[name][0])
    loss, chance = judged[worst]
    verdict = Verdict.FAIL if harmed else Verdict.INCONCLUSIVE if lost else Verdict.PASS
    relation = f"{'<' if lost else '>='} {-limits.margin:+.3f}{', perhaps by chance' if lost and not harmed else ''}"
    untested = f"; too small to test: {', '.join(small)}" if small else ""
    return Measured(
        verdict,
        f"worst of {len(names)} slices: {worst} ({len(losses[worst])} queries) {what} {loss:+.3f} {relation}, "
        f"p={chance:.3f}{untested}",
        difference=loss,
        threshold=-limits.margin,
        n=sum(len(losses[name]) for name in names),
    )


def _differences(evidence: Evidence, measure: Callable[[EvidenceRow], float | None]) -> dict[str, list[float]]:
    """Of each named slice, for the queries where both sides have the measure."""
    found: dict[str, list[float]] = {}
    for pair in evidence.pairs:
        difference = minus(measure(pair.candidate), measure(pair.incumbent))
        if pair.candidate.slice and difference is not None:
            found.setdefault(pair.candidate.slice, []).append(difference)
    return found
