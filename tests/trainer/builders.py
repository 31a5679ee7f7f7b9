"""Orders and samples with defaults, for the trainer's tests. Imports no torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rewriter_contract import volume
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
from rewriter_contract.weights import manifest_digest

REWARD = "reward-1"

QUERIES = ("wireless headphones", "running shoes men", "coffee stain carpet", "flights lisbon oslo")


def row(query: str, *samples: Sample, name: str = "") -> SampleRow:
    """The samples of one query."""
    return SampleRow(id=name or query, query=query, prompt=f"query: {query}\nrewrite:", samples=samples)


def sample(text: str, score: float | None, finished: bool = True) -> Sample:
    """One sample; a score of None is missing."""
    return Sample(text=text, score=score, missing="" if score is not None else "timeout", finished=finished)


def rows_with_signal(count: int) -> list[SampleRow]:
    """`count` queries, each with two good and two bad rewrites."""
    return [
        row(
            f"{QUERIES[i % len(QUERIES)]} {i}",
            sample(f"cheap {QUERIES[i % len(QUERIES)]}", 0.5),
            sample(f"best {QUERIES[i % len(QUERIES)]}", 0.3),
            sample("carpet in every shade", -0.4),
            sample("Oslo", -0.2),
        )
        for i in range(count)
    ]


def write_samples(root: Path, rows: list[SampleRow], weights: str, phase: int = 1) -> ShardRef:
    """Write a finished shard to the volume."""
    path = volume.samples_file(1, phase, 0)
    done = write_shard(root / path, rows, weights, REWARD, "test")
    return ShardRef(path=path, rows=done.rows, sha256=done.sha256)


def order(base: WeightsRef, *samples: ShardRef, phase: int = 1, **changes: Any) -> PhaseOrder:
    """A phase order for the tiny model: steps of 4 pairs, and a learning rate that shows within a few of them."""
    made = PhaseOrder(
        base=base,
        reference=base,
        samples=samples,
        pairs=PairsConfig(),
        mpo=MpoConfig(),
        optimizer=OptimizerConfig(learning_rate=1e-3, pairs_per_step=4),
        dtype="float32",
        seed=7,
        reward_revision=REWARD,
        out_version=volume.weights_version(1, phase),
        checkpoint_every=0,
    )
    return replace(made, **changes)


def base_ref(root: Path, version: str = "base-tiny") -> WeightsRef:
    """The weight set that `tiny_model.publish_base` left on the volume."""
    return WeightsRef(version, manifest_digest(root / volume.weights_dir(version)))
