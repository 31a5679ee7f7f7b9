"""Whether a weight set can be reloaded into an engine that was built from another one.

Plain vLLM reloads a set that lacks a tensor and answers "200 OK", with one layer still holding the old parameters
(measured). So names and shapes of all tensors, the model's configuration and the tokenizer's vocabulary are compared
BEFORE a running engine is touched.
"""

import json
from pathlib import Path
from typing import Any

from rewriter_contract.weights import WeightsRefused, tensor_shapes

CONFIG_MAY_DIFFER = frozenset(
    {"_name_or_path", "dtype", "pad_token_id", "torch_dtype", "transformers_version", "use_cache"}
)
"""Keys of config.json that do not change what the engine computes; any other difference is refused."""

TIED_HEAD = "lm_head.weight"
"""With tied embeddings some writers save the output layer a second time, and some do not."""


def check_same_model(built_from: Path, candidate: Path) -> None:
    """Refuse a set that is another model than the engine's.

    Raises:
        WeightsRefused: naming the first differences.
    """
    _check_config(built_from, candidate)
    _check_tensors(built_from, candidate)
    _check_vocabulary(built_from, candidate)


def _check_config(built_from: Path, candidate: Path) -> None:
    old, new = (_config(directory) for directory in (built_from, candidate))
    differ = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if differ:
        key = differ[0]
        raise WeightsRefused(
            f"{candidate.name}: config.json {key} is {new.get(key)!r}, the engine has {old.get(key)!r}"
        )


def _config(directory: Path) -> dict[str, Any]:
    config = json.loads((directory / "config.json").read_text())
    return {key: value for key, value in config.items() if key not in CONFIG_MAY_DIFFER and value is not None}


def _check_tensors(built_from: Path, candidate: Path) -> None:
    old, new = (_shapes(directory) for directory in (built_from, candidate))
    for sentence, names in (
        ("lacks", old.keys() - new.keys()),
        ("has unknown", new.keys() - old.keys()),
        ("has another shape of", {name for name in old.keys() & new.keys() if old[name] != new[name]}),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3])
            raise WeightsRefused(f"{candidate.name}: {sentence} {len(names)} of {len(old)} tensors: {listed}")


def _shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    shapes = tensor_shapes(directory)
    if json.loads((directory / "config.json").read_text()).get("tie_word_embeddings"):
        shapes.pop(TIED_HEAD, None)
    return shapes


def _check_vocabulary(built_from: Path, candidate: Path) -> None:
    old, new = (directory / "tokenizer.json" for directory in (built_from, candidate))
    if old.exists() != new.exists():
        raise WeightsRefused(f"{candidate.name}: tokenizer.json is in one of the two weight sets only")
    if old.exists() and old.read_bytes() != new.read_bytes() and _vocabulary(old) != _vocabulary(new):
        raise WeightsRefused(f"{candidate.name}: tokenizer.json has another vocabulary than the engine's")


def _vocabulary(path: Path) -> tuple[Any, Any]:
    tokenizer = json.loads(path.read_text())
    added = sorted((token["id"], token["content"]) for token in tokenizer.get("added_tokens") or [])
    return tokenizer["model"].get("vocab"), added
