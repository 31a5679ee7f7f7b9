"""Checks the base model's directory before anything loads it. Standard library only.

What a weight set may hold is decided in rewriter_contract.weights; this says the same of a user's directory in words
that lead to a remedy, and refuses whatever would run code when it is loaded.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rewriter_contract import volume
from rewriter_contract.messages import Problem
from rewriter_contract.weights import ALLOWED_SUFFIXES

CODE_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".so", ".npy"})
"""Pickles, or what may hold one; and shared objects."""

NOT_MODEL: Final = frozenset({volume.MANIFEST})

TOKENIZERS: Final = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""Any one of these sets of files makes a tokenizer."""


@dataclass(frozen=True)
class ModelReport:
    """What the model's directory is."""

    problems: tuple[Problem, ...]
    files: tuple[Path, ...]
    """What belongs into the weight set, symlinks followed, sorted by name."""
    names: tuple[str, ...]
    """Their names in the weight set."""


def check_model(root: Path, model_path: str) -> ModelReport:
    """Check the directory at `model_path` below the volume root."""
    try:
        directory = volume.resolve(root, model_path)
    except volume.OutsideVolume as error:
        return ModelReport((Problem("ModelMissing", f"model: {error}"),), (), ())
    if not directory.is_dir():
        message = f"model: {model_path} is no directory on the volume; copy the model there or change spec.model.path"
        return ModelReport((Problem("ModelMissing", message),), (), ())
    entries = sorted(path for path in directory.iterdir())
    problems = [
        *_missing_parts(model_path, {path.name for path in entries}),
        *_code(root, model_path, entries),
        *_config(model_path, directory / "config.json"),
    ]
    kept = [
        path
        for path in entries
        if path.suffix in ALLOWED_SUFFIXES and path.name not in NOT_MODEL and not path.name.startswith(".")
    ]
    return ModelReport(
        tuple(problems),
        tuple(path.resolve() for path in kept if path.is_file()),
        tuple(p.name for p in kept if p.is_file()),
    )


def _missing_parts(model_path: str, names: set[str]) -> list[Problem]:
    problems = []
    if "config.json" not in names:
        problems.append("config.json is missing; export the model with save_pretrained")
    if not any(name.endswith(".safetensors") for name in names):
        problems.append("no *.safetensors file; export the model with save_pretrained(safe_serialization=True)")
    if not any(names.issuperset(files) for files in TOKENIZERS):
        problems.append("no tokenizer (tokenizer.json); save the tokenizer into the same directory")
    return [Problem("ModelIncomplete", f"{model_path}: {text}") for text in problems]


def _code(root: Path, model_path: str, entries: list[Path]) -> list[Problem]:
    problems = []
    for path in entries:
        if not path.resolve().is_relative_to(root.resolve()):
            problems.append(f"{path.name} is a symlink that leaves the volume; copy the file instead")
        elif not path.exists():
            problems.append(f"{path.name} is a symlink to nothing; copy the file instead")
        elif path.suffix in CODE_SUFFIXES:
            problems.append(f"{path.name} may hold code that runs when it is loaded; remove it and keep *.safetensors")
    return [Problem("ModelUnsafe", f"{model_path}: {text}") for text in problems]


def _config(model_path: str, config: Path) -> list[Problem]:
    if not config.is_file():
        return []
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        return [Problem("ModelIncomplete", f"{model_path}: config.json is not JSON ({error}); export the model again")]
    if not isinstance(data, dict):
        return [Problem("ModelIncomplete", f"{model_path}: config.json is no JSON object; export the model again")]
    if "auto_map" in data:
        text = "config.json has auto_map, which would load code; use a model of an architecture that transformers has"
        return [Problem("ModelUnsafe", f"{model_path}: {text}")]
    return []
