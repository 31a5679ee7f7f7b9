"""build/bench/trainer.json from the runs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from e2e.bench.trainer.runs import Run
from e2e.bench.trainer.workload import Setting

WARM_UP_STEPS = 2
"""Left out of every run: first-touch memory, and the lazy parts of both libraries."""


@dataclass(frozen=True)
class Side:
    """Medians over the rounds."""

    pairs_per_s: float
    pairs_per_cpu_s: float
    peak_mib: float
    whole_s: float


def side_of(runs: Sequence[Run], pairs_per_step: int) -> Side:
    """The figures of one side's speed runs. The last step may be short and is left out too.

    Raises:
        ValueError: when a run has no step left to measure.
    """
    return Side(
        median(pairs_per_step / _seconds_per_step(run.step_s) for run in runs),
        median(pairs_per_step / _seconds_per_step(run.step_cpu_s) for run in runs),
        median(run.peak_mib for run in runs),
        median(run.whole_s for run in runs),
    )


def _seconds_per_step(steps: Sequence[float]) -> float:
    measured = steps[WARM_UP_STEPS:-1]
    if not measured:
        raise ValueError(f"{len(steps)} steps are too few: at least {WARM_UP_STEPS + 2} are needed")
    return fmean(measured)


def largest_difference(ours: Run, peer: Run) -> float:
    """Of the losses of the two runs, step by step.

    Raises:
        ValueError: when they have different numbers of steps.
    """
    return max(abs(left - right) for left, right in zip(ours.losses, peer.losses, strict=True))


def report(setting: Setting, equal: dict[str, Run], speed: dict[str, list[Run]], cores: int) -> dict[str, Any]:
    """The whole JSON."""
    ours, peer = (side_of(speed[name], setting.pairs_per_step) for name in ("ours", "trl"))
    return {
        "machine": {"cores": cores},
        "setting": {
            "model": "SmolLM2-135M-Instruct",
            "dtype": setting.dtype,
            "queries": setting.queries,
            "completions_per_query": 4,
            "pairs_per_step": setting.pairs_per_step,
            "rounds": len(speed["ours"]),
        },
        "pairs_per_s_ratio": round(ours.pairs_per_s / peer.pairs_per_s, 3),
        "pairs_per_cpu_s_ratio": round(ours.pairs_per_cpu_s / peer.pairs_per_cpu_s, 3),
        "peak_memory_ratio": round(ours.peak_mib / peer.peak_mib, 3),
        "whole_process_ratio": round(peer.whole_s / ours.whole_s, 3),
        "largest_loss_difference": largest_difference(equal["ours"], equal["trl"]),
        "losses_without_quality": {name: [round(loss, 6) for loss in run.losses] for name, run in equal.items()},
        "ours": _side(ours, speed["ours"]),
        "peer": {
            "program": "TRL 1.16.0 DPOTrainer (sigmoid, bco_pair, sft): reference precomputed, activations kept",
            **_side(peer, speed["trl"]),
        },
    }


def _side(side: Side, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "pairs_per_s": round(side.pairs_per_s, 3),
        "pairs_per_cpu_s": round(side.pairs_per_cpu_s, 3),
        "peak_mib": round(side.peak_mib),
        "whole_s": round(side.whole_s, 1),
        "step_s": [[round(seconds, 3) for seconds in run.step_s] for run in runs],
        "step_cpu_s": [[round(seconds, 3) for seconds in run.step_cpu_s] for run in runs],
    }
