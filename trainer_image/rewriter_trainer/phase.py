"""One training phase, from verified inputs to a published weight set. Read it from top to bottom.

    python -m rewriter_trainer.phase --root ROOT --cycle 7 --phase 2 --writer POD_UID
    torchrun --nproc-per-node N -m rewriter_trainer.phase ...        (N workers, one GPU each; in one pod or several)

Runs in a process of its own, because a DeepSpeed engine does not leave a process cleanly: a crash, or running out of
memory, then ends a phase and not the pod, and all memory of the device is free for the next phase.
The order is read from the phase's order.json; progress goes to standard output (progress_lines.py).
SIGTERM stops before the next micro-batch: the last finished step is checkpointed, and the same order resumes there
with a result that is bit-equal (same machine, same number of workers).
Must never publish after a loss, gradient or canary that is not finite, and never resume another order's state.
"""

import argparse
import logging
import math
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rewriter_contract import volume, wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import PhaseOrder, SampleRow, WeightsRef, WorkReport, WorkState
from rewriter_contract.shards import ShardError, read_done, read_scored, write_shard
from rewriter_contract.weights import WeightsRefused, manifest_digest, verify
from rewriter_trainer import phase_files, trained_record
from rewriter_trainer.event_files import EventFile
from rewriter_trainer.heap import give_freed_memory_back, keep_freed_memory
from rewriter_trainer.metrics_log import MetricsLog
from rewriter_trainer.pace import Pace
from rewriter_trainer.pairs import Pair, PairSet, build_pairs
from rewriter_trainer.progress_lines import ProgressLine, Reporter, take_over_stdout

log = logging.getLogger(__name__)

MAX_MICRO_BATCH_TOKENS: Final = {"cpu": 1024, "cuda": 4096}
"""Tokens in one forward and backward pass: bounds memory (packed, the mask takes its square), and how long a stop
signal waits."""

OWN_SIGNAL_SECONDS: Final = 2.0
"""After which a stop that only other workers were told of is another pod's."""

DTYPES: Final = ("float32", "bfloat16")

VERSION: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Stopped(Exception):
    """SIGTERM came, and the checkpoint is written."""


class PeerStopped(Exception):
    """SIGTERM came to another pod's workers, and the checkpoint is written."""


@dataclass(frozen=True)
class Job:
    """Which phase of which volume this process works on."""

    root: Path
    cycle: int
    phase: int
    writer: str
    """Makes temporary names unique: the pod's uid."""


