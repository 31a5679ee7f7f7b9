"""Tests of a rate that may be looked at as often as one likes, and the bounds that follow from them.

The counters are looked at every few seconds, so a test for one look would call chance a failure sooner or later. The
mean of likelihood ratios of worse rates against a limit is a supermartingale for every true rate inside the limit, so
it ever passes 1/alpha with a probability of at most alpha (Ville's inequality; Howard et al., "Time-uniform,
nonparametric, nonasymptotic confidence sequences", 2021). The rates that such a test does not refuse form a confidence
sequence: it holds the true rate at every look together with a probability of at least 1 - alpha.
"""

import math
from typing import Final

WORSE_ODDS: Final = (1.5, 2.0, 4.0, 8.0, 32.0, 128.0, 1024.0)
"""The worse rates that are tried, as multiples of the limit's odds: from a half more to nearly everything."""

HALVINGS: Final = 40


def exceeds(bad: int, requests: int, limit: float, alpha: float) -> bool:
    """Whether `bad` of `requests` show beyond chance that the rate is above `limit` (0 to 1)."""
    if limit <= 0:
        return bad > 0
    if limit >= 1:
        return False
    odds, good = limit / (1 - limit), requests - bad
    logs = []
    for factor in WORSE_ODDS:
        worse = factor * odds / (1 + factor * odds)
        logs.append(bad * math.log(worse / limit) + good * math.log((1 - worse) / (1 - limit)))
    top = max(logs)
    return top + math.log(sum(math.exp(entry - top) for entry in logs) / len(logs)) >= -math.log(alpha)


def at_least(bad: int, requests: int, alpha: float) -> float:
    """The highest rate that `exceeds` is sure of: a lower bound of the true rate, for every look together."""
    low, high = 0.0, bad / requests if requests else 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if middle > 0 and exceeds(bad, requests, middle, alpha):
            low = middle
        else:
            high = middle
    return low


def at_most(bad: int, requests: int, alpha: float) -> float:
    """The upper bound that belongs to `at_least`."""
    return 1 - at_least(requests - bad, requests, alpha)
