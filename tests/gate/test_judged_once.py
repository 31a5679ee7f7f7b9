"""A report that is asked for again is the one that was made; anything else that the judge is given has its own."""

from dataclasses import replace

import pytest

from rewriter_contract.reports import GateSettings, Judged
from rewriter_operator.core import judged_once
from rewriter_operator.core.gate import judge
from rewriter_operator.core.judged_once import REPORTS, Case, report_on
from tests.builders import REWARD, evidence

SIDES = evidence(queries=32)
CASE = Case(
    SIDES["candidate"][0],
    SIDES["incumbent"][0],
    GateSettings(alpha=0.05, minimum_queries=30, seed=0, checks={}),
    Judged(
        cycle=2,
        reward_revision=REWARD,
        relevance_model="model",
        fusion_sha256="",
        candidate=None,
        incumbent=None,
        data_digests={},
    ),
)
WORSE = replace(CASE.candidate, rows=tuple(replace(row, reward=row.reward - 1.0) for row in CASE.candidate.rows))
OTHERS = {
    "a cycle": replace(CASE, judged=replace(CASE.judged, cycle=3)),
    "settings": replace(CASE, settings=replace(CASE.settings, alpha=0.01)),
    "rows under the same digest": replace(CASE, candidate=WORSE),
    "one row": replace(CASE, incumbent=replace(CASE.incumbent, rows=CASE.incumbent.rows[1:])),
}


def judged(case: Case) -> object:
    return judge(case.candidate, case.incumbent, case.settings, case.judged)


def test_the_same_case_is_judged_once() -> None:
    assert report_on(CASE) == judged(CASE)
    assert report_on(replace(CASE)) is report_on(CASE)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_another_case_has_a_report_of_its_own(other: Case) -> None:
    first = report_on(CASE)
    assert report_on(other) == judged(other) != first


def test_only_the_newest_reports_are_kept() -> None:
    few = replace(CASE, candidate=replace(CASE.candidate, rows=CASE.candidate.rows[:1]))
    for cycle in range(REPORTS + 3):
        report_on(replace(few, judged=replace(CASE.judged, cycle=cycle)))
    assert len(judged_once._reports) == REPORTS
