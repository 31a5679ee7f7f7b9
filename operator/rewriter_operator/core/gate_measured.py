"""What every check of the gate is given (its limits) and what it gives back (what it measured).

For gate_checks.py and the modules that hold the checks; it decides nothing about a candidate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rewriter_contract.reports import CheckSettings, Verdict
from rewriter_operator.core.gate_evidence import Pair, number
from rewriter_operator.core.statistics import Interval

MOST_MISSING: Final = 0.05
"""Share of the queries without a number, beyond which the others' numbers conclude nothing."""


@dataclass(frozen=True)
class Limits:
    """A check's numbers, defaults filled in."""

    margin: float = 0.0
    min: float = -math.inf
    max: float = math.inf

    def overridden(self, settings: CheckSettings | None) -> "Limits":
        """These limits with the user's numbers where there are any."""
        if settings is None:
            return self
        chosen = {"margin": settings.margin, "min": settings.min, "max": settings.max}
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})


@dataclass(frozen=True)
class Measured:
    """What a check found; see Finding for the fields."""

    verdict: Verdict
    message: str
    candidate: float | None = None
    incumbent: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Fail before Inconclusive before Pass; Inconclusive where nothing was judged. NotApplicable says nothing."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS):
        if verdict in verdicts:
            return verdict
    return Verdict.INCONCLUSIVE


def unknown(what: str, why: str) -> Measured:
    """There is nothing to conclude from."""
    return Measured(Verdict.INCONCLUSIVE, f"{what}: {why}")


def nothing_to_judge(what: str, why: str) -> Measured:
    """The queries have nothing that the check looks at. What that means depends on who asked for it (Check.find)."""
    return Measured(Verdict.NOT_APPLICABLE, f"{what}: {why}")


def at_most(found: Interval, limit: float, spec: str) -> tuple[Verdict, str]:
    """Whether a mean stays within `limit`, and how that is said; `spec` formats both numbers.

    Fail needs the lower bound above it: what sampling could explain is Inconclusive.
    """
    if found.estimate <= limit:
        return Verdict.PASS, f"<= {limit:{spec}}"
    verdict = Verdict.FAIL if found.low > limit else Verdict.INCONCLUSIVE
    return verdict, f"> {limit:{spec}}, lower bound {found.low:{spec}}"


def numbers_of(pairs: Sequence[Pair], measure: Callable[[Pair], float | None]) -> list[float]:
    """The measure of every pair that has it."""
    return [value for pair in pairs if (value := number(measure(pair))) is not None]
