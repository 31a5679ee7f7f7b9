"""Compares a loaded engine with the files it was loaded from. Pure.

The trainer records log-probabilities of a fixed token sequence in the manifest; an engine that holds the same
parameters gives the same numbers. It is the only check that looks at the end of the whole path: files, reload,
parallel shards, caches.
"""

import math
from collections.abc import Sequence

from rewriter_contract.weights import Canary


class CanaryFailed(ValueError):
    """The engine does not hold what the files say; the message has both numbers."""


def difference(canary: Canary, found: Sequence[float]) -> float:
    """Largest absolute difference in nats; infinity when lengths differ or a number is not finite."""
    if len(found) != len(canary.logprobs) or not found:
        return math.inf
    gaps = [abs(expected - value) for expected, value in zip(canary.logprobs, found, strict=True)]
    return max(gaps) if all(math.isfinite(gap) for gap in gaps) else math.inf


def check(version: str, canary: Canary, found: Sequence[float]) -> float:
    """The difference, when it is within the manifest's tolerance.

    Raises:
        CanaryFailed: when it is not. NaN counts as infinitely far: damaged weights often answer NaN.
    """
    gap = difference(canary, found)
    if not gap <= canary.tolerance:
        raise CanaryFailed(f"weight set {version}: canary log-probabilities differ by {gap:.4g} > {canary.tolerance:g}")
    return gap
