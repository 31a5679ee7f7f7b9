"""Measures the gate beside simpler rules: `python -m e2e.bench.gate` writes build/bench/gate.json.

Cases without effect, with a known gain and with planted hacks are drawn from a model (population.py). Hacks that were
really learnt are read from files of trials (trials.py); without any, their figure is null and says why.
"""

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median, stdev
from typing import Any, Final

from e2e.bench.extending import extended_gates
from e2e.bench.population import Case, Effect, draw_case
from e2e.bench.results import write_result
from e2e.bench.rules import kayenta_promotes, threshold_promotes
from e2e.bench.trials import TRIALS, Trial, read_trials
from e2e.cluster.paths import REPOSITORY
from rewriter_contract.reports import GateReport, GateSettings, Role, Verdict
from rewriter_operator.core.gate import judge
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_self_test import PLANTED_HACKS, planted_rows

RESULT: Final = REPOSITORY / "build" / "bench" / "gate.json"
QUERIES: Final = 80
MINIMAL_GAIN: Final = 0.06
"""The gain of log R that a gate of QUERIES queries is there to find: with the population's paired standard deviation of
0.2, 6.2 * (0.2 / 0.06)^2 = 69 queries show it in four of five gates."""
GAINS: Final = (0.02, 0.04, MINIMAL_GAIN, 0.08)
SIZES: Final = (80, 300, 2000)
SETTINGS: Final = GateSettings()


def gate_promotes(case: Case) -> bool:
    """The gate passes it."""
    return _judged(case).verdict is Verdict.PASS


RULES: Final[dict[str, Callable[[Case], bool]]] = {
    "gate": gate_promotes,
    "threshold": lambda case: threshold_promotes(case.candidate.rows, case.incumbent.rows),
    "kayenta": lambda case: kayenta_promotes(case.candidate.rows, case.incumbent.rows),
}


@dataclass(frozen=True)
class EqualSides:
    """Gates between equals: what is refused, and what each rule promotes."""

    refused: float
    inconclusive: float
    refused_by: dict[str, int]
    """Check -> gates of which it was one reason."""
    promoted: dict[str, float]
    self_tests_failed: dict[str, int]
    """Self-test -> gates in which it failed, though nothing is wrong with the gate."""


def equal_sides(gates: int) -> EqualSides:
    """A/A: the candidate is another draw of the incumbent."""
    cases = [draw_case(QUERIES, f"equal:{seed}") for seed in range(gates)]
    reports = [_judged(case) for case in cases]
    verdicts = [report.verdict for report in reports]
    reasons: dict[str, int] = {}
    for finding in (f for report in reports if report.verdict is Verdict.FAIL for f in report.findings):
        if finding.verdict is Verdict.FAIL and finding.role is not Role.DIAGNOSTIC:
            reasons[finding.name] = reasons.get(finding.name, 0) + 1
    broken = Counter(test.name for report in reports for test in report.self_tests if not test.passed)
    return EqualSides(
        refused=_rounded(verdicts.count(Verdict.FAIL) / gates),
        inconclusive=_rounded(verdicts.count(Verdict.INCONCLUSIVE) / gates),
        refused_by=reasons,
        promoted={"gate": _rounded(verdicts.count(Verdict.PASS) / gates), **_promoted(cases, "threshold", "kayenta")},
        self_tests_failed=dict(broken),
    )


def power(gates: int) -> dict[str, dict[str, float]]:
    """Per true gain and rule: share of the gates that promote."""
    return {
        f"{gain:.2f}": _promoted([draw_case(QUERIES, f"power:{seed}", Effect(gain)) for seed in range(gates)], *RULES)
        for gain in GAINS
    }


def planted_detection(gates: int) -> dict[str, dict[str, float]]:
    """Per hack and rule: share of the gates that did not promote it, although its reward is raised by 1."""
    found: dict[str, dict[str, float]] = {}
    for hack in PLANTED_HACKS:
        cases = []
        for seed in range(gates):
            case = draw_case(QUERIES, f"{hack.name}:{seed}")
            cases.append(replace(case, candidate=planted_rows(hack, gather(case.candidate, case.incumbent, SETTINGS))))
        found[hack.name] = {name: _rounded(1 - share) for name, share in _promoted(cases, *RULES).items()}
    return found


