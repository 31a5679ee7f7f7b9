"""Rules that take a candidate back by what both sides answered so far: ours, and two that other tools use.

A rule is asked at every look and gives the number of the look at which it took the candidate back, or None.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import Final

from e2e.bench.rollout.traffic import Window
from rewriter_operator.api.release import Comparison, Limits
from rewriter_operator.api.status import Counters
from rewriter_operator.core.comparison import crossed_comparison
from rewriter_operator.core.traffic import Look

Z_ALPHA: Final = 0.05
FAILED_WINDOWS: Final = 3
WINDOW_MARGIN: Final = 0.05
"""Difference of rates that fails a window, as an operator's person would set it who wants to see 5 points."""
WITHOUT_MARGIN: Final = Comparison(max_error_rate_increase=1, max_empty_rate_increase=0)
"""The hardest for us: any difference counts."""

MIN_REQUESTS: Final = Limits().min_requests

Rule = Callable[[Iterable[Window]], int | None]


def by_confidence_sequences(windows: Iterable[Window]) -> int | None:
    """`spec.rollout.comparison`, with the operator's own function."""
    for number, total in enumerate(_totals(windows), 1):
        look = Look(
            Counters(requests=total.candidate, empty=total.candidate_bad),
            Counters(requests=total.incumbent, empty=total.incumbent_bad),
        )
        if crossed_comparison(look, WITHOUT_MARGIN, MIN_REQUESTS):
            return number
    return None


def by_z_test_at_every_look(windows: Iterable[Window]) -> int | None:
    """Two proportions, one-sided, at 5 %, as if each look were the only one."""
    for number, total in enumerate(_totals(windows), 1):
        pooled = (total.candidate_bad + total.incumbent_bad) / (total.candidate + total.incumbent)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / total.candidate + 1 / total.incumbent))
        difference = total.candidate_bad / total.candidate - total.incumbent_bad / total.incumbent
        if spread and difference / spread > NormalDist().inv_cdf(1 - Z_ALPHA):
            return number
    return None


def by_failed_windows(windows: Iterable[Window]) -> int | None:
    """Each window against a threshold; the third that fails takes it back."""
    failed = 0
    for number, window in enumerate(windows, 1):
        difference = window.candidate_bad / window.candidate - window.incumbent_bad / window.incumbent
        failed += difference > WINDOW_MARGIN
        if failed >= FAILED_WINDOWS:
            return number
    return None


RULES: Final[Mapping[str, Rule]] = {
    "ours": by_confidence_sequences,
    "z_test_at_every_look": by_z_test_at_every_look,
    "failed_windows": by_failed_windows,
}


def fixed_horizon(base: float, worse: float, alpha: float, power: float) -> int:
    """Requests of each side that one z-test at the end needs for this difference (normal approximation)."""
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return math.ceil(z**2 * (base * (1 - base) + worse * (1 - worse)) / (worse - base) ** 2)


def _totals(windows: Iterable[Window]) -> Iterable[Window]:
    total = Window(0, 0, 0, 0)
    for window in windows:
        total = Window(
            total.candidate_bad + window.candidate_bad,
            total.candidate + window.candidate,
            total.incumbent_bad + window.incumbent_bad,
            total.incumbent + window.incumbent,
        )
        yield total
