"""From pairs of texts to pairs of token sequences.

Tokenisation must equal what sampling did: the prompt text is complete (special tokens are written out in it), so it is
tokenised without adding any, and the completion is tokenised by itself, never together with the prompt, because a
token that spans the boundary was never sampled. How sequences become tensors is layouts.py's business.
"""

from dataclasses import dataclass
from typing import Any

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
