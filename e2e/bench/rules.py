"""Two rules that other tools promote by, for comparison with the gate: plain thresholds, and Kayenta's classifier.

Both look at the same three numbers per query (log R, nDCG@10, recall@100) and at no text.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean
from typing import Final

from rewriter_contract.messages import EvidenceRow

GOLD_MARGIN: Final = 0.05
KAYENTA_CONFIDENCE: Final = 0.98
KAYENTA_TOLERANCE: Final = 0.25
"""Of the estimated shift itself: the interval must lie beyond it."""

Measure = Callable[[EvidenceRow], float | None]
MEASURES: Final[tuple[Measure, ...]] = (lambda row: row.reward, lambda row: row.ndcg10, lambda row: row.recall100)


def threshold_promotes(candidate: Sequence[EvidenceRow], incumbent: Sequence[EvidenceRow]) -> bool:
    """The mean reward is higher, and no gold mean is lower by more than the margin."""
    reward, ndcg, recall = (
        fmean(_values(candidate, measure)) - fmean(_values(incumbent, measure)) for measure in MEASURES
    )
    return reward > 0 and min(ndcg, recall) >= -GOLD_MARGIN


def kayenta_promotes(candidate: Sequence[EvidenceRow], incumbent: Sequence[EvidenceRow]) -> bool:
    """No measure is classified Low, as with direction "decrease" and a pass score above two of three."""
    return not any(is_low(_values(candidate, measure), _values(incumbent, measure)) for measure in MEASURES)


def is_low(experiment: Sequence[float], control: Sequence[float]) -> bool:
    """Mann-Whitney: the whole 98 % interval of the Hodges-Lehmann shift lies below -0.25 * |shift|."""
    shifts = sorted(ours - theirs for ours in experiment for theirs in control)
    count, middle = len(shifts), len(shifts) // 2
    estimate = shifts[middle] if count % 2 else (shifts[middle - 1] + shifts[middle]) / 2
    spread = math.sqrt(count * (len(experiment) + len(control) + 1) / 12)
    outside = int(count / 2 - NormalDist().inv_cdf((1 + KAYENTA_CONFIDENCE) / 2) * spread)
    upper = shifts[count - 1 - max(outside, 0)]
    return upper < -KAYENTA_TOLERANCE * abs(estimate)


def _values(rows: Sequence[EvidenceRow], measure: Measure) -> list[float]:
    return [value for row in rows if (value := measure(row)) is not None]
