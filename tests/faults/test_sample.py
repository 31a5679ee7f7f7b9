"""The sample on a real API server; `make faults` plays all plans. docs/faults.md says which fault is where."""

import pytest

from e2e.cluster import ControlPlane
from tests.faults.campaign import CODES, Report, carry_out, names_of, sample_plans
from tests.faults.plans import Fault
from tests.faults.sample import SAMPLE, Sampled
from tests.faults.signatures import kind_of
from tests.faults.workloads import WORKLOADS

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("faults")]  # played once, side by side


@pytest.fixture(scope="module")
def report(api: ControlPlane) -> Report:
    """All plans of the sample, played side by side."""
    return carry_out(api.kubeconfig, names_of(""), sample_plans, learn=1, parallel=4, tell=lambda played: None)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_an_undisturbed_release_breaks_no_invariant(report: Report, workload: str) -> None:
    (run,) = report.references[workload].runs
    assert run.violations == []
    assert run.writes, "a workload without a write shows nothing"


@pytest.mark.parametrize("sampled", SAMPLE, ids=str)
def test_a_disturbed_release_comes_to_the_same_end(report: Report, sampled: Sampled) -> None:
    ((run, wrong),) = [(run, wrong) for run, wrong in report.results if run.plan == sampled.plan()]
    assert run.struck, "the fault never happened"
    assert wrong == []


def test_every_fault_is_in_the_sample() -> None:
    assert {sampled.fault for sampled in SAMPLE} == set(Fault)
    assert {sampled.code for sampled in SAMPLE if sampled.fault is Fault.ERRORS} == set(CODES)


def test_every_kind_of_write_is_in_the_sample(report: Report) -> None:
    """But marks and Events, which move no release."""
    kinds = {kind_of(write) for reference in report.references.values() for write in reference.writes}
    moving = {kind for kind in kinds if not kind.endswith((" metadata", " mark", " events"))}
    assert moving <= {item.at for item in SAMPLE}
