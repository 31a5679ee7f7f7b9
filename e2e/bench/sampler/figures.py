"""build/bench/sampler.json from the rounds. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Round:
    """What one side did in one round."""

    seconds: float
    cpu_seconds: float
    """Of all threads of the process."""
    tokens: int
    """Drawn, terminators included."""
    digest: str
    """sha256 (hex) of the token ids of all completions, in the order of rows."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def tokens_per_cpu_s(self) -> float:
        return self.tokens / self.cpu_seconds


def report(setting: dict[str, Any], cores: int, product: Sequence[Round], plain: Sequence[Round]) -> dict[str, Any]:
    """The whole JSON; ratios are medians over the rounds of product / plain.

    Raises:
        ValueError: when the sides have different numbers of rounds, or none.
    """
    pairs = list(zip(product, plain, strict=True))
    if not pairs:
        raise ValueError("no round was measured")
    return {
        "machine": {"cores": cores},
        "setting": setting | {"rounds": len(pairs)},
        "tokens_per_s_ratio": round(median(ours.tokens_per_s / theirs.tokens_per_s for ours, theirs in pairs), 3),
        "tokens_per_cpu_s_ratio": round(
            median(ours.tokens_per_cpu_s / theirs.tokens_per_cpu_s for ours, theirs in pairs), 3
        ),
        "equal_tokens_share": sum(ours.digest == theirs.digest for ours, theirs in pairs) / len(pairs),
        "product": _side(product),
        "plain": {"program": "vllm.LLM.generate, without log-probabilities", **_side(plain)},
    }


def _side(rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "tokens_per_s": round(median(one.tokens_per_s for one in rounds), 2),
        "tokens_per_cpu_s": round(median(one.tokens_per_cpu_s for one in rounds), 2),
        "tokens": [one.tokens for one in rounds],
        "seconds": [round(one.seconds, 4) for one in rounds],
        "cpu_seconds": [round(one.cpu_seconds, 4) for one in rounds],
    }
