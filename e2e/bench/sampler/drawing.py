"""One side of the bench in a process of its own: builds its engine, then draws all prompts once per line on stdin.

`product` is what a sampler pod does for a shard, without scoring: the loaded set's engine thread, `draw_rows`. `plain`
is `vllm.LLM.generate` with the engine arguments that the product gives vLLM, and no log-probabilities, which the
product asks for. Both begin every round with an empty prefix cache. Answers one JSON line a round on stdout.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench.base_model import BenchModel
from e2e.bench.sampler.figures import Round
from e2e.bench.sync.reloading import engine_config, load, sampler_weights
from e2e.demo.beir import read_queries
from rewriter_contract import volume, wire
from rewriter_contract.messages import DataRow, GenerationConfig, WeightsRef
from rewriter_contract.weights import manifest_digest
from rewriter_sampler.draw_rows import draw_rows, row_seed
from rewriter_sampler.prompts import Prompts, fill
from rewriter_sampler.sample_server import SEQUENCES

SHOP: Final = Path(__file__).parents[2] / "data" / "shop"


@dataclass(frozen=True)
class Setting:
    """What one round draws."""

    model: BenchModel
    queries: int
    generation: GenerationConfig


def rows_of(count: int) -> list[DataRow]:
    """The first `count` queries of the shop.

    Raises:
        ValueError: when it has fewer.
    """
    queries = list(read_queries(SHOP).values())
    if count > len(queries):
        raise ValueError(f"{count} queries are wanted, {SHOP} has {len(queries)}")
    return [DataRow(query.id, query.text) for query in queries[:count]]


Draw = Callable[[], list[tuple[int, ...]]]
"""Draws everything once; the token ids of every completion, in the order of rows."""


def product(root: Path, version: str, setting: Setting) -> Draw:
    """The sampler pod's drawing, its engine filled by an order."""
    weights = sampler_weights(root, setting.model)
    ref = WeightsRef(version, manifest_digest(root / volume.weights_dir(version)))
    load(weights, ref)
    config, rows = engine_config(setting.model).prompt, rows_of(setting.queries)

    def draw() -> list[tuple[int, ...]]:
        with weights.drawing(ref) as thread:
            prompts = thread.call(lambda engine: Prompts(config, engine.bos_text(), engine.chat_text))
            drawn = list(draw_rows(thread, prompts, rows, setting.generation, weights.check_may_draw))
        return [completion.token_ids for row in drawn for completion in row.completions]

    return draw


def plain(root: Path, version: str, setting: Setting) -> Draw:
    """vLLM's own offline entry point."""
    from rewriter_sampler.engine import engine_options, prepare_environment

    config, generation = engine_config(setting.model), setting.generation
    prepare_environment(config)
    options = engine_options(config, root / volume.weights_dir(version), SEQUENCES)
    from vllm import LLM, SamplingParams

    engine: Any = LLM(**options)
    rows = rows_of(setting.queries)
    texts = [fill(config.prompt, row.query) for row in rows]
    sampling = [
        SamplingParams(
            n=generation.n,
            temperature=generation.temperature,
            top_p=generation.top_p,
            max_tokens=generation.max_tokens,
            stop=list(config.prompt.stop),
            seed=row_seed(generation.seed, row.id),
        )
        for row in rows
    ]

    def draw() -> list[tuple[int, ...]]:
        engine.reset_prefix_cache()
        drawn = engine.generate(texts, sampling, use_tqdm=False)
        return [tuple(completion.token_ids) for output in drawn for completion in output.outputs]

    return draw


SIDES: Final = {"product": product, "plain": plain}


def timed(draw: Draw) -> Round:
    """Draw once."""
    since, used = time.monotonic(), time.process_time()
    drawn = draw()
    seconds, cpu_seconds = time.monotonic() - since, time.process_time() - used
    digest = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
    return Round(seconds, cpu_seconds, sum(map(len, drawn)), digest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=SIDES, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--setting", required=True, help="a Setting as JSON")
    arguments = parser.parse_args()
    setting = wire.loads(Setting, arguments.setting, "--setting")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the libraries print must not get between the answers
    draw = SIDES[arguments.side](arguments.root, arguments.version, setting)
    print("{}", file=answers)
    for _ in sys.stdin:
        print(json.dumps(asdict(timed(draw))), file=answers)
    os._exit(0)  # vLLM's own teardown can take many seconds


if __name__ == "__main__":
    main()
