"""Measures the alarm of slow decay: `python -m e2e.bench.drift` writes build/bench/drift.json.

Stationary series are judged without a gate in front, which is the worst case: a gate keeps the low ones out. Decays are
drawn as evidence and go through the whole gate each week; only what it passes is promoted and makes what serves worse.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean, median, stdev
from typing import Any, Final

from e2e.bench.population import GOLD_SPREAD, Effect, draw_case
from e2e.bench.results import write_result
from e2e.cluster.paths import REPOSITORY
from rewriter_contract.reports import CheckName, GateSettings, Verdict
from rewriter_operator.api.status import BaselineStep, GoldChange
from rewriter_operator.core.drift import GOLD_CHECKS, STEPS, decays, gold_changes
from rewriter_operator.core.gate import judge
from rewriter_operator.core.gate_checks import DEFAULTS

RESULT: Final = REPOSITORY / "build" / "bench" / "drift.json"
QUERIES: Final = 80
MARGIN: Final = DEFAULTS[CheckName.GOLD_NDCG].margin
LOSSES: Final = (MARGIN / 4, MARGIN / 2)
"""Per candidate. A whole margin is not there: the gate lets none of such candidates pass."""
SPREADS: Final = {"as in the demo": GOLD_SPREAD, "twice as wide": 2 * GOLD_SPREAD}
CYCLES: Final = 52
SETTINGS: Final = GateSettings(resamples=1000)


@dataclass(frozen=True)
class Series:
    """One release's year."""

    cycles: int
    promoted: int
    alarm_at: int | None
    """Cycle of the alarm; None: none within the year."""
    promoted_at: int | None
    """Promotions until then."""
    lost_at: float | None
    """nDCG@10 that these had truly lost, by the model."""


def stationary_years(years: int, same_queries: bool) -> float:
    """Share of years of weekly promotions without any true change that raise an alarm.

    Same queries: each revision has a level of its own on the one gate set, so that differences of neighbours share it.
    Fresh ones: each gate draws its own differences.
    """
    alarms = 0
    for year in range(years):
        random = Random(f"{same_queries}:{year}")
        steps = _levels(random) if same_queries else _draws(random)
        series: list[BaselineStep] = []
        for changes in steps:
            number = len(series) + 1
            step = BaselineStep(revision=number, compared_with=number - 1, promoted=True, gold=changes)
            series = [step, *series]
            if any(found.is_certain for found in decays(series, number)):
                alarms += 1
                break
    return round(alarms / years, 4)


def _draws(random: Random) -> Iterator[list[GoldChange]]:
    for _ in range(STEPS):
        yield [_change(check, [_difference(random) for _ in range(QUERIES)]) for check in GOLD_CHECKS]


def _levels(random: Random) -> Iterator[list[GoldChange]]:
    before = {check: [0.0] * QUERIES for check in GOLD_CHECKS}
    for _ in range(STEPS):
        now = {check: [_difference(random) for _ in range(QUERIES)] for check in GOLD_CHECKS}
        yield [
            _change(check, [ours - theirs for ours, theirs in zip(now[check], before[check], strict=True)])
            for check in GOLD_CHECKS
        ]
        before = now


def _difference(random: Random) -> float:
    """Two in five are ties, one in ten of the others three times as wide."""
    if random.random() < 0.4:
        return 0.0
    return random.gauss(0.0, 0.12 * (3 if random.random() < 0.1 else 1))


def _change(check: CheckName, differences: Sequence[float]) -> GoldChange:
    error = stdev(differences) / len(differences) ** 0.5
    return GoldChange(check=check, difference=fmean(differences), error=error, margin=MARGIN)


def decaying(loss: float, spread: float, seed: int) -> Series:
    """Weekly candidates that each lose `loss` of gold while their reward rises, through the whole gate."""
    series: list[BaselineStep] = []
    serves, promoted = 0, 0
    effect = Effect(gain=0.1, loss=loss, gold_spread=spread)
    for cycle in range(1, CYCLES + 1):
        case = draw_case(QUERIES, f"decay:{loss}:{spread}:{seed}:{cycle}", effect)
        report = judge(case.candidate, case.incumbent, replace(SETTINGS, seed=seed))
        passed = report.verdict is Verdict.PASS
        step = BaselineStep(revision=cycle, compared_with=serves, promoted=passed, gold=gold_changes(report))
        series, promoted = [step, *series][:STEPS], promoted + passed
        serves = cycle if passed else serves
        if any(found.is_certain for found in decays(series, serves)):
            return Series(cycle, promoted, cycle, promoted, round(loss * promoted, 4))
    return Series(CYCLES, promoted, None, None, None)


def decay_row(loss: float, spread: float, releases: int) -> dict[str, Any]:
    """What became of `releases` releases that lose as much every week."""
    found = [decaying(loss, spread, seed) for seed in range(releases)]
    alarmed = [item for item in found if item.alarm_at is not None]
    return {
        "loss_per_cycle": loss,
        "promoted_share": round(sum(item.promoted for item in found) / sum(item.cycles for item in found), 3),
        "alarmed": round(len(alarmed) / releases, 3),
        "cycles_to_alarm": _spread([item.alarm_at or 0 for item in alarmed]),
        "promotions_to_alarm": _spread([item.promoted_at or 0 for item in alarmed]),
        "most_lost_before_alarm": max((item.lost_at or 0.0 for item in alarmed), default=None),
        "most_lost_without": round(max((loss * i.promoted for i in found if i.alarm_at is None), default=0.0), 4),
    }


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    """Median and the worst of nine in ten."""
    return {"median": median(values), "p90": sorted(values)[math.ceil(0.9 * len(values)) - 1]} if values else None


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=1000, help="stationary years of weekly promotions")
    parser.add_argument("--releases", type=int, default=12, help="releases for each decay")
    arguments = parser.parse_args()
    result = {
        "false_alarms_a_year": {
            "fresh queries": stationary_years(arguments.years, same_queries=False),
            "same queries": stationary_years(arguments.years, same_queries=True),
        },
        "decays": {
            name: [decay_row(loss, spread, arguments.releases) for loss in LOSSES] for name, spread in SPREADS.items()
        },
        "settings": {"queries": QUERIES, "margin": MARGIN, "resamples": SETTINGS.resamples, **vars(arguments)},
    }
    write_result(RESULT, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
