"""The loss against numbers worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from rewriter_contract.messages import MpoConfig  # noqa: E402
from rewriter_trainer.loss import MpoLoss, PairLogProbs, RunningMean, StepSize, mpo_loss  # noqa: E402

pytestmark = pytest.mark.ml


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_probs(chosen: list[float], rejected: list[float]) -> PairLogProbs:
    """Pairs whose reference log-probabilities are -2, so that rewards are beta * (given + 2)."""
    return PairLogProbs(
        chosen=torch.tensor(chosen, requires_grad=True),
        rejected=torch.tensor(rejected, requires_grad=True),
        reference_chosen=torch.full((len(chosen),), -2.0),
        reference_rejected=torch.full((len(rejected),), -2.0),
    )


def loss(pairs: PairLogProbs, delta: float = 0.0, step: StepSize | None = None, **weights: float) -> MpoLoss:
    """Of a step that has no other pairs, and a token for each chosen completion."""
    config = MpoConfig(**({"preference": 0.0, "quality": 0.0, "generation": 0.0, "beta": 0.1} | weights))
    return mpo_loss(pairs, config, delta, step or StepSize(len(pairs.chosen), len(pairs.chosen)))


def test_a_policy_that_equals_its_reference_has_the_losses_of_a_coin() -> None:
    result = loss(log_probs([-2.0], [-2.0]), step=StepSize(1, 4), preference=0.8, quality=0.2, generation=1.0)
    assert result.preference.item() == pytest.approx(math.log(2))
    assert result.quality.item() == pytest.approx(2 * math.log(2))
    assert result.generation.item() == pytest.approx(0.5)
    assert result.total.item() == pytest.approx(0.8 * math.log(2) + 0.2 * 2 * math.log(2) + 0.5)


def test_preference_term_is_dpo_of_the_reward_difference() -> None:
    result = loss(log_probs([8.0, -2.0], [-12.0, 3.0]), preference=1.0)
    # rewards: chosen 1.0 and 0.0, rejected -1.0 and 0.5
    expected = (-math.log(sigmoid(2.0)) - math.log(sigmoid(-0.5))) / 2
    assert result.total.item() == pytest.approx(expected, rel=1e-6)


def test_quality_term_is_measured_from_the_running_mean_before_the_step() -> None:
    result = loss(log_probs([8.0], [-7.0]), delta=1.5, quality=1.0)
    # rewards 1.0 and -0.5
    expected = -math.log(sigmoid(1.0 - 1.5)) - math.log(sigmoid(-(-0.5 - 1.5)))
    assert result.total.item() == pytest.approx(expected, rel=1e-6)
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == pytest.approx((1.0, -0.5))


def test_generation_term_is_a_mean_over_tokens_and_not_over_pairs() -> None:
    result = loss(log_probs([-1.0, -9.0], [0.0, 0.0]), step=StepSize(2, 1 + 9), generation=1.0)
    assert result.total.item() == pytest.approx(1.0)


@pytest.mark.parametrize("cut", [(6,), (1, 5), (2, 2, 2), (1,) * 6], ids=str)
def test_the_shares_of_a_step_add_up_to_its_loss_however_it_is_cut(cut: tuple[int, ...]) -> None:
    chosen, rejected = [8.0, -2.0, 1.5, -30.0, 0.25, -4.0], [-7.0, 3.0, 1.0, -2.0, -11.0, -4.0]
    weights = {"preference": 0.8, "quality": 0.2, "generation": 1.0}
    step = StepSize(6, 31)
    whole = log_probs(chosen, rejected)
    result = loss(whole, 0.3, step, **weights)
    result.total.backward()
    parts = [log_probs(chosen[sum(cut[:i]) :][:size], rejected[sum(cut[:i]) :][:size]) for i, size in enumerate(cut)]
    shares = [loss(part, 0.3, step, **weights) for part in parts]
    for share in shares:
        share.total.backward()
    for name in ("total", "preference", "quality", "generation"):
        assert sum(getattr(share, name).item() for share in shares) == pytest.approx(getattr(result, name).item())
    for name in ("chosen", "rejected"):
        gradients = [float(value) for part in parts for value in getattr(part, name).grad]
        assert gradients == pytest.approx(getattr(whole, name).grad.tolist())


def test_running_mean_is_the_mean_of_every_reward_in_whatever_parts_it_came() -> None:
    rewards = [0.3, -0.2, 1.5, 0.0, -0.7, 0.9]
    in_parts = RunningMean()
    for part in (rewards[:1], rewards[1:4]):
        in_parts = in_parts.including(torch.tensor(part))
    in_parts = in_parts.plus(sum(rewards[4:]), 2)
    assert in_parts.count == len(rewards)
    assert in_parts.value == pytest.approx(sum(rewards) / len(rewards))
    assert RunningMean().value == 0.0


@pytest.mark.parametrize("term", ["preference", "quality"])
def test_gradient_raises_the_chosen_and_lowers_the_rejected(term: str) -> None:
    pairs = log_probs([-2.0, -1.0], [-2.0, -3.0])
    loss(pairs, **{term: 1.0}).total.backward()
    assert (pairs.chosen.grad < 0).all()  # a step against the gradient raises log pi(y_c|x)
    assert (pairs.rejected.grad > 0).all()


def test_delta_is_a_number_to_the_gradient() -> None:
    pairs = log_probs([8.0], [-7.0])
    loss(pairs, delta=0.25, quality=1.0).total.backward()
    # d/dl of -log sigmoid(beta * l + const - delta) with delta held constant
    assert pairs.chosen.grad.item() == pytest.approx(-0.1 * sigmoid(-(1.0 - 0.25)), rel=1e-5)
    grown = RunningMean().including(torch.tensor([1.0], requires_grad=True))
    assert type(grown.value) is float, "nothing that a gradient could flow through"


def test_generation_term_leaves_the_rejected_alone() -> None:
    pairs = log_probs([-3.0], [-1.0])
    loss(pairs, step=StepSize(1, 3), generation=1.0).total.backward()
    assert pairs.chosen.grad.item() == pytest.approx(-1 / 3)
    assert pairs.rejected.grad is None or pairs.rejected.grad.item() == 0.0
