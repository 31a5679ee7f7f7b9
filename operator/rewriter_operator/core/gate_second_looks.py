"""Second looks at reward and gold: what a passing mean may hide, and how much this gate could have seen.

Each is a pure function of the evidence and its limits; gate_ranking.py holds the checks that decide.
"""

import math
from statistics import stdev
from typing import Final

from rewriter_contract.reports import Verdict
from rewriter_operator.core.gate_evidence import Evidence, number
from rewriter_operator.core.gate_measured import Limits, Measured, unknown
from rewriter_operator.core.gate_slices import SMALLEST_SLICE
from rewriter_operator.core.statistics import bootstrap_mean

TOP_SHARE: Final = 0.2
"""The queries that the reward praises most: where a cheat would be."""
POWER_CONSTANT: Final = 6.18
"""(z(0.95) + z(0.80))^2: one-sided 5 %, power 80 %."""


def gold_holds_where_reward_rose_most(evidence: Evidence, limits: Limits) -> Measured:
    """Among the fifth of the queries whose log R rose most, nDCG@10 does not fall by more than `margin`."""
    both = [
        (ours - theirs, gold - before)
        for pair in evidence.pairs
        if (ours := number(pair.candidate.reward)) is not None
        and (theirs := number(pair.incumbent.reward)) is not None
        and (gold := number(pair.candidate.ndcg10)) is not None
        and (before := number(pair.incumbent.ndcg10)) is not None
    ]
    top = [gold for _, gold in sorted(both, reverse=True)[: math.ceil(TOP_SHARE * len(both))]]
    if not evidence.rewards_are_comparable or len(top) < SMALLEST_SLICE:
        return unknown("nDCG@10 where log R rose most", f"under {SMALLEST_SLICE} comparable queries in the top fifth")
    found = bootstrap_mean(top, evidence.settings.alpha, evidence.resamples, evidence.random("top"))
    verdict = Verdict.PASS if found.estimate >= -limits.margin else Verdict.INCONCLUSIVE
    if found.high < -limits.margin:
        verdict = Verdict.FAIL
    return Measured(
        verdict,
        f"nDCG@10 of the {len(top)} queries whose log R rose most {found.estimate:+.3f} against {-limits.margin:+.3f}",
        difference=found.estimate,
        low=found.low,
        high=found.high,
        threshold=-limits.margin,
        n=len(top),
    )


def queries_suffice(evidence: Evidence, limits: Limits) -> Measured:
    """There are as many queries as a gain of `margin` log R needs: 6.18 * (sd / margin)^2, power 80 % at 5 %."""
    found = evidence.reward
    if found is None or limits.margin <= 0:
        return unknown("queries needed", "too few comparable rewards, or a margin of 0")
    spread = stdev(found.differences)
    needed = math.ceil(POWER_CONSTANT * (spread / limits.margin) ** 2)
    visible = spread * math.sqrt(POWER_CONSTANT / found.n)
    return Measured(
        Verdict.PASS if found.n >= needed else Verdict.INCONCLUSIVE,
        f"{needed} queries show a gain of {limits.margin:.3f} log R in four of five gates (paired sd {spread:.3f}); "
        f"these {found.n} show {visible:.3f}",
        candidate=visible,
        threshold=limits.margin,
        n=found.n,
    )
