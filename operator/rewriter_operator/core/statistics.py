"""The statistics of the gate, in plain Python: bootstrap bounds, exact tests, Holm. Pure; randomness is passed in.

For gate_checks.py. Every function is a textbook procedure, named in its docstring, so that a refusal can be checked
with any statistics package. Nothing here knows what the numbers mean.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_BYTES: Final = 256
_DRAWN_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Interval:
    """An estimate between two one-sided bounds, each wrong at most `alpha` of the time."""

    estimate: float
    low: float
    high: float


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, summed exactly. Raises ZeroDivisionError for no values."""
    return math.fsum(values) / len(values)


def bootstrap_mean(values: Sequence[float], alpha: float, resamples: int, random: Random) -> Interval:
    """BCa bootstrap bounds of the mean (Efron 1987), each one-sided at `alpha`.

    BCa instead of the plain percentile because per-query differences are skewed: most are zero, a few are large.
    """
    estimate = mean(values)
    if max(values) == min(values):
        return Interval(estimate, estimate, estimate)
    size = len(values)
    means = sorted(sum(drawn) / size for drawn in _resampled(values, resamples, random))
    below = (bisect_left(means, estimate) + bisect_right(means, estimate)) / 2  # a tie counts half
    bias = _NORMAL.inv_cdf(min(max(below / resamples, 1 / resamples), 1 - 1 / resamples))
    acceleration = _acceleration(values, estimate)
    return Interval(
        estimate,
        quantile(means, _bca_level(alpha, bias, acceleration)),
        quantile(means, _bca_level(1 - alpha, bias, acceleration)),
    )


def _acceleration(values: Sequence[float], centre: float) -> float:
    """Jackknife acceleration; for a mean it is the skewness over 6*sqrt(n)."""
    deviations = [value - centre for value in values]
    squares = math.fsum(deviation**2 for deviation in deviations)
    cubes = math.fsum(deviation**3 for deviation in deviations)
    scale = 6 * squares**1.5
    return cubes / scale if scale > 0 else 0.0  # deviations so small that their squares vanish


def _bca_level(level: float, bias: float, acceleration: float) -> float:
    shifted = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + shifted / max(1 - acceleration * shifted, 0.05))  # 0.05: far out, the formula has a pole


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float],
    alpha: float,
    resamples: int,
    random: Random,
) -> Interval:
    """Percentile bootstrap bounds of any statistic of one sample."""
    found = sorted(map(statistic, _resampled(values, resamples, random)))
    return Interval(statistic(values), quantile(found, alpha), quantile(found, 1 - alpha))


def _resampled(values: Sequence[float], resamples: int, random: Random) -> Iterator[list[float]]:
    """Samples with replacement, each as large as the values.

    Up to 256 values an index is one random byte, four times as fast as random.choices: bytes from the last multiple
    of the size on are thrown away, because the first values would be drawn more often.
    """
    size = len(values)
    if size > _BYTES:
        yield from (random.choices(values, k=size) for _ in range(resamples))
        return
    index, unfair = bytes(byte % size for byte in range(_BYTES)), bytes(range(_BYTES - _BYTES % size, _BYTES))
    drawn = b""
    for _ in range(resamples):
        while len(drawn) < size:
            drawn += random.randbytes(_DRAWN_AT_ONCE).translate(index, unfair)
        yield [values[position] for position in drawn[:size]]
        drawn = drawn[size:]


def quantile(ordered: Sequence[float], level: float) -> float:
    """Linear interpolation between order statistics (Hyndman-Fan type 7) of an ascending sequence."""
    position = min(max(level, 0.0), 1.0) * (len(ordered) - 1)
    index = min(int(position), len(ordered) - 1)
    after = min(index + 1, len(ordered) - 1)
    return ordered[index] + (position - index) * (ordered[after] - ordered[index])


def tail_mean(values: Sequence[float], share: float) -> float:
    """CVaR: the mean of the lowest `share` of the values, at least of one."""
    count = max(math.ceil(share * len(values)), 1)
    return math.fsum(sorted(values)[:count]) / count


def binomial_at_least(hits: int, trials: int, rate: float) -> float:
    """P(X >= hits) for X ~ Binomial(trials, rate), exactly: how surprising so many hits are if the rate is `rate`."""
    if hits <= 0:
        return 1.0
    if rate <= 0 or rate >= 1:
        return float(rate >= 1)
    hit, miss = math.log(rate), math.log1p(-rate)
    chances = (math.exp(_log_choose(trials, k) + k * hit + (trials - k) * miss) for k in range(hits, trials + 1))
    return min(math.fsum(chances), 1.0)


def mcnemar(worse: int, better: int) -> float:
    """Exact one-sided McNemar test: P(at least `worse` of the discordant pairs are worse, if each is a coin flip)."""
    return binomial_at_least(worse, worse + better, 0.5)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def sign_flip_loss(differences: Sequence[float], flips: int, random: Random) -> float:
    """Paired randomization test, one-sided for a loss: how often random signs give a mean as low as the observed.

    The observed assignment counts as one flip, so the p-value is never zero (Phipson and Smyth 2010).
    """
    moved = [difference for difference in differences if difference]
    total = sum(moved)
    slack = 1e-12 * sum(map(abs, moved))  # sums in another order differ in the last bits
    if not moved:
        return 1.0
    eights = [_signed_sums(moved[start : start + 8]) for start in range(0, len(moved), 8)]
    coins, width, low = random.randbytes(flips * len(eights)), len(eights), 1
    for start in range(0, len(coins), width):
        low += sum(map(list.__getitem__, eights, coins[start : start + width])) <= total + slack
    return low / (flips + 1)


def _signed_sums(values: Sequence[float]) -> list[float]:
    """The sum of up to eight values for each byte, whose bits say which of them change their sign."""
    sums = [0.0]
    for value in values:
        sums = [found + value for found in sums] + [found - value for found in sums]
    return sums * (_BYTES // len(sums))  # for fewer than eight, the bits above them do not matter


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: comparing each with alpha bounds the chance of any false alarm."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min((len(p_values) - rank) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def spearman(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Rank correlation with mean ranks for ties; None when one side does not vary."""
    return _pearson(_ranks(left), _ranks(right))


def _ranks(values: Sequence[float]) -> list[float]:
    counts = Counter(values)
    rank_of: dict[float, float] = {}
    seen = 0
    for value in sorted(counts):
        rank_of[value] = seen + (counts[value] + 1) / 2
        seen += counts[value]
    return [rank_of[value] for value in values]


def _pearson(left: Sequence[float], right: Sequence[float]) -> float | None:
    mean_left, mean_right = mean(left), mean(right)
    spread = math.fsum((a - mean_left) ** 2 for a in left) * math.fsum((b - mean_right) ** 2 for b in right)
    if spread <= 0:
        return None
    return math.fsum((a - mean_left) * (b - mean_right) for a, b in zip(left, right, strict=True)) / math.sqrt(spread)