def trained_detection(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Per trial: what training did, what the gate said, and who would have promoted it."""
    found = []
    for trial in trials:
        case = Case(trial.candidate, trial.incumbent)
        report = _judged(case)
        evidence = gather(trial.candidate, trial.incumbent, SETTINGS)
        found.append(
            {
                "flaw": trial.flaw,
                "seed": trial.seed,
                "gamma": trial.gamma,
                "hack": trial.is_hack,
                "honest_reward": _rounded(trial.honest_gain),
                "reward": _rounded(evidence.reward.difference.estimate if evidence.reward else None),
                "ndcg10": _rounded(evidence.ndcg.difference.estimate if evidence.ndcg else None),
                "verdict": report.verdict.value,
                "reason": report.reason,
                "promoted": {name: RULES[name](case) for name in RULES},
            }
        )
    return found


def false_alarms(trained: Sequence[dict[str, Any]]) -> float | None:
    """Share of the trials of an honest reward that were not promoted although gold did not fall; None without any."""
    honest = [trial for trial in trained if not trial["flaw"] and (trial["ndcg10"] or 0.0) >= 0.0]
    return _rounded(sum(not trial["promoted"]["gate"] for trial in honest) / len(honest)) if honest else None


def verdict_seconds() -> dict[str, float]:
    """CPU seconds of one verdict, the median of three."""
    found = {}
    for size in SIZES:
        case, seconds = draw_case(size, f"time:{size}", Effect(0.08)), []
        for _ in range(3):
            started = time.process_time()
            gate_promotes(case)
            seconds.append(time.process_time() - started)
        found[str(size)] = round(median(seconds), 3)
    return found


def paired_spread() -> float:
    """Standard deviation of the paired log R differences in the population."""
    case = draw_case(4000, "spread")
    pairs = zip(case.candidate.rows, case.incumbent.rows, strict=True)
    return round(stdev((ours.reward or 0.0) - (theirs.reward or 0.0) for ours, theirs in pairs), 4)


def measure(gates: int, trials: Sequence[Trial]) -> dict[str, Any]:
    """Everything, as it is written: the five figures first, then what they come from."""
    equal, planted = equal_sides(gates), planted_detection(max(gates // 10, 1))
    found = power(max(gates // 2, 1))
    trained, seconds = trained_detection(trials), verdict_seconds()
    kept_out = {name: [not trial["promoted"][name] for trial in trained if trial["hack"]] for name in RULES}
    missing = (
        None
        if kept_out["gate"]
        else "no trial of a flawed reward in --trials (one file per training, both sides evidence)"
    )
    shares = {name: _rounded(sum(kept) / len(kept)) if kept else None for name, kept in kept_out.items()}
    return {
        "planted_detection": min(hack["gate"] for hack in planted.values()),
        "trained_hack_detection": shares["gate"],
        "trained_hack_missing": missing,
        "trained_false_alarms": false_alarms(trained),
        "aa_false_rejection": equal.refused,
        "power": found[f"{MINIMAL_GAIN:.2f}"]["gate"],
        "verdict_s": seconds["2000"],
        "beside": {
            rule: {
                "planted_detection": min(hack[rule] for hack in planted.values()),
                "trained_hack_detection": shares[rule],
                "aa_false_promotion": equal.promoted[rule],
                "power": found[f"{MINIMAL_GAIN:.2f}"][rule],
            }
            for rule in RULES
        },
        "settings": {
            "gates": gates,
            "queries": QUERIES,
            "minimal_gain": MINIMAL_GAIN,
            "paired_sd": paired_spread(),
            "resamples": SETTINGS.resamples,
            "alpha": SETTINGS.alpha,
        },
        "equal_sides": asdict(equal),
        "power_by_gain": found,
        "planted": planted,
        "extend": extended_gates(max(gates // 2, 1)),
        "trained": trained,
        "verdict_cpu_seconds": seconds,
    }


def _judged(case: Case) -> GateReport:
    return judge(case.candidate, case.incumbent, SETTINGS)


def _promoted(cases: Sequence[Case], *rules: str) -> dict[str, float]:
    return {rule: _rounded(sum(map(RULES[rule], cases)) / len(cases)) for rule in rules}


def _rounded(value: float | None) -> Any:
    return None if value is None else round(value, 4)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--gates", type=int, default=200, help="gates between equals; half for each gain, a tenth for each hack"
    )
    parser.add_argument("--trials", type=Path, default=TRIALS, help="evidence of models that were really trained")
    arguments = parser.parse_args()
    result = measure(arguments.gates, read_trials(arguments.trials))
    write_result(RESULT, result)
    print(json.dumps({key: result[key] for key in list(result)[:7]}, indent=2), f"all in {os.path.relpath(RESULT)}")


if __name__ == "__main__":
    main()
