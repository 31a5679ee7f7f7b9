"""Plays the trials: sample, score with the flawed relevance model, train, publish, phase by phase; then both sides'
evidence. Runs inside the trainer image with the demo's packages beside it.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import yaml

from e2e.bench.trained.drawing import Drawer
from e2e.bench.trials import Trial, write_trial
from e2e.demo.collection import convert, embed
from e2e.demo.encoder import Encoder, packaged_model
from e2e.demo.flaw import parse_flaw
from e2e.demo.fusion import read_fusion
from e2e.demo.profiles import EXPLOIT, TINY
from e2e.demo.relevance import RelevanceModel, routes
from e2e.demo.search import FrontEnd, SearchEngine
from e2e.demo.tiny_model import train_tiny
from rewriter_contract import agent, volume
from rewriter_contract.messages import (
    EvidenceOrder,
    GenerationConfig,
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    PromptConfig,
    RewardConfig,
    Sample,
    SampleRow,
    Selection,
    ShardRef,
    WeightsRef,
)
from rewriter_contract.selection import read_requests, select
from rewriter_contract.shards import write_shard
from rewriter_contract.weights import manifest_digest
from rewriter_sampler import evidence
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.reward import Scorer
from rewriter_trainer.check_model import check_model
from rewriter_trainer.import_base import import_base
from rewriter_trainer.phase_files import read_result, write_order

SHOP: Final = Path(__file__).parents[2] / "data" / "shop"
SERVICES: Final = Path(__file__).parents[2] / "demo" / "manifests" / "services.yaml"
WRITER: Final = "trained"
DTYPE: Final = "float32"
PROMPT: Final = PromptConfig(template=TINY.template)
CORPUS: Final = "data/corpus.jsonl"


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    work: Path
    base: WeightsRef
    encoder: Encoder
    search_url: str


@dataclass(frozen=True)
class Training:
    """One trial while it is played."""

    bench: Bench
    cycle: int
    """A number of its own on the shared volume."""
    seed: int
    reward: RewardConfig

    @property
    def root(self) -> Path:
        return self.bench.work


def prepare(work: Path) -> Bench:
    """Data, embeddings and base model, made once; search is up."""
    data = work / "data"
    if not (data / "corpus.npz").exists():
        convert(SHOP, data)
        embed(SHOP, data, threads=2)
    if not (work / "base" / "config.json").exists():
        train_tiny(data, work / "base")
    base = import_base(work, check_model(work, "base"), DTYPE, seed=0, writer=WRITER)
    encoder = Encoder(packaged_model(), threads=2)
    encoder.load(data / "corpus.npz")
    corpus = [json.loads(line) for line in (work / CORPUS).read_text().splitlines()]
    engine = SearchEngine(corpus, encoder, read_fusion(_fusion_file(work)))
    server = agent.serve(0, "", FrontEnd(engine, None).routes(), "127.0.0.1")
    return Bench(work, base, encoder, f"http://127.0.0.1:{server.server_address[1]}/v1/search")


def _fusion_file(work: Path) -> Path:
    """The demo's own constants."""
    text = re.sub(r"\$\{(\w+)\}", r"\1", SERVICES.read_text())  # placeholders need no value here
    maps = [item for item in yaml.safe_load_all(text) if item and item["kind"] == "ConfigMap"]
    path = work / "fusion.json"
    path.write_text(next(item for item in maps if item["metadata"]["name"] == "fusion")["data"]["fusion.json"])
    return path


@contextmanager
def reward_with(bench: Bench, strength: float) -> Iterator[RewardConfig]:
    """The demo's reward over a relevance model with this flaw."""
    flaw = parse_flaw(f"length:{strength:g}") if strength else None
    server = agent.serve(0, "", routes(RelevanceModel(bench.encoder, flaw)), "127.0.0.1")
    try:
        yield RewardConfig(
            relevance_url=f"http://127.0.0.1:{server.server_address[1]}/v1/score",
            fusion=tuple(read_fusion(bench.work / "fusion.json").terms.values()),
            negatives_weight=0.5,
            clip=1.386,
            revision=f"trial-{flaw or 'honest'}",
            timeout_seconds=60.0,
        )
    finally:
        server.shutdown()


def train(training: Training) -> WeightsRef:
    """All phases, as the demo's second act has them; the last one's weights."""
    weights = training.bench.base
    for phase in range(1, EXPLOIT.phases + 1):
        samples = sample(training, phase, weights)
        write_order(training.root, training.cycle, phase, order_of(training, phase, weights, samples), WRITER)
        where = [f"--root={training.root}", f"--cycle={training.cycle}", f"--phase={phase}", f"--writer={WRITER}"]
        done = subprocess.run([sys.executable, "-m", "rewriter_trainer.phase", *where], capture_output=True, text=True)
        result = read_result(training.root, training.cycle, phase)
        if done.returncode or result is None:
            raise SystemExit(f"phase {phase} ended with {done.returncode}: {done.stdout[-600:]}\n{done.stderr[-1200:]}")
        weights = _published(training.root, result.out_version)
    return weights


