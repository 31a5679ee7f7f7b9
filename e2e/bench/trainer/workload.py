"""What both sides train on: SmolLM2-135M-Instruct, the shop's queries in the demo's template, four rewrites each.

A rewrite is the beginning of a product's title, three to ten words: speed depends on lengths, not on sense. Runs inside
the trainer image, which has torch.
"""

import argparse
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from e2e.demo.beir import read_corpus, read_queries
from e2e.demo.profiles import SMOLLM2
from rewriter_contract import volume, wire
from rewriter_contract.messages import (
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    Sample,
    SampleRow,
    ShardRef,
    WeightsRef,
)
from rewriter_contract.shards import write_shard
from rewriter_trainer.check_model import check_model
from rewriter_trainer.phase_files import write_order

SHOP: Final = Path(__file__).parents[2] / "data" / "shop"
CYCLE: Final = 1
PHASE: Final = 1
SEED: Final = 7
SCORES: Final = (0.5, 0.3, -0.2, -0.4)
"""Of the four rewrites of a query: the best is paired with the worst, the second with the third."""
REWARD: Final = "bench"
WRITER: Final = "bench"


@dataclass(frozen=True)
class Setting:
    """What one run trains."""

    queries: int
    pairs_per_step: int
    mpo: MpoConfig = field(default_factory=MpoConfig)
    learning_rate: float = 1e-5
    dtype: str = "float32"


def rows_of(shop: Path, count: int) -> list[SampleRow]:
    """`count` queries of the collection in `shop`, each with four scored rewrites; always the same ones.

    Raises:
        ValueError: when the collection has fewer queries.
    """
    queries = list(read_queries(shop).values())
    if count > len(queries):
        raise ValueError(f"{count} queries are wanted, {shop} has {len(queries)}")
    titles = [document.title for document in read_corpus(shop)]
    random_of = random.Random(SEED)
    rows = []
    for query in queries[:count]:
        beginnings = [
            " ".join(title.split()[: random_of.randint(3, 10)]) for title in random_of.sample(titles, len(SCORES))
        ]
        rows.append(
            SampleRow(
                id=query.id,
                query=query.text,
                prompt=SMOLLM2.template.replace("{query}", query.text),
                samples=tuple(
                    Sample(text=f" {text}", score=score, finished=True)
                    for text, score in zip(beginnings, SCORES, strict=True)
                ),
            )
        )
    return rows


def write_samples(root: Path, rows: list[SampleRow], base: WeightsRef) -> ShardRef:
    """Leave the rows as a finished shard."""
    path = volume.samples_file(CYCLE, PHASE, 0)
    done = write_shard(volume.resolve(root, path), rows, base.version, REWARD, WRITER)
    return ShardRef(path=path, rows=done.rows, sha256=done.sha256)


def order_of(setting: Setting, base: WeightsRef, samples: ShardRef) -> PhaseOrder:
    """The phase that our side trains. No warm-up and no weight decay: the two sides mean different things by them."""
    optimizer = OptimizerConfig(
        learning_rate=setting.learning_rate,
        weight_decay=0.0,
        warmup_ratio=0.0,
        pairs_per_step=setting.pairs_per_step,
    )
    return PhaseOrder(
        base=base,
        reference=base,
        samples=(samples,),
        pairs=PairsConfig(),
        mpo=setting.mpo,
        optimizer=optimizer,
        dtype=setting.dtype,
        seed=SEED,
        reward_revision=REWARD,
        out_version=volume.weights_version(CYCLE, PHASE),
        checkpoint_every=0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a volume with a base model, samples and the order of a phase.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--setting", required=True, help="a Setting as JSON")
    arguments = parser.parse_args()
    setting = wire.loads(Setting, arguments.setting, "--setting")
    from rewriter_trainer.import_base import import_base  # loads torch, which who only reads the names here may lack

    model = check_model(arguments.model.parent, arguments.model.name)
    base = import_base(arguments.root, model, setting.dtype, SEED, WRITER)
    samples = write_samples(arguments.root, rows_of(SHOP, setting.queries), base)
    write_order(arguments.root, CYCLE, PHASE, order_of(setting, base, samples), WRITER)


if __name__ == "__main__":
    main()
