"""The model that benches run: SmolLM2-135M-Instruct, or a narrow one of the same kind and vocabulary, for miniatures.

`base_model` runs on the host. `python -m e2e.bench.base_model` runs inside the trainer image, which has torch, and
imports the model into a volume as the product does.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.checkout_in_image import run_checkout
from e2e.cluster.paths import cache_root
from rewriter_contract.messages import WeightsRef

MODEL: Final = "smollm2"
NARROW: Final = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,  # SmolLM2's own: vLLM's CPU attention knows few others
}
"""About three million parameters, nearly all of them the vocabulary's."""


@dataclass(frozen=True)
class BenchModel:
    """Which model a bench runs, and how."""

    tiny: bool = False
    dtype: str = "float32"
    seed: int = 7

    @property
    def title(self) -> str:
        """What the result calls it."""
        return "narrow Llama with SmolLM2's vocabulary (--tiny)" if self.tiny else "SmolLM2-135M-Instruct"


def base_model() -> Path:
    """The directory of SmolLM2-135M-Instruct, unpacked by the demo image once."""
    directory = cache_root() / "bench" / MODEL
    if not (directory / "model.safetensors").exists():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
        write = ["python3", "-m", "e2e.demo.prepare_model", MODEL, "/tmp/model/new"]
        if code := run_checkout("demo", write, [f"{directory}:/tmp/model"]):
            raise SystemExit(f"the base model could not be written: exit code {code}")
        for file in (directory / "new").iterdir():
            file.rename(directory / file.name)
        (directory / "new").rmdir()
    return directory


def write_narrow(source: Path, out: Path, seed: int) -> None:
    """A model of `source`'s kind with random weights, far narrower, beside `source`'s tokenizer. Needs torch."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config: Any = AutoConfig.from_pretrained(source, local_files_only=True)
    config.update(NARROW)
    models: Any = AutoModelForCausalLM
    models.from_config(config).float().save_pretrained(out)
    for file in source.iterdir():
        if file.suffix != ".safetensors" and not (out / file.name).exists():
            shutil.copyfile(file, out / file.name)


def import_model(root: Path, source: Path, model: BenchModel, writer: str) -> WeightsRef:
    """Publish the bench's model on the volume at `root` by the product's own import. Needs torch."""
    from rewriter_trainer.check_model import check_model
    from rewriter_trainer.import_base import import_base

    if model.tiny:
        narrow = root / "narrow"
        if not narrow.exists():
            narrow.mkdir()
            write_narrow(source, narrow, model.seed)
        source = narrow
    return import_base(root, check_model(source.parent, source.name), model.dtype, model.seed, writer)


def main() -> None:
    parser = argparse.ArgumentParser(description="Import the bench's model into a volume.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    import_model(arguments.root, arguments.model, BenchModel(arguments.tiny), "bench")


if __name__ == "__main__":
    main()
