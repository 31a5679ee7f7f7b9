"""Reloads two weight sets in turn into a real vLLM engine, beside a plain read: inside the sampler image, one process.

The product's side is the sampler pod's own order, from PUT to Ready: verify, pause, reload, drop the prefix cache,
canary. The plain side is `safetensors.torch.load_model` of the same file into a transformers model of the same
configuration: vLLM's own holds packed copies of its weights, which no plain read could fill. Both read from a warm
page cache.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench.base_model import BenchModel
from e2e.bench.sync.rounds import Rounds, paired
from e2e.demo.profiles import SMOLLM2
from rewriter_contract import volume, wire
from rewriter_contract.messages import EngineConfig, LoadState, PromptConfig, SamplerState, WeightsOrder, WeightsRef
from rewriter_sampler.reload import SamplerWeights
from rewriter_sampler.sample_server import SEQUENCES

POLL_SECONDS: Final = 0.001


@dataclass(frozen=True)
class Reloaded:
    """What the reloading side measured."""

    rounds: Rounds
    paused_s: tuple[float, ...]
    """Of these seconds, how long generation stood still."""
    canary_difference: float
    """Largest of all reloads, in nats."""


class LoadRefused(RuntimeError):
    """The sampler did not load a set; the message is its own."""


def load(weights: SamplerWeights, ref: WeightsRef) -> SamplerState:
    """Order a set and wait until it is loaded.

    Raises:
        LoadRefused: when the sampler says that it failed.
    """
    state = weights.order(WeightsOrder(ref.version, ref.digest))
    while state.state is LoadState.LOADING:
        time.sleep(POLL_SECONDS)
        state = weights.state()
    if state.state is not LoadState.READY or state.weights != ref:
        raise LoadRefused(f"{ref.version}: {state.state} {state.message}")
    return state


def engine_config(model: BenchModel) -> EngineConfig:
    """The demo's prompt and the product's defaults."""
    return EngineConfig(prompt=PromptConfig(template=SMOLLM2.template), dtype=model.dtype)


def sampler_weights(root: Path, model: BenchModel) -> SamplerWeights:
    """The sampler pod's own object, as `sample_server` makes it. Loads vLLM with the first order."""

    def build(directory: Path) -> Any:
        from rewriter_sampler.engine import Engine

        return Engine(engine_config(model), directory, SEQUENCES)

    def end(why: str) -> None:
        print(why, file=sys.stderr, flush=True)
        os._exit(1)

    return SamplerWeights(root, build, end)


def measure(root: Path, sets: tuple[WeightsRef, WeightsRef], model: BenchModel, rounds: int) -> Reloaded:
    """`rounds` paired rounds, after the engine was built from the first set and each set reloaded once."""
    weights = sampler_weights(root, model)
    for ref in (*sets, sets[0]):
        load(weights, ref)
    import torch
    from safetensors.torch import load_model
    from transformers import AutoModelForCausalLM

    directories = [root / volume.weights_dir(ref.version) for ref in sets]
    plain: Any = AutoModelForCausalLM.from_pretrained(
        directories[0], dtype=getattr(torch, model.dtype), local_files_only=True
    )
    states: list[SamplerState] = []

    def product(number: int) -> None:
        states.append(load(weights, sets[(number + 1) % 2]))

    def read(number: int) -> None:
        load_model(plain, directories[(number + 1) % 2] / "model.safetensors", strict=False)

    done = paired(rounds, {"product": product, "plain": read}, lambda *_: None)
    differences = [state.canary_difference for state in states if state.canary_difference is not None]
    return Reloaded(done, tuple(state.paused_seconds for state in states), max(differences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--sets", required=True, help="two WeightsRefs as a JSON list")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    first, second = (wire.from_wire(WeightsRef, ref, "--sets") for ref in json.loads(arguments.sets))
    done = measure(arguments.root, (first, second), BenchModel(arguments.tiny), arguments.rounds)
    arguments.out.write_text(json.dumps(asdict(done)))
    sys.stdout.flush()
    os._exit(0)  # vLLM's own teardown can take many seconds


if __name__ == "__main__":
    main()
