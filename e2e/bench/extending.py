"""What onInconclusive: Extend does to the gate's errors: one look at QUERIES, a second at twice as many.

Beside it the two gates without it, at the first look's size and at the second's: what asking everything at once gives.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from e2e.bench.population import Case, Effect, draw_case
from rewriter_contract.reports import GateSettings, Verdict
from rewriter_operator.core.gate import judge, more_queries_would_tell

QUERIES: Final = 80
EQUAL: Final = 0.0
GAINS: Final = (EQUAL, 0.04, 0.06)
ONE_LOOK: Final = GateSettings()
TWO_LOOKS: Final = replace(ONE_LOOK, alpha=ONE_LOOK.alpha / 2)


def extended_gates(gates: int) -> dict[str, dict[str, Any]]:
    """Per true gain: share promoted and share called Fail by each way to ask, and the queries that it took."""
    found = {}
    for gain in GAINS:
        cases = [draw_case(2 * QUERIES, f"extend:{gain}:{seed}", Effect(gain)) for seed in range(gates)]
        extended = [_two_looks(case) for case in cases]
        found[f"{gain:.2f}"] = {
            "extend": _shares([verdict for verdict, _ in extended])
            | {"queries": round(sum(asked for _, asked in extended) / gates, 1)},
            "one look at half": _shares([_one_look(_first(case)) for case in cases]) | {"queries": QUERIES},
            "one look at all": _shares([_one_look(case) for case in cases]) | {"queries": 2 * QUERIES},
        }
    return found


def _two_looks(case: Case) -> tuple[Verdict, int]:
    """The verdict, and how many queries were asked for it."""
    first = _first(case)
    report = judge(first.candidate, first.incumbent, TWO_LOOKS)
    if not more_queries_would_tell(report):
        return report.verdict, QUERIES
    return judge(case.candidate, case.incumbent, TWO_LOOKS).verdict, 2 * QUERIES


def _one_look(case: Case) -> Verdict:
    return judge(case.candidate, case.incumbent, ONE_LOOK).verdict


def _first(case: Case) -> Case:
    sides = (replace(side, rows=side.rows[:QUERIES]) for side in (case.candidate, case.incumbent))
    return Case(*sides)


def _shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {
        "promoted": round(verdicts.count(Verdict.PASS) / len(verdicts), 4),
        "refused": round(verdicts.count(Verdict.FAIL) / len(verdicts), 4),
    }
