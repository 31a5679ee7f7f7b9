"""From pairs to token batches, and from batches to log-probabilities of completions.

The one place that knows how sequences are laid out in a batch. Callers ask for the log-probability of each completion
and get a vector; a layout that shares a query's prompt between its completions can replace `collate` and
`CompletionScorer` without any other change.

Tokenisation must equal what sampling did: the prompt text is complete (special tokens are written out in it), so it is
tokenised without adding any, and the completion is tokenised by itself, never together with the prompt, because a
token that spans the boundary was never sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rewriter_contract.messages import Sample
from rewriter_trainer.pairs import Pair


@dataclass(frozen=True)
class TokenSequence:
    """One prompt with one completion, its terminator included."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class TokenPair:
    """A preference pair as tokens."""

    chosen: TokenSequence
    rejected: TokenSequence

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


@dataclass(frozen=True)
class Batch:
    """S sequences, prompts padded on the left to P tokens, completions on the right to C tokens.

    So every completion starts in column P, and the model computes logits for the last C + 1 columns only: the
    vocabulary-sized part of the work is done for completions and never for prompts.
    """

    input_ids: Tensor
    """[S, P + C]"""
    attention_mask: Tensor
    """[S, P + C], 0 on padding."""
    completion_mask: Tensor
    """[S, C], 0 on padding."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.completion_mask.to(device))


def token_pair(tokenizer: Any, pair: Pair, stop: str) -> TokenPair:
    """Tokenise a pair. `tokenizer` is a transformers tokenizer; `stop` ends a finished completion."""
    prompt = tuple(tokenizer(pair.prompt, add_special_tokens=False)["input_ids"])
    return TokenPair(
        chosen=TokenSequence(prompt, completion_ids(tokenizer, pair.chosen, stop)),
        rejected=TokenSequence(prompt, completion_ids(tokenizer, pair.rejected, stop)),
    )


def completion_ids(tokenizer: Any, sample: Sample, stop: str) -> tuple[int, ...]:
    """The completion's tokens: those that were drawn where the sampler recorded them, else its text and the stop.

    A completion that was cut gets no terminator: the policy did not end there, and must not be told that it did.
    """
    if sample.token_ids:
        return sample.token_ids
    if not sample.finished:
        return tuple(tokenizer(sample.text, add_special_tokens=False)["input_ids"])
    if stop:
        return tuple(tokenizer(sample.text + stop, add_special_tokens=False)["input_ids"])
    return (*tokenizer(sample.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)


def collate(sequences: Sequence[TokenSequence], pad_id: int) -> Batch:
    """Lay sequences out as a Batch. A completion without tokens gets a log-probability of 0."""
    prompt_length = max(len(sequence.prompt) for sequence in sequences)
    completion_length = max(1, *(len(sequence.completion) for sequence in sequences))
    input_ids = torch.full((len(sequences), prompt_length + completion_length), pad_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        columns = slice(prompt_length - len(sequence.prompt), prompt_length + len(sequence.completion))
        input_ids[row, columns] = torch.tensor((*sequence.prompt, *sequence.completion), dtype=torch.long)
        attention_mask[row, columns] = 1
    return Batch(input_ids, attention_mask, attention_mask[:, prompt_length:])


class CompletionScorer(nn.Module):
    """A causal language model that answers with log-probabilities of completions instead of logits.

    A module of its own, so that a training engine wraps exactly what is run in the forward pass.
    """

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> Tensor:
        """[S] float32: sum over each completion's tokens of log p(token | all before it), in nats."""
        completion_length = batch.completion_mask.shape[1]
        logits = (
            self.policy(
                input_ids=batch.input_ids,
                attention_mask=batch.attention_mask,
                position_ids=(batch.attention_mask.cumsum(dim=1) - 1).clamp(min=0),
                logits_to_keep=completion_length + 1,
                use_cache=False,
            )
            .logits[:, :-1]
            .float()
        )
        targets = batch.input_ids[:, -completion_length:]
        logprobs = logits.gather(2, targets.unsqueeze(2)).squeeze(2) - logits.logsumexp(dim=2)
        return torch.where(batch.completion_mask.bool(), logprobs, 0.0).sum(dim=1)


def micro_batches(pairs: Sequence[TokenPair], indices: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Split `indices` (into `pairs`), in their order, so that no part has over `max_tokens` padded tokens.

    A single pair that is longer than that makes a part of its own.
    """
    parts: list[list[int]] = []
    longest = 0
    for index in indices:
        length = max(len(pairs[index].chosen), len(pairs[index].rejected))
        if parts and 2 * (len(parts[-1]) + 1) * max(longest, length) <= max_tokens:
            parts[-1].append(index)
            longest = max(longest, length)
        else:
            parts.append([index])
            longest = length
    return parts
