"""Is the share that the serving pods counted the one that was set?

Three answers: yes; surely not; and None for "cannot tell yet", which advances nothing. Yes takes two things: the set
share is inside the confidence interval of the counted one, and nothing at all, or everything, is outside of it. So a
candidate that never got a request is never taken for one with a small share.

It may be looked at as often as one likes (core/anytime.py), which matters, because it is, every second: at each of the
looks together, what is shown to be more than none is none with a probability of at most alpha, and a share that is the
set one is called another with a probability of at most alpha. There is no number of requests after which the answer is
final: a data plane that takes a route over late is believed once its requests outweigh the early ones. How near a wrong
share may be and still be taken for the set one depends on the requests; `status.plan` tells (core/cycle_plan.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rewriter_operator.core.anytime import exceeds
from rewriter_operator.core.traffic import Look

SLACK: Final = 0.01
"""One percent point on either side of the set share, and what counts as none: requests that were under way when the
route changed, and what somebody sends to a pod by hand."""

NARROWEST: Final = 4
"""A share below 4 % has no room for all of SLACK: none is then what is below a quarter of the share."""


@dataclass(frozen=True)
class Counts:
    """The candidate's fewest and most requests, of so many, that verify its share."""

    fewest: int
    most: int


@dataclass(frozen=True)
class _Edges:
    """As parts of 1."""

    none: float
    low: float
    high: float
    all: float


def share_is_real(seen: Look, share: int, min_requests: int, alpha: float) -> bool | None:
    """Whether the counted share is the set one (in percent).

    None: fewer than `min_requests` requests, or so few that the share cannot be told from none, or from all.
    """
    candidate, requests = seen.candidate.requests, seen.requests
    if requests < max(min_requests, 1):
        return None
    if is_surely_another(candidate, requests, share, alpha):
        return False
    edges = _edges(share)
    told = _is_more_than_none(candidate, requests, edges, alpha) and _is_less_than_all(
        candidate, requests, edges, alpha
    )
    return True if told else None


def is_surely_another(candidate: int, requests: int, share: int, alpha: float) -> bool:
    """Whether `candidate` of `requests` show beyond chance that the real share is not the set one, or near it."""
    edges = _edges(share)
    return _is_surely_more(candidate, requests, edges, alpha) or _is_surely_less(candidate, requests, edges, alpha)


def verified_counts(share: int, requests: int, alpha: float) -> Counts | None:
    """What of `requests` the candidate must have answered for its share to be verified; None: so few verify nothing."""
    edges = _edges(share)

    def is_enough(count: int) -> bool:
        return _is_more_than_none(count, requests, edges, alpha) and not _is_surely_less(count, requests, edges, alpha)

    def is_too_many(count: int) -> bool:
        return _is_surely_more(count, requests, edges, alpha) or not _is_less_than_all(count, requests, edges, alpha)

    fewest, most = _first(requests + 1, is_enough), _first(requests + 1, is_too_many) - 1
    return Counts(fewest, most) if fewest <= most else None


def _is_surely_more(candidate: int, requests: int, edges: _Edges, alpha: float) -> bool:
    return exceeds(candidate, requests, edges.high, alpha / 2)


def _is_surely_less(candidate: int, requests: int, edges: _Edges, alpha: float) -> bool:
    return exceeds(requests - candidate, requests, 1 - edges.low, alpha / 2)


def _is_more_than_none(candidate: int, requests: int, edges: _Edges, alpha: float) -> bool:
    return exceeds(candidate, requests, edges.none, alpha)


def _is_less_than_all(candidate: int, requests: int, edges: _Edges, alpha: float) -> bool:
    """Of a full share there is nothing less to be told from."""
    return edges.all >= 1 or exceeds(requests - candidate, requests, 1 - edges.all, alpha)


def _edges(share: int) -> _Edges:
    part = share / 100
    none, rest = min(SLACK, part / NARROWEST), min(SLACK, (1 - part) / NARROWEST)
    below, above = min(SLACK, part - none), min(SLACK, 1 - part - rest)
    return _Edges(none=none, low=part - below, high=part + above, all=1 - rest)


def _first(end: int, is_true: Callable[[int], bool]) -> int:
    """The first number from 0 on from which it is true; `end` where it never is."""
    low, high = -1, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_true(middle) else (middle, high)
    return high
