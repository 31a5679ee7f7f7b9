"""Answers of two sides over a rollout, drawn from a seed: equal or a worse candidate, calm or in waves."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

BASE_RATE: Final = 0.3
"""Of bad answers, on both sides of an A/A."""
WAVE_SD: Final = 0.5
"""Standard deviation of the waves, in logits: with it the rate of a window lies between 15 and 50 %, mostly."""


@dataclass(frozen=True)
class Window:
    """What was added between two looks."""

    candidate_bad: int
    candidate: int
    incumbent_bad: int
    incumbent: int


@dataclass(frozen=True)
class Setting:
    """One kind of rollout."""

    looks: int = 24
    candidate_per_look: int = 20
    incumbent_per_look: int = 60
    """A share of 25 %."""
    increase_sd: float = 0.0
    """By how many standard deviations of one answer the candidate is worse."""
    autocorrelation: float = 0.0
    """From one window to the next; 0: every window has the same rate."""
    is_shared: bool = True
    """Whether both sides ride the same wave, as requests do that are divided at random at every moment."""


def windows(setting: Setting, seed: str) -> Iterator[Window]:
    """All windows of one rollout."""
    draw = random.Random(seed)
    worse = min(BASE_RATE + setting.increase_sd * math.sqrt(BASE_RATE * (1 - BASE_RATE)), 1.0)
    ours = theirs = 0.0
    for _ in range(setting.looks):
        ours = _next(ours, setting.autocorrelation, draw)
        theirs = ours if setting.is_shared else _next(theirs, setting.autocorrelation, draw)
        yield Window(
            _bad(setting.candidate_per_look, _shifted(worse, ours), draw),
            setting.candidate_per_look,
            _bad(setting.incumbent_per_look, _shifted(BASE_RATE, theirs), draw),
            setting.incumbent_per_look,
        )


def _next(wave: float, autocorrelation: float, draw: random.Random) -> float:
    """AR(1) with standard deviation WAVE_SD; calm when it has no memory."""
    if not autocorrelation:
        return 0.0
    return autocorrelation * wave + draw.gauss(0, WAVE_SD * math.sqrt(1 - autocorrelation**2))


def _shifted(rate: float, logits: float) -> float:
    if not logits or rate >= 1:
        return rate
    return 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) + logits)))


def _bad(requests: int, rate: float, draw: random.Random) -> int:
    return sum(draw.random() < rate for _ in range(requests))
