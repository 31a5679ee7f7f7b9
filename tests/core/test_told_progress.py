"""What people read of work that is under way."""

import pytest

from rewriter_contract.messages import WorkReport, WorkState
from rewriter_operator.core import reported


def trained(done: int, **metrics: float) -> WorkReport:
    return WorkReport(WorkState.RUNNING, done=done, total=96, metrics=metrics)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (5.0, "trained 12 of 96, about 1 min left"),
        (225.0, "trained 12 of 96, about 4 min left"),
        (7000.0, "trained 12 of 96, about 117 min left"),
        (7200.0, "trained 12 of 96, about 2 h left"),
    ],
)
def test_a_phase_says_how_long_it_still_takes(seconds: float, told: str) -> None:
    assert reported.progress("trained", [trained(12, eta_seconds=seconds, loss=1.0)]) == told


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e300])
def test_a_time_that_cannot_be_is_not_told(seconds: float) -> None:
    assert reported.progress("trained", [trained(12, eta_seconds=seconds)]) == "trained 12 of 96"


def test_samplers_that_foresee_nothing_say_how_far_they_are() -> None:
    assert reported.progress("sampled", [trained(12), trained(10)]) == "sampled 22 of 192"
