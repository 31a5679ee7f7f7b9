"""Log-probabilities of a fixed text under the files of a weight set, for its manifest.

Every engine that loads the set compares its own numbers with these. They come from a plain forward pass of the files
as they lie on the volume, never from the model that was trained in memory: what is checked is what is served.
"""

import math
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch.func import functional_call
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewriter_contract.agent import WorkFailed
from rewriter_contract.weights import Canary

TEXT: Final = (
    "waterproof trail running shoes size 42 under 100 euro, wireless headphones with noise cancelling, "
    "how to remove coffee stains from a wool carpet, flights from Lisbon to Oslo on Friday evening"
)
MAX_TOKENS: Final = 48
TOLERANCES: Final = {"float32": 0.01, "bfloat16": 0.1}
"""Measured: another engine's float32 differs by under 1e-6; bfloat16 kernels differ by up to about 0.05."""


def token_ids_of(directory: Path) -> tuple[int, ...]:
    """The fixed text in the tokens of the set in `directory`.

    Raises:
        WorkFailed: when the tokenizer makes too few of it.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    token_ids = tuple(tokenizer(TEXT, add_special_tokens=False)["input_ids"][:MAX_TOKENS])
    if len(token_ids) < 2:
        raise WorkFailed(f"the tokenizer makes {len(token_ids)} tokens of the canary text; it does not fit the model")
    return token_ids


def measure(directory: Path, dtype: str, token_ids: tuple[int, ...]) -> Canary:
    """The canary of the weight set in `directory`, computed on the CPU in `dtype`.

    Raises:
        WorkFailed: when a log-probability is not finite: such weights must not be published.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=getattr(torch, dtype), local_files_only=True).eval()
    with torch.inference_mode():
        return _canary(model(torch.tensor([token_ids])).logits, dtype, token_ids)


def measure_in(policy: Any, directory: Path, dtype: str, token_ids: tuple[int, ...]) -> Canary:
    """The same, with the files' tensors in the place of `policy`'s own: no second model is built.

    `policy` must be of the set's architecture, in eval mode and on the CPU, and every tensor of its own must be in the
    files (or be tied to one that is); it is left as it was.

    Raises:
        WorkFailed: as `measure`.
    """
    tensors = {
        name: tensor for file in sorted(directory.glob("*.safetensors")) for name, tensor in load_file(file).items()
    }
    if missing := {name for name, _ in policy.named_parameters()} - tensors.keys():
        raise WorkFailed(f"{min(missing)} is not in the files that were written; the weights are not published")
    with torch.inference_mode():
        logits = functional_call(policy, tensors, (torch.tensor([token_ids]),), {"use_cache": False}).logits
        return _canary(logits, dtype, token_ids)


def _canary(logits: torch.Tensor, dtype: str, token_ids: tuple[int, ...]) -> Canary:
    """`logits` is [1, tokens, vocabulary]."""
    chosen = logits[0, :-1].float().log_softmax(dim=-1).gather(1, torch.tensor(token_ids[1:]).unsqueeze(1)).squeeze(1)
    logprobs = tuple(float(value) for value in chosen)
    if not all(math.isfinite(value) for value in logprobs):
        raise WorkFailed("the canary's log-probabilities are not finite; the weights are not published")
    return Canary(token_ids=token_ids, logprobs=logprobs, tolerance=TOLERANCES[dtype])