def train_phase(job: Job, order: PhaseOrder, report: Reporter, stop: threading.Event) -> WorkReport:
    """Do the order and return its final report.

    Raises:
        WorkFailed: with one sentence for the operator.
        Stopped: after a checkpoint, when `stop` was set.
    """
    # 1. Check everything that can be checked before torch is loaded.
    check_order(order)
    order_sha256 = phase_files.order_sha256(order)
    if finished := finished_before(job, order, order_sha256):
        return finished
    report.say(ProgressLine(message="verifying weights"))
    for ref in {order.base, order.reference}:
        verify(job.root / volume.weights_dir(ref.version), ref.digest)
    pair_set = build_pairs(read_samples(job, order), order.pairs)
    if not pair_set.pairs:
        raise WorkFailed(no_pairs_sentence(pair_set, order))

    # 2. Load the libraries and join the other workers.
    report.say(ProgressLine(message="loading torch and DeepSpeed"))
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", "0")
    import deepspeed
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rewriter_trainer import checkpoint
    from rewriter_trainer.adapters import add_adapters, merged
    from rewriter_trainer.engine import finish_step, forget_optimizer, start_engine, zero_stage
    from rewriter_trainer.layout_choice import choose_layout
    from rewriter_trainer.layouts import micro_batches, sequences_of
    from rewriter_trainer.loss import PairLogProbs, RunningMean, StepSize, mpo_loss
    from rewriter_trainer.publish import publish_policy
    from rewriter_trainer.scorer import CompletionScorer
    from rewriter_trainer.sequences import TokenPair, token_pair
    from rewriter_trainer.step_totals import StepTotals, by_pair

    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    deepspeed.init_distributed(dist_backend="nccl" if on_gpu else "gloo", verbose=False)
    rank, workers = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.manual_seed(order.seed)

    # 3. Tokens. The pairs are written down by the first worker: what was trained on must be readable later.
    base_dir = job.root / volume.weights_dir(order.base.version)
    tokenizer = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    pairs = [token_pair(tokenizer, pair, order.stop) for pair in pair_set.pairs]
    if not all(pair.chosen.prompt for pair in pairs):
        raise WorkFailed("a sample has an empty prompt; spec.prompt.template must hold text beside the query")
    if rank == 0:
        write_down(job, order, pair_set)
    max_tokens = MAX_MICRO_BATCH_TOKENS[device.type]

    def score(scorer: Any, part: list[TokenPair]) -> Any:
        """[2P] log-probabilities: the chosen completions of `part`, then the rejected ones."""
        return scorer(layout.batch(sequences_of(part)).to(device))

    def load_policy(ref: WeightsRef) -> CompletionScorer:
        """A model without dropout (eval mode): rewards compare two models, not two dropout masks."""
        directory = job.root / volume.weights_dir(ref.version)
        model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=getattr(torch, order.dtype), local_files_only=True
        )
        return CompletionScorer(model).eval().to(device)

    # 4. The layout that this model takes, then the reference log-probabilities, once per phase: [number of pairs, 2],
    #    each worker a share of the rows.
    report.say(ProgressLine(message="reference log-probabilities"))
    reference = load_policy(order.reference)
    layout = choose_layout(reference, pairs, pad_id, device)
    longest = max(1, *(len(sequence.completion) for sequence in sequences_of(pairs)))
    reference_logprobs = torch.zeros(len(pairs), 2, device=device)
    reference_tokens = torch.zeros(len(pairs), 2, longest, device=device)  # what reference_logprobs are the sums of
    with torch.inference_mode():
        for part in micro_batches(pairs, share_of(range(len(pairs)), rank, workers), layout, max_tokens):
            reference_logprobs[part] = score(reference, [pairs[index] for index in part]).view(2, -1).T
            by_token = by_pair(reference.readings.logprobs)
            reference_tokens[part, :, : by_token.shape[2]] = by_token
            report.say(ProgressLine(message="reference log-probabilities"))
            if stop.is_set():
                raise Stopped
    torch.distributed.all_reduce(reference_logprobs)
    torch.distributed.all_reduce(reference_tokens)
    scorer = reference if order.reference == order.base else load_policy(order.base)
    del reference

    # 5. The engine; over all weights, or over adapters whose weights join the model's when they are published.
    adapters = add_adapters(scorer.policy, order.lora) if order.lora else None
    engine = start_engine(scorer, order, workers)

    # 6. Resume, or start.
    checkpoints = volume.resolve(job.root, volume.checkpoint_dir(job.cycle, job.phase))
    plan = list(step_plan(pair_set.pairs, order))
    mark = checkpoint.find(checkpoints, order_sha256, workers)
    if mark:
        checkpoint.load(engine, checkpoints, mark)
    step, delta = (mark.step, mark.delta) if mark else (0, RunningMean(*carried_delta(job, order)))
    metrics = MetricsLog(
        volume.resolve(job.root, volume.metrics_file(job.cycle, job.phase)), from_step=step, speaks=rank == 0
    )
    events = EventFile(
        volume.resolve(job.root, volume.events_dir(job.cycle, job.phase)), metrics.rows, speaks=rank == 0
    )
    pace = Pace([sum(len(pairs[index]) for index in indices) for indices in plan], step, time.monotonic())

    def over_workers(values: list[float], operation: Any) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor, op=operation)
        return list(tensor.tolist())

    def summed(values: list[float]) -> list[float]:
        """Each value, added up over the workers."""
        return over_workers(values, torch.distributed.ReduceOp.SUM)

    def save_checkpoint() -> None:
        if step == (mark.step if mark else 0):
            return
        new = checkpoint.Mark(order_sha256, workers, step, delta.total, delta.count)
        checkpoint.save(engine, checkpoints, new, job.writer)

    # 7. The steps.
    report.say(ProgressLine(done=step, total=len(plan), message="training"))
    while step < len(plan):
        started, learning_rate = time.monotonic(), learning_rate_at(step, len(plan), order)
        for group in engine.optimizer.param_groups:
            group["lr"] = learning_rate
        parts = micro_batches(pairs, share_of(plan[step], rank, workers), layout, max_tokens)
        size = StepSize(len(plan[step]), sum(len(pairs[index].chosen.completion) for index in plan[step]))
        totals = StepTotals()
        # All workers stop at the same step, or none; and all do as many passes, because ZeRO 2 and 3 communicate in
        # each: one that has no pairs left repeats a pair with weight 0 while the others work.
        stopping, passes = over_workers([float(stop.is_set()), len(parts)], torch.distributed.ReduceOp.MAX)
        for number in range(int(passes)):
            indices, weight = (parts[number], workers) if number < len(parts) else (plan[step][:1], 0)
            if stopping or (workers == 1 and stop.is_set()):
                save_checkpoint()
                raise Stopped if is_told_to_stop(stop) else PeerStopped
            chosen, rejected = score(engine, [pairs[index] for index in indices]).chunk(2)
            terms = mpo_loss(
                PairLogProbs(
                    chosen=chosen,
                    rejected=rejected,
                    reference_chosen=reference_logprobs[indices, 0],
                    reference_rejected=reference_logprobs[indices, 1],
                ),
                order.mpo,
                delta.value,
                size,
            )
            engine.backward(terms.total * weight)  # times workers, because the engine takes the mean over them
            if weight:
                totals.add(terms, scorer.readings, reference_tokens[indices])
            report.say(ProgressLine(done=step, total=len(plan)))
        grad_norm = finish_step(engine, order)
        found = totals.over_all(summed)
        row = found.learnt | {"grad_norm": grad_norm, "learning_rate": learning_rate}
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            raise WorkFailed(
                f"{', '.join(broken)} not finite at step {step + 1} of {len(plan)}; nothing is published, "
                "lower spec.training.optimizer.learningRate or look at the samples"
            )
        delta = delta.plus((row["reward_chosen"] + row["reward_rejected"]) * size.pairs, 2 * size.pairs)
        step += 1
        row |= {"delta": delta.value} | pace.finished_step(started, time.monotonic())
        row |= {name: value for name, value in found.watched.items() if math.isfinite(value)}
        events.append(metrics.append(step, row, now=time.time()))
        report.say(ProgressLine(done=step, total=len(plan), metrics=row))
        if order.checkpoint_every and step % order.checkpoint_every == 0 and step < len(plan):
            save_checkpoint()

    events.close()

    # 8. Publish. The result is written first and counts only once the weight set is there (see finished_before).
    report.say(ProgressLine(done=step, total=len(plan), message="publishing"))
    summary = metrics.summary() | {
        "pairs": float(len(pair_set.pairs)),
        "queries": float(pair_set.queries),
        "queries_with_pairs": float(pair_set.queries_with_pairs),
        "mean_score": pair_set.mean_score,
        "missing_share": pair_set.missing_share,
    }
    weights = None
    forget_optimizer(engine)
    give_freed_memory_back()
    sharded = zero_stage(order, workers) == 3
    with deepspeed.zero.GatheredParameters(list(engine.module.parameters()), enabled=sharded):
        if rank == 0:
            result = phase_files.PhaseResult(
                order_sha256, summary, order.out_version, order.reference, delta.total, delta.count
            )
            phase_files.write_result(job.root, job.cycle, job.phase, result, job.writer)
            policy = merged(adapters) if adapters else engine.module.policy
            weights = publish_policy(job.root, order, policy, job.writer)
            checkpoint.discard(checkpoints)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return WorkReport(state=WorkState.DONE, done=step, total=step, metrics=summary, weights=weights)