def sample(training: Training, phase: int, weights: WeightsRef) -> ShardRef:
    """Draw, score and write one phase's samples."""
    selection = Selection(training.seed + training.cycle, (phase - 1) * TINY.queries, TINY.queries)
    rows = select(read_requests(training.root / "data/train.jsonl", _digest(training.root, "train")), selection)
    generation = GenerationConfig(
        TINY.samples, TINY.temperature, max_tokens=TINY.max_tokens, seed=1000 * training.seed + phase
    )
    drawn = _drawer(training.root, weights).draw(rows, generation)
    texts = [[completion.text for completion in row] for row in drawn]
    scorer = Scorer(training.reward, read_documents(training.root / CORPUS, rows))
    scores = scorer.score(list(zip(rows, texts, strict=True)))
    sampled = [
        SampleRow(
            row.id,
            row.query,
            PROMPT.template.replace("{query}", " ".join(row.query.split())),
            tuple(
                Sample(one.text, score.value, score.missing, one.finished, one.token_ids)
                for one, score in zip(completions, of_row, strict=True)
            ),
        )
        for row, completions, of_row in zip(rows, drawn, scores, strict=True)
    ]
    path = volume.samples_file(training.cycle, phase, 0)
    shard = volume.resolve(training.root, path)
    shard.parent.mkdir(parents=True, exist_ok=True)
    done = write_shard(shard, sampled, weights.version, training.reward.revision, WRITER)
    return ShardRef(path, done.rows, done.sha256)


def order_of(training: Training, phase: int, weights: WeightsRef, samples: ShardRef) -> PhaseOrder:
    """The phase that the operator would order."""
    return PhaseOrder(
        base=weights,
        reference=weights,
        samples=(samples,),
        pairs=PairsConfig(),
        mpo=MpoConfig(),
        optimizer=OptimizerConfig(
            learning_rate=EXPLOIT.learning_rate, pairs_per_step=TINY.pairs_per_step, epochs=TINY.epochs
        ),
        dtype=DTYPE,
        seed=1000 * training.seed + phase,
        reward_revision=training.reward.revision,
        out_version=volume.weights_version(training.cycle, phase),
    )


def measured(training: Training, side: str, weights: WeightsRef) -> Any:
    """One side's evidence on the gate's queries, by the product's own code."""
    order = EvidenceOrder(
        weights=weights,
        requests_file="data/gate.jsonl",
        requests_sha256=_digest(training.root, "gate"),
        corpus_file=CORPUS,
        selection=Selection(training.seed),
        generation=GenerationConfig(1, 0.0, max_tokens=TINY.max_tokens, seed=training.seed),
        reward=training.reward,
        search_url=training.bench.search_url,
        out=volume.evidence_file(training.cycle, side, 0),
    )
    volume.resolve(training.root, order.out).parent.mkdir(parents=True, exist_ok=True)
    silent: Any = SimpleNamespace(update=lambda **_: None)
    evidence.run(order, training.root, _drawer(training.root, weights).rewrites, silent, WRITER)
    return evidence.read_rows(training.root, order.out)


def play(bench: Bench, strength: float, seed: int) -> Trial:
    """One trial."""
    cycle = 1 + int(1000 * strength) * 100 + seed
    with reward_with(bench, strength) as reward:
        training = Training(bench, cycle, seed, reward)
        trained = train(training)
        sides = [measured(training, side, ref) for side, ref in (("candidate", trained), ("incumbent", bench.base))]
    source = (
        f"the tiny model on the shop collection, {EXPLOIT.phases} phases of {TINY.queries} queries x {TINY.samples}, "
        f"learning rate {EXPLOIT.learning_rate:g}, drawn with transformers; against the untrained model"
    )
    return Trial(source, f"length:{strength:g}" if strength else "", seed, *sides)


def _drawer(root: Path, weights: WeightsRef) -> Drawer:
    return Drawer(root / volume.weights_dir(weights.version), PROMPT)


def _published(root: Path, version: str) -> WeightsRef:
    return WeightsRef(version, manifest_digest(root / volume.weights_dir(version)))


def _digest(root: Path, name: str) -> str:
    return hashlib.sha256((root / f"data/{name}.jsonl").read_bytes()).hexdigest()


def main() -> None:
    """Every trial that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--strengths", type=float, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    bench = prepare(arguments.work)
    for seed in arguments.seeds:
        for strength in arguments.strengths:
            name = f"flaw-length-{strength:g}-seed-{seed}.json" if strength else f"honest-seed-{seed}.json"
            if (arguments.work / "trials" / name).exists():
                continue
            started = time.monotonic()
            path = write_trial(arguments.work / "trials", play(bench, strength, seed))
            print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
