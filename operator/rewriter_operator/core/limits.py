"""Do the candidate's answers stay inside the limits of spec.rollout.limits?

Three answers, as everywhere in a rollout: inside, crossed, and "over the limit, but it may be chance". Crossed takes
the candidate back at once; doubt keeps its share where it is until more requests tell, or a deadline ends it.

It may be looked at as often as one likes (core/anytime.py).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rewriter_operator.api.release import Limits
from rewriter_operator.core.anytime import exceeds
from rewriter_operator.core.traffic import Look, percentile_ms, slower_than

ALPHA: Final = 0.01
"""Of candidates exactly at a limit, the part that is ever taken back by chance, per stage, share and limit."""


@dataclass(frozen=True)
class _Excess:
    """A limit that the candidate's answers are over."""

    sentence: str
    bad: int
    requests: int
    limit: float
    """Highest rate of bad answers that is allowed."""


def crossed_limit(seen: Look, limits: Limits) -> str | None:
    """The first limit that is crossed beyond chance, as a sentence with the numbers; None while none is."""
    return next(
        (found.sentence for found in _over(seen, limits) if exceeds(found.bad, found.requests, found.limit, ALPHA)),
        None,
    )


def limit_in_doubt(seen: Look, limits: Limits) -> str | None:
    """The first limit that the answers are over, be it by chance; None when all are kept, or too few answered."""
    return next((found.sentence for found in _over(seen, limits)), None)


def _over(seen: Look, limits: Limits) -> Iterator[_Excess]:
    counters = seen.candidate
    requests = counters.requests
    if requests < limits.min_requests:
        return
    for name, bad, limit in (
        ("error rate", counters.errors, limits.max_error_rate),
        ("empty rate", counters.empty, limits.max_empty_rate),
    ):
        if bad / requests > limit:
            sentence = f"{name} {bad / requests:.3f} > {limit} ({bad} of {requests} requests)"
            yield _Excess(sentence, bad, requests, limit)
    p95 = percentile_ms(counters, 0.95)
    if p95 is not None and p95 > limits.max_p95_latency_ms:
        shown = "over every bucket" if math.isinf(p95) else f"{p95:.0f} ms"
        sentence = f"p95 latency {shown} > {limits.max_p95_latency_ms} ms ({requests} requests)"
        timed, slow = slower_than(counters, limits.max_p95_latency_ms)
        yield _Excess(sentence, slow, timed, 0.05)
