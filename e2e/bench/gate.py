"""Measures the gate beside simpler rules: `python -m e2e.bench.gate` writes build/bench/gate.json.

Cases are resampled from recorded evidence of both sides: queries with replacement, and each query's two sides swapped
by a coin, so that without a planted effect neither side is better. What the recorded data was is said in the JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from e2e.bench.rules import kayenta_promotes, threshold_promotes
from e2e.cluster.paths import REPOSITORY
from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRow, EvidenceRows
from rewriter_contract.reports import GateSettings, Verdict
from rewriter_operator.core.gate import judge
from rewriter_operator.core.gate_evidence import gather
from rewriter_operator.core.gate_self_test import PLANTED_HACKS, planted_rows

RECORDED: Final = Path(__file__).with_name("evidence.json")
RESULT: Final = REPOSITORY / "build" / "bench" / "gate.json"
QUERIES: Final = 80
GAINS: Final = (0.02, 0.04, 0.08)
"""True gains of log R whose promotion is counted."""
SIZES: Final = (80, 300, 2000)
SETTINGS: Final = GateSettings()

Pairs = Sequence[tuple[EvidenceRow, EvidenceRow]]


@dataclass(frozen=True)
class Recorded:
    """Evidence of both sides over the same queries."""

    source: str
    candidate: EvidenceRows
    incumbent: EvidenceRows


@dataclass(frozen=True)
class Case:
    """One gate to decide."""

    candidate: EvidenceRows
    incumbent: EvidenceRows


def without_effect(recorded: Recorded, queries: int, random: Random) -> Case:
    """Resampled queries, each side of each query by a coin: whoever prefers one side is wrong."""
    pairs: Pairs = list(zip(recorded.candidate.rows, recorded.incumbent.rows, strict=True))
    ours, theirs = [], []
    for number, pair in enumerate(random.choices(pairs, k=queries)):
        first, second = pair if random.random() < 0.5 else pair[::-1]
        ours.append(replace(first, id=f"q{number:05d}"))
        theirs.append(replace(second, id=f"q{number:05d}"))
    return Case(replace(recorded.candidate, rows=tuple(ours)), replace(recorded.incumbent, rows=tuple(theirs)))


def with_gain(case: Case, gain: float) -> Case:
    """The same, and the candidate's reward is truly higher by `gain`."""
    rows = (replace(row, reward=None if row.reward is None else row.reward + gain) for row in case.candidate.rows)
    return replace(case, candidate=replace(case.candidate, rows=tuple(rows)))


def gate_promotes(case: Case) -> bool:
    """The gate passes it."""
    return judge(case.candidate, case.incumbent, SETTINGS).verdict is Verdict.PASS


RULES: Final[dict[str, Callable[[Case], bool]]] = {
    "gate": gate_promotes,
    "threshold": lambda case: threshold_promotes(case.candidate.rows, case.incumbent.rows),
    "kayenta": lambda case: kayenta_promotes(case.candidate.rows, case.incumbent.rows),
}


def planted_detection(recorded: Recorded, gates: int) -> dict[str, dict[str, float]]:
    """Per hack and rule: share of the gates that did not promote it, although its reward is raised by 1."""
    found: dict[str, dict[str, float]] = {}
    for hack in PLANTED_HACKS:
        cases = []
        for seed in range(gates):
            case = without_effect(recorded, QUERIES, Random(f"{hack.name}:{seed}"))
            evidence = gather(case.candidate, case.incumbent, SETTINGS)
            cases.append(replace(case, candidate=planted_rows(hack, evidence)))
        found[hack.name] = {name: 1 - _share(rule, cases) for name, rule in RULES.items()}
    return found


def equal_sides(recorded: Recorded, gates: int) -> dict[str, float]:
    """A/A: how often the gate refuses an equal candidate, and how often each rule promotes it."""
    cases = [without_effect(recorded, QUERIES, Random(f"equal:{seed}")) for seed in range(gates)]
    verdicts = [judge(case.candidate, case.incumbent, SETTINGS).verdict for case in cases]
    return {
        "aa_false_rejection": verdicts.count(Verdict.FAIL) / gates,
        "aa_false_promotion": verdicts.count(Verdict.PASS) / gates,
        "aa_false_promotion_threshold": _share(RULES["threshold"], cases),
        "aa_false_promotion_kayenta": _share(RULES["kayenta"], cases),
    }


def power(recorded: Recorded, gates: int) -> dict[str, dict[str, float]]:
    """Per true gain and rule: share of the gates that promote."""
    plain = [without_effect(recorded, QUERIES, Random(f"power:{seed}")) for seed in range(gates)]
    return {
        f"{gain:.2f}": {name: _share(rule, [with_gain(case, gain) for case in plain]) for name, rule in RULES.items()}
        for gain in GAINS
    }


def verdict_seconds(recorded: Recorded) -> dict[str, float]:
    """CPU seconds of one verdict, the median of three."""
    found = {}
    for size in SIZES:
        case, seconds = with_gain(without_effect(recorded, size, Random(size)), 0.08), []
        for _ in range(3):
            started = time.process_time()
            gate_promotes(case)
            seconds.append(time.process_time() - started)
        found[str(size)] = round(median(seconds), 3)
    return found


def _share(promotes: Callable[[Case], bool], cases: Sequence[Case]) -> float:
    return round(sum(map(promotes, cases)) / len(cases), 4)


def measure(recorded: Recorded, gates: int) -> dict[str, Any]:
    """Everything, as it is written."""
    return {
        "data": {
            "source": recorded.source,
            "recorded_queries": len(recorded.candidate.rows),
            "cases": "queries resampled with replacement, both sides of each swapped by a coin",
        },
        "settings": {"queries": QUERIES, "resamples": SETTINGS.resamples, "alpha": SETTINGS.alpha, "gates": gates},
        **equal_sides(recorded, gates),
        "power": power(recorded, max(gates // 2, 1)),
        "planted_detection": planted_detection(recorded, max(gates // 10, 1)),
        "verdict_s": verdict_seconds(recorded),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=200, help="A/A gates; half for power, a tenth for each hack")
    parser.add_argument("--evidence", type=Path, default=RECORDED, help="recorded evidence of both sides")
    arguments = parser.parse_args()
    result = measure(wire.loads(Recorded, arguments.evidence.read_text()), arguments.gates)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
