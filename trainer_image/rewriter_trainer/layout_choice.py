"""Decides, for the very model that is trained, whether sequences may share their beginnings in one row.

Packing needs an attention that takes an arbitrary mask and positions from its caller. Many architectures do; others
number tokens by their place in the row (ALiBi as BLOOM has it), carry state from token to token (Mamba), or see a
window narrower than the sequences. A list of names would be wrong with the next release of transformers, so the model
is asked: the packed log-probabilities of the longest pairs must equal the padded ones.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch

from rewriter_trainer.layouts import Layout, PackedLayout, PaddedLayout, sequences_of
from rewriter_trainer.sequences import TokenPair

log = logging.getLogger(__name__)

TOLERANCES: Final = {torch.float32: 2e-4, torch.bfloat16: 0.1}
"""Largest mean difference per token, in nats. Measured: float32 differs by under 1e-5; bfloat16 kernels by up to about
0.05. A mask or a position that is not obeyed costs tenths of a nat in any model that has learned something."""


def choose_layout(scorer: Any, pairs: Sequence[TokenPair], pad_id: int, device: torch.device) -> Layout:
    """The packed layout if `scorer` gives the same log-probabilities with it, else the padded one.

    All workers come to one answer, because a phase that was resumed must lay out what it laid out before.
    """
    padded = PaddedLayout(pad_id)
    reason = why_not_packed(scorer, pairs, padded, device)
    allowed = torch.tensor([0.0 if reason else 1.0], device=device)
    torch.distributed.all_reduce(allowed, op=torch.distributed.ReduceOp.MIN)
    if allowed.item():
        return PackedLayout()
    log.warning("sequences do not share their prompts, training is slower: %s", reason or "another worker refused")
    return padded


def why_not_packed(scorer: Any, pairs: Sequence[TokenPair], padded: PaddedLayout, device: torch.device) -> str:
    """The reason why `scorer` cannot take packed sequences; empty when it can."""
    sequences = sequences_of(_longest_of_two_queries(pairs))
    with torch.inference_mode():
        expected = scorer(padded.batch(sequences).to(device))
        try:
            found = scorer(PackedLayout().batch(sequences).to(device))
        except Exception as error:  # a model refuses masks or positions with whatever it stumbles over
            return f"the model takes no block mask ({type(error).__name__}: {error})"
    tokens = torch.tensor([max(1, len(sequence.completion)) for sequence in sequences], device=device)
    difference = float(((found - expected).abs() / tokens).max())
    tolerance = TOLERANCES[scorer.policy.dtype]
    if difference <= tolerance:
        return ""
    return f"packed log-probabilities differ by {difference:.2g} > {tolerance:.2g} nats per token from padded ones"


def _longest_of_two_queries(pairs: Sequence[TokenPair]) -> list[TokenPair]:
    """The longest pair and the longest one of another prompt: a window shows on long ones, mixed-up queries on two."""
    longest = max(pairs, key=len)
    others = [pair for pair in pairs if pair.chosen.prompt != longest.chosen.prompt]
    return [longest, max(others, key=len)] if others else [longest]
