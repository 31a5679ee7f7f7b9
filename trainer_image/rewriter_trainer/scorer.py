"""A causal language model that answers with log-probabilities of completions instead of logits."""

from typing import Any

import torch
from torch import Tensor, nn

from rewriter_trainer.layouts import Batch
from rewriter_trainer.token_logprobs import token_logprobs


class CompletionScorer(nn.Module):
    """The model and the reading of its logits, as one module: a training engine wraps exactly what is run."""

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
        logprobs = token_logprobs(logits.flatten(0, 1), batch.predictors, batch.targets)
        return torch.where(batch.target_mask, logprobs, 0.0).sum(dim=1)

    def _additive(self, mask: Tensor) -> Tensor:
        """What eager attention adds to its scores as well as what fused attention takes: 0 where a token is seen."""
        if mask.dtype != torch.bool:
            return mask
        dtype = self.policy.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
