"""BCO's delta goes on from phase to phase against one reference, and starts anew with another; the loss uses it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract.messages import OptimizerConfig, WeightsRef  # noqa: E402

from . import builders  # noqa: E402
from .builders import rows_with_signal, write_samples  # noqa: E402
from .phase_program import steps, train  # noqa: E402
from .tiny_model import make_model, publish_base  # noqa: E402

pytestmark = pytest.mark.ml


@dataclass(frozen=True)
class Chain:
    """Three phases in a row, one pair a step: against the base, against the base again, against their own start."""

    root: Path

    def steps(self, phase: int) -> list[dict[str, float]]:
        return steps(self.root, phase)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    root, model = tmp_path_factory.mktemp("volume"), tmp_path_factory.mktemp("model")
    make_model(model)
    start = base = publish_base(root, model)
    for phase in (1, 2, 3):
        order = builders.order(
            base,
            write_samples(root, rows_with_signal(2), base.version, phase),
            phase=phase,
            reference=base if phase == 3 else start,
            optimizer=OptimizerConfig(learning_rate=1e-3, pairs_per_step=1, epochs=2),
        )
        train(root, replace(order, seed=phase), phase)
        base = WeightsRef(order.out_version, builders.base_ref(root, order.out_version).digest)
    return Chain(root)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def assert_goes_on(steps: list[dict[str, float]], total: float, count: int) -> tuple[float, int]:
    """By hand: each step, of one pair, is judged by the mean of all rewards before it. What the rewards came to."""
    assert len(steps) == 8
    for step in steps:
        chosen, rejected, delta = step["reward_chosen"], step["reward_rejected"], total / count if count else 0.0
        quality = -log_sigmoid(chosen - delta) - log_sigmoid(-(rejected - delta))
        assert step["loss_quality"] == pytest.approx(quality, rel=1e-5), f"step {step['step']}, delta {delta}"
        total, count = total + chosen + rejected, count + 2
        assert step["delta"] == pytest.approx(total / count, rel=1e-9)
    return total, count


def test_a_first_phase_starts_from_no_reward(chain: Chain) -> None:
    total, count = assert_goes_on(chain.steps(1), 0.0, 0)
    assert count == 16 and abs(total / count) > 0.01, "delta would be missed"


def test_the_delta_of_a_phase_before_is_carried_while_the_reference_stays(chain: Chain) -> None:
    total, count = assert_goes_on(chain.steps(1), 0.0, 0)
    assert assert_goes_on(chain.steps(2), total, count)[1] == 32


def test_another_reference_starts_a_new_delta(chain: Chain) -> None:
    first = chain.steps(3)[0]
    assert first["reward_chosen"] == pytest.approx(0.0, abs=1e-4), "the policy is its own reference"
    assert assert_goes_on(chain.steps(3), 0.0, 0)[1] == 16
