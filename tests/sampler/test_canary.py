"""The canary accepts the same model and nothing else."""

import math

import pytest

from rewriter_contract.weights import Canary
from rewriter_sampler import canary

EXPECTED = Canary(token_ids=(1, 2, 3), logprobs=(-1.0, -2.0), tolerance=0.01)


def test_rounding_is_accepted_and_reported() -> None:
    assert canary.check("r0007-p02", EXPECTED, [-1.005, -2.0]) == pytest.approx(0.005)


@pytest.mark.parametrize(
    "found",
    [[-1.0, -2.02], [-1.0, math.nan], [-math.inf, -2.0], [-1.0], []],
    ids=["too far", "nan", "infinite", "too short", "nothing"],
)
def test_another_model_is_refused(found: list[float]) -> None:
    with pytest.raises(canary.CanaryFailed, match=r"r0007-p02: canary log-probabilities differ by .* > 0.01"):
        canary.check("r0007-p02", EXPECTED, found)
