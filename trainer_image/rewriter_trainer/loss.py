"""Mixed Preference Optimization: w_p * DPO + w_q * BCO + w_g * NLL, in plain torch.

Source: Wang et al., "Enhancing the Reasoning Ability of Multimodal Large Language Models via Mixed Preference
Optimization", arXiv 2411.10442; the quality term is BCO (Jung et al., arXiv 2404.04656) with its reward shift delta.
Written here and not taken from a library because the widely used one lost delta: without it the quality term pushes
chosen rewards above 0 and rejected ones below 0 wherever the rewards as a whole have drifted to.

A step's loss is one number, however the step is cut into micro-batches and workers (decision 0022): means are taken
over the whole step, and delta is what it was before the step. `mpo_loss` gives a part's share of it; shares add up.

Notation: r(x, y) = beta * (log pi(y|x) - log pi_0(y|x)), summed over the completion's tokens; c chosen, r rejected.
Everything is computed in float32, whatever the model's dtype.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from rewriter_contract.messages import MpoConfig


@dataclass(frozen=True)
class RunningMean:
    """Mean of every reward seen so far, chosen and rejected, against one reference: BCO's delta.

    A step is judged by the mean before it; its own rewards are counted in afterwards. Saved in the checkpoint; a new
    reference starts a new one, because its rewards are on another scale.
    """

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        """The mean; 0 before the first reward, which is the reward of a policy that equals its reference."""
        return self.total / self.count if self.count else 0.0

    def including(self, rewards: Tensor) -> "RunningMean":
        """The mean with `rewards` (any shape) counted in. They are detached: no gradient flows through delta."""
        return self.plus(float(rewards.detach().double().sum()), rewards.numel())

    def plus(self, total: float, count: int) -> "RunningMean":
        """The mean with `count` rewards counted in that add up to `total`."""
        return RunningMean(self.total + total, self.count + count)


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities of a micro-batch of P pairs, in nats."""

    chosen: Tensor
    """[P], sum over tokens of log pi(y_c|x), with gradient."""
    rejected: Tensor
    """[P], sum over tokens of log pi(y_r|x), with gradient."""
    reference_chosen: Tensor
    """[P], the same of pi_0."""
    reference_rejected: Tensor
    """[P]"""


@dataclass(frozen=True)
class StepSize:
    """What the means of a step's loss divide by: all its pairs, of all micro-batches and workers."""

    pairs: int
    chosen_tokens: int
    """Of all chosen completions, terminators included."""


@dataclass(frozen=True)
class MpoLoss:
    """A micro-batch's share of the loss of its step, and what it is made of; the shares of a step add up."""

    total: Tensor
    """Scalar with gradient."""
    preference: Tensor
    quality: Tensor
    generation: Tensor
    chosen_rewards: Tensor
    """[P], detached."""
    rejected_rewards: Tensor
    """[P], detached."""


def mpo_loss(pairs: PairLogProbs, config: MpoConfig, delta: float, step: StepSize) -> MpoLoss:
    """The share that a micro-batch has in the loss of its step, L = w_p*L_p + w_q*L_q + w_g*L_g.

    L_p = mean over the step's pairs of  -log sigmoid(r_c - r_r)
    L_q = mean over the step's pairs of  -log sigmoid(r_c - delta) - log sigmoid(-(r_r - delta)),  delta before the step
    L_g = -(sum over the step of log pi(y_c|x)) / (its number of chosen tokens):  a mean over tokens, not over pairs
    """
    chosen_rewards = config.beta * (pairs.chosen.float() - pairs.reference_chosen.float())
    rejected_rewards = config.beta * (pairs.rejected.float() - pairs.reference_rejected.float())

    preference = -logsigmoid(chosen_rewards - rejected_rewards).sum() / step.pairs
    quality = -(logsigmoid(chosen_rewards - delta) + logsigmoid(-(rejected_rewards - delta))).sum() / step.pairs
    generation = -pairs.chosen.float().sum() / step.chosen_tokens
    total = config.preference * preference + config.quality * quality + config.generation * generation
    return MpoLoss(
        total=total,
        preference=preference.detach(),
        quality=quality.detach(),
        generation=generation.detach(),
        chosen_rewards=chosen_rewards.detach(),
        rejected_rewards=rejected_rewards.detach(),
    )
