"""A/A on this cycle's own evidence: sides that are exchanged query by query cannot differ, so the gate must not say so.

For gate_self_test.py. In one exchange a fair coin decides for every query which side is called the candidate. Whatever
the two models are, no candidate of an exchange is better or worse than its incumbent, while ties, outliers, heavy tails
and slices are those of this very cycle. A gate that sees gains or losses there much more often than its alpha allows
would see them anywhere, and its verdict says nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from rewriter_contract.reports import CheckName, CheckSettings, GateSettings, Role, SelfTest, Verdict
from rewriter_operator.core.gate_checks import Check
from rewriter_operator.core.gate_evidence import Evidence, Pair
from rewriter_operator.core.statistics import binomial_at_least

NAME: Final = "a/a"
EXCHANGES: Final = 40
LARGEST: Final = 200
"""Queries of one exchange at most, drawn anew for each: error rates do not need all of them, and a verdict takes
seconds."""
RESAMPLES: Final = 100
COMPARING: Final = (Role.PRIMARY, Role.GUARDRAIL, Role.HACKING_DETECTOR)
"""Roles that compare two sides. Invariants are left out: an incumbent that breaks one must be replaceable."""
TOLERATED: Final = 2.0
"""Times alpha: bounds of few, heavy-tailed differences err somewhat oftener than alpha, which is no broken gate."""
FALSE_ALARM: Final = 0.001
"""Chance that one check of a gate which errs at TOLERATED times alpha is called broken."""


def sides_are_exchangeable(evidence: Evidence, checks: Sequence[Check]) -> SelfTest:
    """No comparing check fails, and RewardGain sees no gain, in more exchanges than errors at alpha explain."""
    errors: Counter[str] = Counter()
    settings = _settings(evidence)
    comparing = [check for check in checks if check.role in COMPARING]
    for number in range(EXCHANGES):
        exchanged = _exchanged(evidence, number, settings)
        for check in comparing:
            verdict = check.find(exchanged).verdict
            errors[f"{check.name} refuses"] += verdict is Verdict.FAIL
            if check.role is Role.PRIMARY:
                errors[f"{check.name} sees a gain"] += verdict is Verdict.PASS
    allowed = most_errors(evidence.settings.alpha)
    worst, count = max(errors.items(), key=lambda item: item[1], default=("no check", 0))
    said = f"of {EXCHANGES} exchanges of the sides, which leave no difference, {worst} in {count}"
    return SelfTest(NAME, count <= allowed, f"{said} ({'at most' if count <= allowed else 'more than'} {allowed})")


def most_errors(alpha: float) -> int:
    """The most exchanges of EXCHANGES that a check may err in: more have a chance under FALSE_ALARM."""
    rate = min(TOLERATED * alpha, 1.0)
    return next(count for count in range(EXCHANGES + 1) if binomial_at_least(count + 1, EXCHANGES, rate) < FALSE_ALARM)


def _settings(evidence: Evidence) -> GateSettings:
    """Rough bounds, and a gain is any gain: an equal candidate rightly misses a `min` above 0, and meets one below."""
    given = evidence.settings
    gain = replace(given.checks.get(CheckName.REWARD_GAIN, CheckSettings()), min=0.0)
    return replace(
        given,
        minimum_queries=min(given.minimum_queries, LARGEST),
        resamples=min(given.resamples, RESAMPLES),
        checks={**given.checks, CheckName.REWARD_GAIN: gain},
    )


def _exchanged(evidence: Evidence, number: int, settings: GateSettings) -> Evidence:
    """The evidence of one exchange; the numbers that bounds draw are its own."""
    tosses = evidence.random(f"exchange:{number}")
    chosen = tosses.sample(evidence.pairs, LARGEST) if len(evidence.pairs) > LARGEST else evidence.pairs
    pairs = tuple(_tossed(pair, tosses) for pair in chosen)
    return replace(
        evidence,
        candidate=replace(evidence.candidate, rows=tuple(pair.candidate for pair in pairs)),
        incumbent=replace(evidence.incumbent, rows=tuple(pair.incumbent for pair in pairs)),
        pairs=pairs,
        settings=replace(settings, seed=settings.seed * EXCHANGES + number),
    )


def _tossed(pair: Pair, tosses: Random) -> Pair:
    return pair if tosses.random() < 0.5 else Pair(candidate=pair.incumbent, incumbent=pair.candidate)
