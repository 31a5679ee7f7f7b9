"""Log-probabilities of single tokens from logits, with as little memory of the vocabulary's size as can be.

Autograd's own way (to float32, logsumexp, two indexings) keeps and makes several tensors of the logits' size. Here the
normaliser is taken a block of rows at a time, and so is the gradient, by its formula:

    d log p(t) / d logits = one_hot(t) - softmax(logits)

That softmax also gives the entropy of a row, for whoever watches the training, at the price of one product:

    H = log sum exp(logits) - sum softmax(logits) * logits
"""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

BLOCK_ELEMENTS: Final = {"cpu": 1 << 19, "cuda": 1 << 26}
"""Logits in one block of rows: on a processor what fits its cache, on a GPU what is worth a kernel launch."""


def token_logprobs(logits: Tensor, rows: Tensor, tokens: Tensor, entropies: Tensor | None = None) -> Tensor:
    """float32 log p(token | its row of logits), in nats, for `rows` and `tokens` of one shape and [N, V] `logits`.

    `entropies`, [N] float32, is filled on the way BACK with the entropy of every row, in nats: the softmax is there
    then, and nothing of the vocabulary's size is made or kept for it. Neither values nor gradient depend on it.
    """
    values: Tensor = _TokenLogProbs.apply(logits, rows, tokens, entropies)
    return values


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, rows: Tensor, tokens: Tensor, entropies: Tensor | None) -> Tensor:
        normalisers = torch.cat([logits[block].float().logsumexp(dim=1) for block in _blocks(logits)])
        context.save_for_backward(logits, normalisers, rows, tokens)
        context.entropies = entropies
        return logits[rows, tokens].float() - normalisers[rows]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, normalisers, rows, tokens = context.saved_tensors
        by_row = torch.zeros_like(normalisers).index_put_((rows,), gradient, accumulate=True)
        result = torch.empty_like(logits)
        for block in _blocks(logits):
            part = (logits[block].float() - normalisers[block].unsqueeze(1)).exp_()
            if context.entropies is not None:
                expected = torch.linalg.vecdot(part, logits[block].float())
                context.entropies[block] = normalisers[block] - expected
            part.mul_(-by_row[block].unsqueeze(1))
            here = (rows >= block.start) & (rows < block.stop)
            part.index_put_((rows[here] - block.start, tokens[here]), gradient[here], accumulate=True)
            result[block] = part
        return result, None, None, None


def _blocks(logits: Tensor) -> Iterator[slice]:
    """The rows of [N, V] `logits`, in blocks."""
    size = max(1, BLOCK_ELEMENTS[logits.device.type] // logits.shape[1])
    for start in range(0, len(logits), size):
        yield slice(start, min(start + size, len(logits)))
