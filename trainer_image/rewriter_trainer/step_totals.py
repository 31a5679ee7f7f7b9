"""What the micro-batches of an optimizer step tell, added up over all of them and over all workers."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from rewriter_trainer.divergence import divergence_sum
from rewriter_trainer.loss import MpoLoss
from rewriter_trainer.scorer import Readings


@dataclass(frozen=True)
class StepRow:
    """A step in numbers."""

    learnt: dict[str, float]
    """What is learnt from: the loss and its terms; rewards, accuracy and margin as means per pair. A step that has one
    of these not finite must not count."""
    watched: dict[str, float]
    """What nothing depends on. `entropy`: mean over the tokens of the step's completions, chosen and rejected, of the
    entropy of the policy's distribution at that token, given the prompt and the tokens that were drawn before it; nats.
    `kl`: mean over these completions of what divergence.py estimates; nats. Both before the step's update."""


class StepTotals:
    """One worker's micro-batches of a step."""

    def __init__(self) -> None:
        self._shares = dict.fromkeys(("loss", "loss_preference", "loss_quality", "loss_generation"), 0.0)
        self._sums = dict.fromkeys(("reward_chosen", "reward_rejected", "accuracy", "margin"), 0.0)
        self._pairs = self._tokens = 0
        self._entropy = self._divergence = 0.0

    def add(self, part: MpoLoss, readings: Readings, reference: Tensor) -> None:
        """Count a micro-batch of P pairs in, after its backward pass.

        `readings` are of the policy, of the chosen completions and then of the rejected ones; `reference` is [P, 2, C],
        the log-probabilities of their tokens (chosen, rejected) under the reference, 0 on padding.
        """
        margins = part.chosen_rewards - part.rejected_rewards
        shares = (part.total, part.preference, part.quality, part.generation)
        sums = (part.chosen_rewards, part.rejected_rewards, (margins > 0).float(), margins)
        for name, share in zip(self._shares, shares, strict=True):
            self._shares[name] += float(share.detach())
        for name, values in zip(self._sums, sums, strict=True):
            self._sums[name] += float(values.double().sum())
        self._pairs += len(margins)
        self._entropy += readings.entropy_sum()
        self._tokens += readings.tokens()
        policy = by_pair(readings.logprobs)
        self._divergence += divergence_sum(policy, reference[:, :, : policy.shape[2]])

    def over_all(self, summed: Callable[[list[float]], list[float]]) -> StepRow:
        """The step of all workers; `summed` adds each value up over them."""
        counts = [float(self._pairs), float(self._tokens)]
        *totals, pairs, tokens, entropy, divergence = summed(
            [*self._shares.values(), *self._sums.values(), *counts, self._entropy, self._divergence]
        )
        found = dict(zip([*self._shares, *self._sums], totals, strict=True))
        watched = {"entropy": entropy / max(tokens, 1.0), "kl": divergence / (2 * pairs)}
        return StepRow(found | {name: found[name] / pairs for name in self._sums}, watched)


def by_pair(values: Tensor) -> Tensor:
    """[2P, C], chosen and then rejected, as [P, 2, C]."""
    return values.unflatten(0, (2, -1)).transpose(0, 1)
