"""Reloads two weight sets in turn into a real vLLM engine, beside a plain read: inside the sampler image, one process.

The product's side is the sampler pod's own order, from PUT to Ready: verify, pause, reload, drop the prefix cache,
canary. The plain side is `safetensors.torch.load_model` of the same files, one after the other, into a transformers
model of the same configuration: vLLM's own holds packed copies of its weights, which no plain read could fill. Both
sides once with the files in the page cache, and once without, as where another node wrote them. Once more beside what
vLLM itself takes to read the files into the same engine (`reload_weights` alone: nothing verified, no canary).
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

    warm: Rounds
    """The files are in the page cache."""
    cold: Rounds
    """They are not: each round begins with dropping them from it."""
    paused_s: tuple[float, ...]
    """Of the product's seconds in the warm rounds, how long generation stood still."""
    beside_engine: Rounds
    """Warm; the plain side is vLLM's own reload into the same engine."""
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


def forget(directory: Path) -> None:
    """Drop a directory's files from the page cache; they must not be dirty."""
    for file in directory.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def plain_model(directory: Path, model: BenchModel) -> Any:
    """A transformers model of the set's configuration whose memory is its own, not the file's mapped pages."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    models: Any = AutoModelForCausalLM
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    return models.from_config(config).to(getattr(torch, model.dtype))


def measure(root: Path, sets: tuple[WeightsRef, WeightsRef], model: BenchModel, rounds: int) -> Reloaded:
    """`rounds` paired rounds, warm and cold, after the engine was built from the first set and each reloaded once."""
    weights = sampler_weights(root, model)
    for ref in (*sets, sets[0]):
        load(weights, ref)
    from safetensors.torch import load_model

    directories = [root / volume.weights_dir(ref.version) for ref in sets]
    plain = plain_model(directories[0], model)
    states: list[SamplerState] = []

    def product(number: int) -> None:
        states.append(load(weights, sets[(number + 1) % 2]))

    def read(number: int) -> None:
        for file in sorted(directories[(number + 1) % 2].glob("*.safetensors")):
            load_model(plain, file, strict=False)

    def forget_all() -> None:
        for directory in directories:
            forget(directory)

    def reload_only(number: int) -> None:
        ref, loaded = sets[(number + 1) % 2], weights.state().weights
        assert loaded is not None
        with weights.drawing(loaded) as thread:
            thread.call(lambda engine: engine.reload(root / volume.weights_dir(ref.version), ref.version))

    work = {"product": product, "plain": read}
    for side in work.values():
        side(1)  # the plain side's first read takes its memory from the kernel; both begin with the first set loaded
    states.clear()
    warm = paired(rounds, work)
    paused = tuple(state.paused_seconds for state in states)
    load(weights, sets[0])
    cold = paired(rounds, work, prepare=forget_all)
    load(weights, sets[0])
    beside_engine = paired(rounds, {"product": product, "plain": reload_only})
    differences = [state.canary_difference for state in states if state.canary_difference is not None]
    return Reloaded(warm, cold, paused, beside_engine, max(differences))


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
