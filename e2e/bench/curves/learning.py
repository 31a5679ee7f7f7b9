"""One run: a policy that learns step by step from samples of weights that are as old as its way says.

The pieces are the product's: selection, reward, pairs, tokens, layout, loss, engine. The loop is the bench's own,
because the product has no way to sync within a phase. One optimizer goes through all steps of a run, in every way.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from e2e.bench.curves.figures import Point
from e2e.bench.curves.ways import EVERY, QUERIES, STEPS, Way
from e2e.bench.trained.drawing import Drawer
from e2e.bench.trained.ground import CORPUS, DTYPE, PROMPT, Bench, digest_of, evidence_of, sampled_rows
from e2e.demo.profiles import TINY
from rewriter_contract import volume
from rewriter_contract.messages import (
    EvidenceRows,
    GenerationConfig,
    MpoConfig,
    OptimizerConfig,
    PairsConfig,
    PhaseOrder,
    RewardConfig,
    Selection,
    WeightsRef,
)
from rewriter_contract.selection import read_requests, select
from rewriter_sampler.corpus import read_documents
from rewriter_sampler.reward import Scorer
from rewriter_trainer.engine import finish_step, start_engine
from rewriter_trainer.layouts import PackedLayout, micro_batches, sequences_of
from rewriter_trainer.loss import PairLogProbs, RunningMean, StepSize, mpo_loss
from rewriter_trainer.pairs import build_pairs
from rewriter_trainer.phase import MAX_MICRO_BATCH_TOKENS, learning_rate_at
from rewriter_trainer.scorer import CompletionScorer
from rewriter_trainer.sequences import TokenPair, token_pair

STOP: Final = "\n"


@dataclass(frozen=True)
class Run:
    """Which run."""

    bench: Bench
    reward: RewardConfig
    way: Way
    seed: int

    @property
    def order(self) -> PhaseOrder:
        """The settings of training, as a phase of the demo has them."""
        optimizer = OptimizerConfig(learning_rate=TINY.learning_rate, pairs_per_step=TINY.pairs_per_step)
        return PhaseOrder(
            base=self.bench.base,
            reference=self.bench.base,
            samples=(),
            pairs=PairsConfig(),
            mpo=MpoConfig(),
            optimizer=optimizer,
            dtype=DTYPE,
            seed=self.seed,
            reward_revision=self.reward.revision,
            out_version="curve",
        )


class Learner:
    """The policy, the weights that samples come from, and the reference."""

    def __init__(self, run: Run) -> None:
        self._run = run
        directory = run.bench.work / volume.weights_dir(run.bench.base.version)
        models: Any = AutoModelForCausalLM
        policy = models.from_pretrained(directory, local_files_only=True).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        self._sampled = copy.deepcopy(policy)
        self._reference = CompletionScorer(copy.deepcopy(policy)).eval()
        self._engine = start_engine(CompletionScorer(policy).eval(), run.order, workers=1)
        self._drawer = Drawer(directory, PROMPT, self._sampled)
        self._delta = RunningMean()
        self._layout = PackedLayout()
        self._requests = read_requests(run.bench.work / "data/train.jsonl", digest_of(run.bench.work, "train"))

    def sync(self) -> None:
        """The policy's weights become the ones that are sampled."""
        self._sampled.load_state_dict(self._engine.module.policy.state_dict())
        if self._run.way.follows:
            self._reference.policy.load_state_dict(self._sampled.state_dict())
            self._delta = RunningMean()

    def samples(self, first: int, steps: int) -> list[list[TokenPair]]:
        """The pairs of each of the next steps. Every way is asked the same queries, step for step."""
        run = self._run
        of_steps = [
            select(self._requests, Selection(run.seed, step * QUERIES, QUERIES)) for step in range(first, first + steps)
        ]
        rows = [row for of_step in of_steps for row in of_step]
        generation = GenerationConfig(
            TINY.samples, TINY.temperature, max_tokens=run.bench.max_tokens, seed=1000 * run.seed + first
        )
        scorer = Scorer(run.reward, read_documents(run.bench.work / CORPUS, rows))
        sampled = sampled_rows(rows, self._drawer.draw(rows, generation), scorer)
        pairs = [build_pairs(sampled[at : at + QUERIES], run.order.pairs).pairs for at in range(0, len(rows), QUERIES)]
        return [[token_pair(self._tokenizer, pair, STOP) for pair in of_step] for of_step in pairs]

    def learn(self, step: int, pairs: list[TokenPair]) -> None:
        """One optimizer step; none where no pair was found."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, STEPS, self._run.order)
        size = StepSize(len(pairs), sum(len(pair.chosen.completion) for pair in pairs))
        rewards = RunningMean()
        for indices in micro_batches(pairs, range(len(pairs)), self._layout, MAX_MICRO_BATCH_TOKENS["cpu"]):
            batch = self._layout.batch(sequences_of([pairs[index] for index in indices]))
            with torch.inference_mode():
                reference_chosen, reference_rejected = self._reference(batch).chunk(2)
            chosen, rejected = self._engine(batch).chunk(2)
            logprobs = PairLogProbs(chosen, rejected, reference_chosen.clone(), reference_rejected.clone())
            terms = mpo_loss(logprobs, self._run.order.mpo, self._delta.value, size)
            self._engine.backward(terms.total)
            rewards = rewards.including(terms.chosen_rewards).including(terms.rejected_rewards)
        if pairs:
            finish_step(self._engine, self._run.order)
        self._delta = self._delta.plus(rewards.total, rewards.count)

    def evidence(self, step: int) -> EvidenceRows:
        """The policy's, on the held-out queries."""
        run = self._run
        name = f"{run.way.name.replace(', ', '-').replace(' ', '-').lower()}-{run.seed}-{step}"
        directory = run.bench.work / volume.weights_dir(run.bench.base.version)
        drawer = Drawer(directory, PROMPT, self._engine.module.policy)
        out = f"curves/{name}.jsonl"
        return evidence_of(run.bench, run.reward, run.seed, WeightsRef(name, ""), out, drawer)


def play(run: Run) -> Iterator[Point]:
    """The run's measurements, from the untrained model on."""
    learner = Learner(run)
    pairs: list[list[TokenPair]] = []
    syncs = 0
    yield Point.of(0, learner.evidence(0), 0)
    for step in range(STEPS):
        if step % run.way.steps_per_sync == 0:
            if step:
                learner.sync()
                syncs += 1
            pairs = learner.samples(step, run.way.steps_per_sync)
        learner.learn(step, pairs[step % run.way.steps_per_sync])
        if (step + 1) % EVERY == 0:
            yield Point.of(step + 1, learner.evidence(step + 1), syncs)
