"""Plays the trials: sample, score with the flawed relevance model, train, publish, phase by phase; then both sides'
evidence. Runs inside the trainer image with the demo's packages beside it.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from e2e.bench.trained.drawing import Drawer
from e2e.bench.trained.ground import (
    CORPUS,
    DTYPE,
    PROMPT,
    WRITER,
    Bench,
    digest_of,
    evidence_of,
    honest_gain,
    prepare,
    reward_with,
    sampled_rows,
)
from e2e.bench.trials import Trial, file_name, flaw_of, write_trial
from e2e.demo.profiles import EXPLOIT, TINY
from rewriter_contract import volume, wire
from rewriter_contract.messages import (
    GenerationConfig,
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    RewardConfig,
    Selection,
    ShardRef,
    WeightsRef,
)
from rewriter_contract.selection import read_requests, select
from rewriter_contract.shards import write_shard
from rewriter_contract.weights import manifest_digest
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.reward import Scorer
from rewriter_trainer.phase_files import read_result, write_order

SAMPLED: Final = 4
"""As spec.gate.sampledRewrites is by default."""


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
    rows = select(read_requests(training.root / "data/train.jsonl", digest_of(training.root, "train")), selection)
    generation = GenerationConfig(
        TINY.samples, TINY.temperature, max_tokens=TINY.max_tokens, seed=1000 * training.seed + phase
    )
    scorer = Scorer(training.reward, read_documents(training.root / CORPUS, rows))
    sampled = sampled_rows(rows, _drawer(training.root, weights).draw(rows, generation), scorer)
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


def play(bench: Bench, strength: float, seed: int, gamma: float | None) -> Trial:
    """One trial."""
    cycle = 1 + int(1000 * strength) * 100 + seed
    if gamma is not None:
        cycle += round(10 * gamma) * 100_000
    with reward_with(bench, strength) as reward:
        training = Training(bench, cycle, seed, reward)
        trained = train(training)
        ours, theirs = (volume.evidence_file(cycle, side, 0) for side in ("candidate", "incumbent"))
        candidate = evidence_of(bench, reward, seed, trained, ours, _drawer(bench.work, trained), SAMPLED)
        base = _drawer(bench.work, bench.base)
        incumbent = evidence_of(bench, reward, seed, bench.base, theirs, base, SAMPLED, weigh=ours)
    trust = "" if gamma is None else f", gamma {gamma:g} in search and reward"
    source = (
        f"the tiny model on the shop collection{trust}, {EXPLOIT.phases} phases of {TINY.queries} queries x "
        f"{TINY.samples}, learning rate {EXPLOIT.learning_rate:g}, drawn with transformers; against the untrained model"
    )
    gain = honest_gain(bench, candidate, incumbent)
    return Trial(source, flaw_of(strength), seed, candidate, incumbent, gamma, gain)


def _drawer(root: Path, weights: WeightsRef) -> Drawer:
    return Drawer(root / volume.weights_dir(weights.version), PROMPT)


def _published(root: Path, version: str) -> WeightsRef:
    return WeightsRef(version, manifest_digest(root / volume.weights_dir(version)))


def main() -> None:
    """Every trial that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--strengths", type=float, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--gamma", type=float)
    arguments = parser.parse_args()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    bench = prepare(arguments.work, gamma=arguments.gamma)
    for seed in arguments.seeds:
        for strength in arguments.strengths:
            directory = arguments.work / "trials"
            made = directory / file_name(flaw_of(strength), seed, arguments.gamma)
            if made.exists():
                trial = wire.loads(Trial, made.read_bytes(), made.name)
                if trial.honest_gain is None:
                    gain = honest_gain(bench, trial.candidate, trial.incumbent)
                    write_trial(directory, replace(trial, honest_gain=gain))
                continue
            started = time.monotonic()
            path = write_trial(directory, play(bench, strength, seed, arguments.gamma))
            print(f"{path.name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
