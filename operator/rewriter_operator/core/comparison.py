"""Does the candidate answer worse than the incumbents do, in the same stage at the same time?

Three answers, as of a limit (core/limits.py): no; yes, by more than chance; and "over, but it may be chance", which
holds a step until its deadline and then no longer (docs/decisions/0043). What makes both sides fail alike, such as odd
queries, is no fault of the candidate and is not held against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rewriter_operator.api.release import Comparison
from rewriter_operator.core.anytime import at_least, at_most
from rewriter_operator.core.traffic import Look

ALPHA: Final = 0.01
"""Of candidates exactly as much worse as is allowed, the part that is ever taken back by chance; half for each side."""


@dataclass(frozen=True)
class _Worse:
    """A rate that is higher than the incumbents' by more than is allowed."""

    sentence: str
    bad: int
    requests: int
    others_bad: int
    others_requests: int
    allowed: float


def crossed_comparison(seen: Look, comparison: Comparison, min_requests: int) -> str | None:
    """The first rate that is worse beyond chance, as a sentence with the numbers; None while none is."""
    return next((found.sentence for found in _worse(seen, comparison, min_requests) if _beyond_chance(found)), None)


def comparison_in_doubt(seen: Look, comparison: Comparison, min_requests: int) -> str | None:
    """The first rate that is worse, be it by chance; None when none is, or either side answered too few."""
    return next((found.sentence for found in _worse(seen, comparison, min_requests)), None)


def _worse(seen: Look, comparison: Comparison, min_requests: int) -> Iterator[_Worse]:
    candidate, others = seen.candidate, seen.others
    if min(candidate.requests, others.requests) < min_requests:
        return
    for name, bad, others_bad, allowed in (
        ("error", candidate.errors, others.errors, comparison.max_error_rate_increase),
        ("empty", candidate.empty, others.empty, comparison.max_empty_rate_increase),
    ):
        rate, others_rate = bad / candidate.requests, others_bad / others.requests
        if rate - others_rate > allowed:
            sentence = (
                f"{name} rate {rate:.3f} > {others_rate:.3f} of the incumbents + {allowed} "
                f"({bad} of {candidate.requests} requests, {others_bad} of {others.requests})"
            )
            yield _Worse(sentence, bad, candidate.requests, others_bad, others.requests, allowed)


def _beyond_chance(found: _Worse) -> bool:
    """Whether the two confidence sequences are further apart than is allowed."""
    surely = at_least(found.bad, found.requests, ALPHA / 2)
    return surely - at_most(found.others_bad, found.others_requests, ALPHA / 2) > found.allowed