def check_order(order: PhaseOrder) -> None:
    """Refuse values that no phase can work with.

    Raises:
        WorkFailed: naming the field.
    """
    if order.dtype not in DTYPES:
        raise WorkFailed(f"dtype is {order.dtype!r}; it must be one of {', '.join(DTYPES)}")
    if order.optimizer.zero_stage not in (0, 1, 2, 3):
        raise WorkFailed(f"optimizer.zeroStage is {order.optimizer.zero_stage}; it must be 0, 1, 2 or 3")
    if order.optimizer.zero_stage == 0 and order.dtype != "float32":
        raise WorkFailed(
            f"optimizer.zeroStage is 0 with {order.dtype}; it must be 1, 2 or 3, which keep the weights in float32 too"
        )
    counts = {"optimizer.pairsPerStep": order.optimizer.pairs_per_step, "optimizer.epochs": order.optimizer.epochs}
    for name, value in (counts | ({"lora.rank": order.lora.rank} if order.lora else {})).items():
        if value < 1:
            raise WorkFailed(f"{name} is {value}; it must be at least 1")
    for version in (order.base.version, order.reference.version, order.out_version):
        if not VERSION.fullmatch(version):
            raise WorkFailed(f"{version!r} is no name of a weight set; use lower-case letters, digits and hyphens")


