"""Mixed Preference Optimization: w_p * DPO + w_q * BCO + w_g * NLL, in plain torch.

Source: Wang et al., "Enhancing the Reasoning Ability of Multimodal Large Language Models via Mixed Preference
Optimization", arXiv 2411.10442; the quality term is BCO (Jung et al., arXiv 2404.04656) with its reward shift delta.
Written here and not taken from a library because the widely used one lost delta: without it the quality term pushes
chosen rewards above 0 and rejected ones below 0 wherever the rewards as a whole have drifted to.

Notation: r(x, y) = beta * (log pi(y|x) - log pi_0(y|x)), summed over the completion's tokens; c chosen, r rejected.
Everything is computed in float32, whatever the model's dtype.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewriter_contract.messages import MpoConfig


@dataclass(frozen=True)
class RunningMean:
    """Mean of every reward seen so far, chosen and rejected, against one reference: BCO's delta.

    Saved in the checkpoint; a new reference starts a new one, because its rewards are on another scale.
    """

    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        """The mean; 0 before the first reward, which is the reward of a policy that equals its reference."""
        return self.total / self.count if self.count else 0.0

    def including(self, rewards: Tensor) -> "RunningMean":
        """The mean with `rewards` (any shape) counted in. They are detached: no gradient flows through delta."""
        return RunningMean(self.total + float(rewards.detach().double().sum()), self.count + rewards.numel())


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
    chosen_tokens: Tensor
    """[P], number of tokens of y_c, its terminator included."""


@dataclass(frozen=True)
class MpoLoss:
    """The loss of a micro-batch and what it is made of."""

    total: Tensor
    """Scalar with gradient."""
    preference: Tensor
    quality: Tensor
    generation: Tensor
    chosen_rewards: Tensor
    """[P], detached."""
    rejected_rewards: Tensor
    """[P], detached."""
    delta: RunningMean
    """With this micro-batch counted in; the next one starts from it."""


def mpo_loss(pairs: PairLogProbs, config: MpoConfig, delta: RunningMean) -> MpoLoss:
    """L = w_p*L_p + w_q*L_q + w_g*L_g over a micro-batch.

    L_p = mean over pairs of  -log sigmoid(r_c - r_r)
    L_q = mean over pairs of  -log sigmoid(r_c - delta) - log sigmoid(-(r_r - delta)),  delta as of this micro-batch
    L_g = -(sum of log pi(y_c|x)) / (number of chosen tokens):  a mean over the micro-batch's tokens, not over pairs
    """
    chosen_rewards = config.beta * (pairs.chosen.float() - pairs.reference_chosen.float())
    rejected_rewards = config.beta * (pairs.rejected.float() - pairs.reference_rejected.float())
    delta = delta.including(torch.cat([chosen_rewards, rejected_rewards]))

    preference = -logsigmoid(chosen_rewards - rejected_rewards).mean()
    quality = -(logsigmoid(chosen_rewards - delta.value) + logsigmoid(-(rejected_rewards - delta.value))).mean()
    generation = -pairs.chosen.float().sum() / pairs.chosen_tokens.sum()
    total = config.preference * preference + config.quality * quality + config.generation * generation
    return MpoLoss(
        total=total,
        preference=preference.detach(),
        quality=quality.detach(),
        generation=generation.detach(),
        chosen_rewards=chosen_rewards.detach(),
        rejected_rewards=rejected_rewards.detach(),
        delta=delta,
    )
