"""How sequences lie in a batch, and how pairs are cut into micro-batches.

Two layouts give the same log-probabilities:

- packed: one row that holds the tree of all sequences. A beginning that several of them share (the words of the
  template, the prompt of a query, the first words of two rewrites) is computed once, and nothing is padding. Every
  token stands at the position that it has in its own sequence, and sees its own beginning and nothing else.
- padded: one row per sequence. For models whose attention cannot be told what to see; layout_choice.py decides.

In both, work of the vocabulary's size is done only where a completion's token is predicted, never for prompts, and a
completion's last token, which predicts nothing, is not put in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor

from rewriter_trainer.sequences import TokenPair, TokenSequence


@dataclass(frozen=True)
class Batch:
    """S sequences as R rows of L tokens, their logits at K columns, and where each completion's tokens are in these."""

    input_ids: Tensor
    """[R, L]"""
    position_ids: Tensor
    """[R, L]"""
    attention_mask: Tensor
    """[R, L] integers, 0 on padding; or [1, 1, L, L] booleans: row i sees column j."""
    logit_columns: Any
    """The columns that logits are wanted of: [K] in any order, or an int for the last K."""
    predictors: Tensor
    """[S, C]: which of the R * K logits predicts this token of this completion; any on padding."""
    targets: Tensor
    """[S, C]: the token itself."""
    target_mask: Tensor
    """[S, C] booleans, False on padding."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in values.items()}
        return Batch(**moved)


class Layout(Protocol):
    """A way to lay sequences out."""

    def batch(self, sequences: Sequence[TokenSequence]) -> Batch:
        """The sequences as tensors, on the CPU. A completion without tokens gets a log-probability of 0."""
        ...

    def size(self, sequences: Sequence[TokenSequence]) -> int:
        """Tokens that a batch of them computes, padding included."""
        ...


@dataclass(frozen=True)
class PaddedLayout:
    """One row per sequence: prompts padded on the left to P tokens, completions on the right to C tokens."""

    pad_id: int

    def batch(self, sequences: Sequence[TokenSequence]) -> Batch:
        """See Layout. Every completion starts in column P, so the last C columns have all logits."""
        prompt_length = max(len(sequence.prompt) for sequence in sequences)
        targets, target_mask = _targets(sequences, self.pad_id)
        kept = targets.shape[1]
        input_ids = torch.full((len(sequences), prompt_length + kept - 1), self.pad_id, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for row, sequence in enumerate(sequences):
            tokens = _predicting(sequence)
            start = prompt_length - len(sequence.prompt)
            input_ids[row, start : start + len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            attention_mask[row, start : start + len(tokens)] = 1
        return Batch(
            input_ids=input_ids,
            position_ids=(attention_mask.cumsum(dim=1) - 1).clamp(min=0),
            attention_mask=attention_mask,
            logit_columns=kept,
            predictors=torch.arange(len(sequences)).unsqueeze(1) * kept + torch.arange(kept),
            targets=targets,
            target_mask=target_mask,
        )

    def size(self, sequences: Sequence[TokenSequence]) -> int:
        """See Layout."""
        prompt_length = max(len(sequence.prompt) for sequence in sequences)
        return len(sequences) * (prompt_length + max(1, *(len(sequence.completion) for sequence in sequences)) - 1)


@dataclass(frozen=True)
class PackedLayout:
    """One row that holds the tree of all sequences."""

    def batch(self, sequences: Sequence[TokenSequence]) -> Batch:
        """See Layout."""
        tree = _Tree()
        paths = [tree.add(_predicting(sequence)) for sequence in sequences]
        seen = torch.zeros(len(tree.tokens), len(tree.tokens), dtype=torch.bool)
        for path in map(torch.tensor, paths):
            # Of two tokens on a path the later one sees the earlier one; paths agree wherever they overlap.
            seen[path.unsqueeze(1), path] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
        targets, target_mask = _targets(sequences, 0)
        predicting = torch.empty_like(targets)
        for row, (sequence, path) in enumerate(zip(sequences, paths, strict=True)):
            before = path[len(sequence.prompt) - 1 :][: len(sequence.completion)]
            predicting[row] = path[len(sequence.prompt) - 1]  # padding points at a column that is computed anyway
            predicting[row, : len(before)] = torch.tensor(before, dtype=torch.long)
        columns, predictors = predicting.unique(return_inverse=True)
        return Batch(
            input_ids=torch.tensor([tree.tokens]),
            position_ids=torch.tensor([tree.positions]),
            attention_mask=seen[None, None],
            logit_columns=columns,
            predictors=predictors,
            targets=targets,
            target_mask=target_mask,
        )

    def size(self, sequences: Sequence[TokenSequence]) -> int:
        """See Layout."""
        tree = _Tree()
        for sequence in sequences:
            tree.add(_predicting(sequence))
        return len(tree.tokens)


class _Tree:
    """Token sequences with every shared beginning kept once; a token's number is its column."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, sequence: Sequence[int]) -> list[int]:
        """Add a sequence; the columns of its tokens, in its order."""
        path: list[int] = []
        for position, token in enumerate(sequence):
            key = (path[-1] if path else -1, token)
            if key not in self._children:
                self._children[key] = len(self.tokens)
                self.tokens.append(token)
                self.positions.append(position)
            path.append(self._children[key])
        return path


def _predicting(sequence: TokenSequence) -> tuple[int, ...]:
    """The tokens that are put in: all that predict another one. The last token of a completion is only predicted."""
    return (*sequence.prompt, *sequence.completion[:-1])


def _targets(sequences: Sequence[TokenSequence], pad_id: int) -> tuple[Tensor, Tensor]:
    """[S, C] the completions' tokens and [S, C] which of them are no padding."""
    length = max(1, *(len(sequence.completion) for sequence in sequences))
    targets = torch.full((len(sequences), length), pad_id, dtype=torch.long)
    mask = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        targets[row, : len(sequence.completion)] = torch.tensor(sequence.completion, dtype=torch.long)
        mask[row, : len(sequence.completion)] = True
    return targets, mask


def sequences_of(pairs: Sequence[TokenPair]) -> list[TokenSequence]:
    """The chosen sequences of `pairs`, then the rejected ones."""
    return [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]


def micro_batches(
    pairs: Sequence[TokenPair], indices: Sequence[int], layout: Layout, max_tokens: int
) -> list[list[int]]:
    """Split `indices` (into `pairs`), in their order, so that no part computes over `max_tokens` tokens.

    Neighbours with one prompt stay together if they fit. A single pair that is longer makes a part of its own.
    """

    def fits(part: Sequence[int]) -> bool:
        return layout.size(sequences_of([pairs[index] for index in part])) <= max_tokens

    parts: list[list[int]] = []
    for _, run in groupby(indices, key=lambda index: pairs[index].chosen.prompt):
        query = list(run)
        for unit in [query] if fits(query) else [[index] for index in query]:
            if parts and fits(parts[-1] + unit):
                parts[-1] += unit
            else:
                parts.append(list(unit))
    return parts
