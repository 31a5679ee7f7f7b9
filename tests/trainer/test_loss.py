"""The loss against numbers worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract.messages import MpoConfig  # noqa: E402
from rewriter_trainer.loss import MpoLoss, PairLogProbs, RunningMean, mpo_loss  # noqa: E402

pytestmark = pytest.mark.ml

NO_REWARDS = RunningMean()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_probs(chosen: list[float], rejected: list[float], tokens: list[int] | None = None) -> PairLogProbs:
    """Pairs whose reference log-probabilities are -2, so that rewards are beta * (given + 2)."""
    return PairLogProbs(
        chosen=torch.tensor(chosen, requires_grad=True),
        rejected=torch.tensor(rejected, requires_grad=True),
        reference_chosen=torch.full((len(chosen),), -2.0),
        reference_rejected=torch.full((len(rejected),), -2.0),
        chosen_tokens=torch.tensor(tokens or [1] * len(chosen)),
    )


def loss(pairs: PairLogProbs, delta: RunningMean = NO_REWARDS, **weights: float) -> MpoLoss:
    config = MpoConfig(**({"preference": 0.0, "quality": 0.0, "generation": 0.0, "beta": 0.1} | weights))
    return mpo_loss(pairs, config, delta)


def test_a_policy_that_equals_its_reference_has_the_losses_of_a_coin() -> None:
    result = loss(log_probs([-2.0], [-2.0], [4]), preference=0.8, quality=0.2, generation=1.0)
    assert result.preference.item() == pytest.approx(math.log(2))
    assert result.quality.item() == pytest.approx(2 * math.log(2))
    assert result.generation.item() == pytest.approx(0.5)
    assert result.total.item() == pytest.approx(0.8 * math.log(2) + 0.2 * 2 * math.log(2) + 0.5)
    assert result.delta == RunningMean(0.0, 2)


def test_preference_term_is_dpo_of_the_reward_difference() -> None:
    result = loss(log_probs([8.0, -2.0], [-12.0, 3.0]), preference=1.0)
    # rewards: chosen 1.0 and 0.0, rejected -1.0 and 0.5
    expected = (-math.log(sigmoid(2.0)) - math.log(sigmoid(-0.5))) / 2
    assert result.total.item() == pytest.approx(expected, rel=1e-6)


def test_quality_term_is_measured_from_the_running_mean_of_all_rewards() -> None:
    result = loss(log_probs([8.0], [-7.0]), RunningMean(total=3.0, count=2), quality=1.0)
    # rewards 1.0 and -0.5; delta = (3.0 + 1.0 - 0.5) / 4
    delta = 0.875
    assert result.delta.value == pytest.approx(delta)
    expected = -math.log(sigmoid(1.0 - delta)) - math.log(sigmoid(-(-0.5 - delta)))
    assert result.total.item() == pytest.approx(expected, rel=1e-6)


def test_generation_term_is_a_mean_over_tokens_and_not_over_pairs() -> None:
    result = loss(log_probs([-1.0, -9.0], [0.0, 0.0], [1, 9]), generation=1.0)
    assert result.total.item() == pytest.approx(1.0)


def test_running_mean_is_the_mean_of_every_reward_in_whatever_parts_it_came() -> None:
    rewards = [0.3, -0.2, 1.5, 0.0, -0.7, 0.9]
    in_parts = RunningMean()
    for part in (rewards[:1], rewards[1:4], rewards[4:]):
        in_parts = in_parts.including(torch.tensor(part))
    assert in_parts.count == len(rewards)
    assert in_parts.value == pytest.approx(sum(rewards) / len(rewards))
    assert RunningMean().value == 0.0


@pytest.mark.parametrize("term", ["preference", "quality"])
def test_gradient_raises_the_chosen_and_lowers_the_rejected(term: str) -> None:
    pairs = log_probs([-2.0, -1.0], [-2.0, -3.0])
    loss(pairs, **{term: 1.0}).total.backward()
    assert (pairs.chosen.grad < 0).all()  # a step against the gradient raises log pi(y_c|x)
    assert (pairs.rejected.grad > 0).all()


def test_no_gradient_flows_through_delta() -> None:
    pairs = log_probs([8.0], [-7.0])
    loss(pairs, quality=1.0).total.backward()
    # d/dl of -log sigmoid(beta * l + const - delta) with delta held constant
    delta = 0.25
    assert pairs.chosen.grad.item() == pytest.approx(-0.1 * sigmoid(-(1.0 - delta)), rel=1e-5)


def test_generation_term_leaves_the_rejected_alone() -> None:
    pairs = log_probs([-3.0], [-1.0], [3])
    loss(pairs, generation=1.0).total.backward()
    assert pairs.chosen.grad.item() == pytest.approx(-1 / 3)
    assert pairs.rejected.grad is None or pairs.rejected.grad.item() == 0.0