def finished_before(job: Job, order: PhaseOrder, order_sha256: str) -> WorkReport | None:
    """The report of this very order, when an earlier process already published its weight set.

    Raises:
        WorkFailed: when the version was published by another order: versions are never overwritten.
    """
    directory = job.root / volume.weights_dir(order.out_version)
    if not (directory / volume.MANIFEST).exists():
        return None
    result = phase_files.read_result(job.root, job.cycle, job.phase)
    if result is None or result.order_sha256 != order_sha256:
        raise WorkFailed(
            f"weight set {order.out_version} was published by another order; use a new cycle or phase number"
        )
    weights = WeightsRef(version=order.out_version, digest=manifest_digest(directory))
    return WorkReport(state=WorkState.DONE, done=1, total=1, metrics=result.metrics, weights=weights)


def read_samples(job: Job, order: PhaseOrder) -> list[SampleRow]:
    """All sample rows of the order, from shards that were drawn from its base and scored by its reward.

    Raises:
        ShardError: for a shard that is not what the order says.
    """
    rows: list[SampleRow] = []
    for ref in order.samples:
        path = volume.resolve(job.root, ref.path)
        done = read_done(path)
        if done is None or (done.weights, done.reward_revision) != (order.base.version, order.reward_revision):
            found = f"{done.weights} and reward {done.reward_revision[:12]}" if done else "nothing that is finished"
            raise ShardError(
                f"shard {ref.path} holds {found}; the order wants {order.base.version} and reward "
                f"{order.reward_revision[:12]}; sample it again"
            )
        rows += read_scored(SampleRow, path, ref.sha256, order.reward_revision)
    return rows


def no_pairs_sentence(pairs: PairSet, order: PhaseOrder) -> str:
    """Why nothing can be learned, with the numbers."""
    return (
        f"no usable preference pair: {pairs.queries} queries, {pairs.samples} samples, {pairs.missing} without a "
        f"score, mean log R {pairs.mean_score:.4f}; no query has two distinct finished rewrites whose scores differ by "
        f"{order.pairs.margin}; draw more samples at a higher temperature, or lower the margin"
    )


