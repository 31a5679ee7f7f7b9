"""How often a rollout takes back an equal candidate, and how soon a worse one: drawn, not played.

Rollouts are drawn from a model of traffic (traffic.py) and judged by the operator's own function and by two rules of
other tools (rules.py).
"""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from e2e.bench.rollout.rules import RULES, fixed_horizon
from e2e.bench.rollout.traffic import BASE_RATE, Setting, windows

EQUAL: Final[Mapping[str, Setting]] = {
    "iid": Setting(),
    "ar": Setting(autocorrelation=0.5),
    "ar_of_each_side_alone": Setting(autocorrelation=0.5, is_shared=False),
}
DROPS: Final = (0.25, 0.5, 1.0)
"""In standard deviations of one answer."""


def taken_back(setting: Setting, runs: int, name: str) -> dict[str, dict[str, float | None]]:
    """Per rule: the part of the rollouts that it took back, and the median look at which it did."""
    looks: dict[str, list[int]] = {rule: [] for rule in RULES}
    for seed in range(runs):
        drawn = list(windows(setting, f"{name}:{seed}"))
        for rule, take_back in RULES.items():
            if (look := take_back(drawn)) is not None:
                looks[rule].append(look)
    return {
        rule: {"rate": round(len(found) / runs, 4), "median_look": median(found) if found else None}
        for rule, found in looks.items()
    }


def measure(runs: int) -> dict[str, Any]:
    """Everything, as it is written."""
    equal = {name: taken_back(setting, runs, name) for name, setting in EQUAL.items()}
    worse = {f"{drop}": taken_back(Setting(increase_sd=drop), max(runs // 4, 1), f"worse:{drop}") for drop in DROPS}
    deviation = (BASE_RATE * (1 - BASE_RATE)) ** 0.5
    look, per_look = worse["0.5"]["ours"]["median_look"], Setting().candidate_per_look
    return {
        "aa_false_rollback_iid": equal["iid"]["ours"]["rate"],
        "aa_false_rollback_ar": max(equal[name]["ours"]["rate"] or 0 for name in ("ar", "ar_of_each_side_alone")),
        "candidate_requests_to_see_half_a_deviation": None if look is None else look * per_look,
        "fixed_horizon_requests_of_each_side": fixed_horizon(BASE_RATE, BASE_RATE + 0.5 * deviation, 0.01, 0.5),
        "equal_sides": equal,
        "worse_by_deviations": worse,
        "settings": {"runs": runs, "looks": Setting().looks, "base_rate": BASE_RATE},
    }
