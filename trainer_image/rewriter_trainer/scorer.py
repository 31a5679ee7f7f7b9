"""A causal language model that answers with log-probabilities of completions instead of logits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rewriter_trainer.layouts import Batch
from rewriter_trainer.token_logprobs import token_logprobs


@dataclass(frozen=True)
class Readings:
    """What the last forward pass saw beside its sums, for whoever watches the training; no gradient leads here."""

    logprobs: Tensor
    """[S, C] float32: log p of each completion's tokens, in nats; 0 on padding."""
    entropies: Tensor
    """[R * K] float32: entropy of the distribution at each of the batch's logits, in nats. Filled by the backward pass;
    zeros until then, and without one."""
    batch: Batch

    def entropy_sum(self) -> float:
        """Entropies of the distributions that predict a token of a completion, one term a token; after backward."""
        return float(self.entropies[self.batch.predictors[self.batch.target_mask]].double().sum())

    def tokens(self) -> int:
        """Tokens of all completions, terminators included: the terms of `entropy_sum`."""
        return int(self.batch.target_mask.sum())


class CompletionScorer(nn.Module):
    """The model and the reading of its logits, as one module: a training engine wraps exactly what is run."""

    readings: Readings
    """Of the last forward pass."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        """[S] float32: sum over each completion's tokens of log p(token | all before it), in nats."""
        logits = self.policy(
            input_ids=batch.input_ids,
            attention_mask=self._additive(batch.attention_mask),
            position_ids=batch.position_ids,
            logits_to_keep=batch.logit_columns,
            use_cache=False,
        ).logits
        logits = logits.flatten(0, 1)
        entropies = torch.zeros(len(logits), device=logits.device)
        logprobs = token_logprobs(logits, batch.predictors, batch.targets, entropies)
        counted = torch.where(batch.target_mask, logprobs, 0.0)
        self.readings = Readings(counted.detach(), entropies, batch)
        return counted.sum(dim=1)

    def _additive(self, mask: Tensor) -> Tensor:
        """What eager attention adds to its scores as well as what fused attention takes: 0 where a token is seen."""
        if mask.dtype != torch.bool:
            return mask
        dtype = self.policy.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