def write_down(job: Job, order: PhaseOrder, pairs: PairSet) -> None:
    """Leave the pairs on the volume, and beyond them, for later gates, which queries they are of.

    Raises:
        WorkFailed: when the record of the cycle's earlier phases is damaged.
    """
    try:
        trained_record.record(job.root, job.cycle, order, (pair.query for pair in pairs.pairs), job.writer)
    except trained_record.RecordUnreadable as error:
        raise WorkFailed(str(error)) from error
    path = volume.resolve(job.root, volume.pairs_file(job.cycle, job.phase))
    write_shard(path, pairs.pairs, order.base.version, order.reward_revision, job.writer)


def step_plan(pairs: tuple[Pair, ...], order: PhaseOrder) -> Iterator[list[int]]:
    """Indices of the pairs of each optimizer step: queries shuffled by seed and epoch, a query's pairs side by side."""
    groups: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(pair.id, []).append(index)
    size = order.optimizer.pairs_per_step
    for epoch in range(order.optimizer.epochs):
        shuffled = random.Random(f"{order.seed}:{epoch}").sample(list(groups.values()), len(groups))
        indices = [index for group in shuffled for index in group]
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def share_of(indices: Sequence[int], rank: int, workers: int) -> Sequence[int]:
    """A worker's part of `indices`: neighbours, so that the pairs of a query stay with one worker."""
    return indices[len(indices) * rank // workers : len(indices) * (rank + 1) // workers]


def learning_rate_at(step: int, steps: int, order: PhaseOrder) -> float:
    """Linear warm-up, then constant: a phase is a slice of a longer run, so it does not decay to nothing at its end."""
    warmup = max(1, math.ceil(order.optimizer.warmup_ratio * steps))
    return order.optimizer.learning_rate * min(1.0, (step + 1) / warmup)


def is_told_to_stop(stop: threading.Event) -> bool:
    """Whether the stop is this pod's own. Its workers all get the signal, though not all at the same step."""
    return os.environ.get("GROUP_WORLD_SIZE", "1") == "1" or stop.wait(OWN_SIGNAL_SECONDS)


def carried_delta(job: Job, order: PhaseOrder) -> tuple[float, int]:
    """BCO's running mean (total, count) to start from: the previous phase's, if the order goes on from its output
    against the same reference; else that of no reward at all."""
    previous = phase_files.read_result(job.root, job.cycle, job.phase - 1) if job.phase > 1 else None
    if previous and (previous.out_version, previous.reference) == (order.base.version, order.reference):
        return previous.delta_total, previous.delta_count
    return 0.0, 0


def main() -> int:
    """Run the phase whose order lies on the volume; 0 when it is done or stopped, 1 when it failed."""
    parser = argparse.ArgumentParser(description="Train one phase; its order is read from order.json of the phase.")
    parser.add_argument("--root", type=Path, required=True, help="directory of the release on the volume")
    parser.add_argument("--cycle", type=int, required=True)
    parser.add_argument("--phase", type=int, required=True)
    parser.add_argument("--writer", required=True, help="makes temporary names unique; the pod's uid")
    job = Job(**vars(parser.parse_args()))
    report = take_over_stdout()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keep_freed_memory()
    try:
        order = phase_files.read_order(job.root, job.cycle, job.phase)
        report.say(ProgressLine(result=train_phase(job, order, report, stop)))
        return 0
    except Stopped:
        report.say(ProgressLine(stopped=True))
        return 0
    except (WorkFailed, WeightsRefused, ShardError, wire.WireError, volume.OutsideVolume) as error:
        log.error("phase %d of cycle %d failed: %s", job.phase, job.cycle, error)
        report.say(ProgressLine(failed=str(error), volume_full=is_full(error, job.root)))
        return 1
    except PeerStopped:
        report.say(ProgressLine(failed="another trainer pod was stopped", passing=True))
        return 1
    except Exception as error:  # the boundary of the process
        log.exception("phase %d of cycle %d failed", job.phase, job.cycle)
        full = is_full(error, job.root)
        report.say(ProgressLine(failed=f"{type(error).__name__}: {error}", volume_full=full, passing=not full))
        return 1


if __name__ == "__main__":
    sys.exit(main())
