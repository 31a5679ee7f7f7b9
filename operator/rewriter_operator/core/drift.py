"""Slow decay of gold over releases, each of which its gate passed: the series of candidates, and when it is an alarm.

A gate compares a candidate with the revision before it and lets a loss pass that is within the margin or may be chance;
nothing else compares with last spring. It is shown (condition GoldKept, an Event, a metric) and never blocks anything.

The evidence is what every judged candidate did to gold, promoted or not: those that passed are a choice of the lucky,
and their recorded losses are smaller than the true ones. An alarm also needs that what serves did lose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from rewriter_contract.reports import CheckName, GateReport
from rewriter_operator.api.status import BaselineStep, Cycle, GoldChange, Outcome

STEPS: Final = 52
"""Candidates that are kept: a year of weekly ones."""
FALSE_ALARMS: Final = 0.05
"""At most this share of stationary series may raise an alarm within STEPS candidates."""
SHIFTS: Final = (0.25, 0.5, 1.0)
"""Mean losses per candidate that are looked for, in margins."""
LEAST_ERROR: Final = 0.2
"""In margins. Errors are estimates; below this, one odd query would count for more than it can prove."""
FEWEST_PROMOTIONS: Final = 2
"""One release that lost is the gate's business."""

GOLD_CHECKS: Final = {CheckName.GOLD_NDCG: "nDCG@10", CheckName.GOLD_RECALL: "recall@100"}
"""Checks that only compare with the incumbent: what one release loses, the next one no longer misses."""
EVIDENCE_NEEDED: Final = math.log(STEPS * len(GOLD_CHECKS) / FALSE_ALARMS)
"""Logarithm. Without a mean loss, the statistic less the number of steps is a supermartingale, so by Doob's inequality
it reaches c within n steps with a chance of at most n / c; two checks share the rate."""
MOST_OF_ONE: Final = EVIDENCE_NEEDED / 3
"""What one candidate can add at most: one that was refused for a great loss is no slow decay."""


@dataclass(frozen=True)
class Decay:
    """One measure of the candidates of late, and of what serves."""

    check: CheckName
    evidence: float
    """Logarithm of the statistic."""
    candidates: int
    """Of the stretch that speaks loudest for a decay; all of them where none does."""
    each: float
    """Mean change of gold by a candidate of the stretch."""
    promotions: int
    """Of the stretch, on the way to what serves."""
    difference: float
    """Of gold, by these, as their gates recorded it."""

    @property
    def is_certain(self) -> bool:
        """Whether it is an alarm."""
        lost = self.promotions >= FEWEST_PROMOTIONS and self.difference < 0
        return lost and self.evidence >= EVIDENCE_NEEDED

    def __str__(self) -> str:
        relation = ">=" if self.evidence >= EVIDENCE_NEEDED else "<"
        return (
            f"{GOLD_CHECKS[self.check]} of what serves {self.difference:+.3f} over {self.promotions} promotions; "
            f"the last {self.candidates} candidates {self.each:+.4f} each, "
            f"evidence of decay {self.evidence:+.1f} {relation} {EVIDENCE_NEEDED:.1f}"
        )


def gold_changes(report: GateReport) -> list[GoldChange]:
    """What the report says of gold; checks without numbers are left out, which is not a change of zero."""
    found = []
    width = 2 * NormalDist().inv_cdf(1 - report.settings.alpha)
    for name in GOLD_CHECKS:
        finding = report.finding(name)
        given = (finding.difference, finding.low, finding.high, finding.threshold)
        numbers = [round(number, 6) for number in given if number is not None and math.isfinite(number)]
        if len(numbers) == len(given):
            difference, low, high, threshold = numbers
            error = round((high - low) / width, 6)
            found.append(GoldChange(check=name, difference=difference, error=error, margin=abs(threshold)))
    return found


def continued(series: Sequence[BaselineStep], cycle: Cycle) -> list[BaselineStep]:
    """The series, newest first, with a cycle that has ended; as it was when that one was never judged."""
    if cycle.candidate is None or cycle.gate is None:
        return list(series)
    step = BaselineStep(
        revision=cycle.candidate.revision,
        compared_with=cycle.compared_with.revision if cycle.compared_with else -1,
        promoted=cycle.outcome is Outcome.PROMOTED,
        gold=cycle.gate.gold,
    )
    return [step, *series][:STEPS]


def way_to(series: Sequence[BaselineStep], revision: int) -> set[int]:
    """The promotions that led to this revision, each compared with the one before it.

    After a return to an earlier revision, what was promoted in between is on no way to what serves.
    """
    steps = {step.revision: step for step in series if step.promoted}
    way: set[int] = set()
    while revision in steps:
        way.add(revision)
        revision = steps.pop(revision).compared_with
    return way


def decays(series: Sequence[BaselineStep], serves: int) -> list[Decay]:
    """One per measure that at least two candidates have, the likeliest decay first."""
    way, found = way_to(series, serves), []
    for check in GOLD_CHECKS:
        steps = [(step, change) for step in reversed(series) for change in step.gold if change.check == check]
        if len(steps) > 1:
            found.append(_decay(check, steps, way))
    return sorted(found, key=lambda decay: decay.evidence, reverse=True)


def _decay(check: CheckName, steps: Sequence[tuple[BaselineStep, GoldChange]], way: set[int]) -> Decay:
    """Shiryaev-Roberts statistic of a mean that went from 0 to -shift, averaged over SHIFTS."""
    ratios = {shift: [_log_ratio(change, shift) for _, change in steps] for shift in SHIFTS}
    evidence = _log_sum([_shiryaev_roberts(ratios[shift]) for shift in SHIFTS]) - math.log(len(SHIFTS))
    stretch = steps[_loudest(ratios[SHIFTS[1]]) :]
    served = [change.difference for step, change in stretch if step.revision in way]
    return Decay(
        check=check,
        evidence=evidence,
        candidates=len(stretch),
        each=math.fsum(change.difference for _, change in stretch) / len(stretch),
        promotions=len(served),
        difference=math.fsum(served),
    )


def _log_ratio(change: GoldChange, shift: float) -> float:
    """log of N(-loss, error^2) over N(0, error^2) at the observed difference; 0 where no loss was acceptable."""
    if change.margin <= 0:
        return 0.0
    loss, error = shift * change.margin, max(change.error, LEAST_ERROR * change.margin)
    return min(-loss * (change.difference + loss / 2) / error**2, MOST_OF_ONE)


def _shiryaev_roberts(ratios: Sequence[float]) -> float:
    """R = (1 + R) * likelihood ratio, in logarithms: the sum over every candidate at which a decay may have begun."""
    found = -math.inf
    for ratio in ratios:
        found = _log_sum([0.0, found]) + ratio
    return found


def _loudest(ratios: Sequence[float]) -> int:
    """Where the stretch to the end begins that has the highest sum of log ratios; 0 where no stretch speaks for one."""
    best, start, total = 0.0, 0, 0.0
    for index in range(len(ratios) - 1, -1, -1):
        total += ratios[index]
        if total > best:
            best, start = total, index
    return start


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(entry - top) for entry in logs))
