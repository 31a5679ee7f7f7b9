"""Which strikes share a run, and what is played again."""

import pytest

from tests.faults.campaign import Reference, Report, again, all_plans, in_runs
from tests.faults.plans import AT_ONE_WRITE, Fault, Plan, Played
from tests.faults.signatures import Write
from tests.faults.workloads import WORKLOADS

WRITES = [Write(f"POST pods/{number}") for number in range(20)]
REPEATED = Write("POST pods/3", 2)


@pytest.mark.parametrize("apart", [0, 1, 3, 8, 50])
def test_every_write_is_struck_once(apart: int) -> None:
    writes = [*WRITES, REPEATED]
    struck = [write for run in in_runs(writes, apart) for write in run]
    assert sorted(struck) == sorted(writes)


def test_strikes_of_one_run_lie_apart_and_a_repeated_write_is_on_its_own() -> None:
    runs = in_runs([*WRITES, REPEATED], 8)
    assert runs[0] == (WRITES[0], WRITES[8], WRITES[16])
    assert runs[-1] == (REPEATED,)


@pytest.mark.parametrize("workload", [name for name, found in WORKLOADS.items() if not found.gone])
def test_every_write_is_struck_at_every_crash_point(workload: str) -> None:
    plans = all_plans(Reference(workload, [Played(Plan(workload), writes=WRITES)]))
    for fault in AT_ONE_WRITE:
        assert sorted(write for plan in plans if plan.fault is fault for write in plan.writes) == sorted(WRITES)


def test_what_never_came_is_played_again_on_its_own() -> None:
    plan = Plan("promote", Fault.KILLED_BEFORE, tuple(WRITES[:3]))
    assert again(Played(plan, struck=2, missed=(WRITES[2],)), []) == [plan.alone(WRITES[2])]
    assert again(Played(plan, struck=3), []) == []


def test_the_strikes_of_an_unsound_run_are_played_one_by_one_and_no_further() -> None:
    plan = Plan("promote", Fault.KILLED_BEFORE, tuple(WRITES[:3]))
    alone = again(Played(plan, struck=3), ["I1: a request found no pod"])
    assert alone == [plan.alone(write) for write in WRITES[:3]]
    assert [again(Played(single, struck=1), ["I1: a request found no pod"]) for single in alone] == [[], [], []]


def test_the_table_counts_strikes_and_marks_what_is_unsound() -> None:
    plan = Plan("promote", Fault.KILLED_AFTER, tuple(WRITES[:3]))
    report = Report(results=[(Played(plan, struck=2), []), (Played(plan.alone(WRITES[2]), struck=1), ["wrong"])])
    assert report.strikes == 3
    (row,) = report.table().splitlines()[1:]
    assert row.split()[-5:] == ["4", "3", "2", "1", "<-"]
