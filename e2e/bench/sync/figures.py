"""build/bench/sync.json from the rounds. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from e2e.bench.sync.rounds import Rounds


@dataclass(frozen=True)
class PhaseShape:
    """What decides how many optimizer steps a phase has. Every query is taken to give all its pairs."""

    queries: int
    pairs_per_query: int
    pairs_per_step: int
    epochs: int

    @property
    def steps(self) -> int:
        """Optimizer steps of the phase; the last one of an epoch may be short."""
        return self.epochs * math.ceil(self.queries * self.pairs_per_query / self.pairs_per_step)


def paired_ratio(product: Sequence[float], plain: Sequence[float]) -> float:
    """Median over the rounds of product / plain.

    Raises:
        ValueError: when the sides have different numbers of rounds, or none.
    """
    if not product:
        raise ValueError("no round was measured")
    return median(ours / theirs for ours, theirs in zip(product, plain, strict=True))


def synced_bytes(phase: PhaseShape, set_bytes: int, engines: int = 1) -> dict[str, int]:
    """Bytes that `engines` engines are sent for one phase's training, by either way of syncing."""
    return {"per_step": phase.steps * set_bytes * engines, "per_phase": set_bytes * engines}


@dataclass(frozen=True)
class Measured:
    """Both halves of the bench."""

    publish: Rounds
    set_bytes: int
    """Of all files of a published set."""
    reload: Rounds
    """The files are in the page cache."""
    reload_cold: Rounds
    """They are not."""
    paused_s: tuple[float, ...]
    """Of the product's warm reloads, how long generation stood still."""
    beside_engine: Rounds
    """Warm reloads; the plain side is vLLM's own, into the same engine."""
    canary_difference: float
    """Largest of all reloads, in nats."""


def report(
    title: str,
    dtype: str,
    cores: int,
    measured: Measured,
    phases: dict[str, PhaseShape],
    curves: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole JSON; `phases["default"]` is the one that the ratio of bytes is of.

    `curves` is what `make bench-curves` wrote.
    """
    sent = {name: synced_bytes(phase, measured.set_bytes) for name, phase in phases.items()}
    return {
        "machine": {"cores": cores},
        "setting": {
            "model": title,
            "dtype": dtype,
            "set_bytes": measured.set_bytes,
            "rounds": len(measured.publish.product_s),
        },
        "publish_ratio": round(paired_ratio(measured.publish.product_s, measured.publish.plain_s), 3),
        "reload_ratio": round(paired_ratio(measured.reload.product_s, measured.reload.plain_s), 3),
        "reload_paused_ratio": round(paired_ratio(measured.paused_s, measured.reload.plain_s), 3),
        "reload_cold_ratio": round(paired_ratio(measured.reload_cold.product_s, measured.reload_cold.plain_s), 3),
        "reload_beside_engine_ratio": round(
            paired_ratio(measured.beside_engine.product_s, measured.beside_engine.plain_s), 3
        ),
        "synced_bytes_ratio": sent["default"]["per_step"] / sent["default"]["per_phase"],
        **_reward_difference(curves),
        "canary_difference": measured.canary_difference,
        "publish": _sides(measured.publish, "copy of the files, fsync of each and of the directory"),
        "reload": _sides(measured.reload, "safetensors.torch.load_model into a transformers model, warm page cache")
        | {"product_paused_s": _rounded(measured.paused_s)},
        "reload_cold": _sides(measured.reload_cold, "the same, files dropped from the page cache before each"),
        "reload_beside_engine": _sides(
            measured.beside_engine, "vLLM's reload_weights into the same engine: nothing verified, no canary"
        ),
        "synced_bytes": {
            name: {
                "queries": phase.queries,
                "pairs_per_query": phase.pairs_per_query,
                "pairs_per_step": phase.pairs_per_step,
                "epochs": phase.epochs,
                "optimizer_steps": phase.steps,
                **{f"{way}_bytes": sent[name][way] for way in ("per_step", "per_phase")},
            }
            for name, phase in phases.items()
        },
    }


def _reward_difference(curves: dict[str, Any] | None) -> dict[str, Any]:
    """Final held-out log R with a sync per phase less that with a sync per step: mean and standard error over seeds."""
    if curves is None:
        note = "not measured here: run make bench-curves first"
        return {"reward_difference": None, "reward_difference_note": note}
    found = {name: of["final_less_online"]["semi-online"]["log_r"] for name, of in curves["collections"].items()}
    return {"reward_difference": found, "reward_difference_note": curves["setting"]}


def _sides(rounds: Rounds, plain: str) -> dict[str, Any]:
    return {
        "plain": plain,
        "product_median_s": round(median(rounds.product_s), 4),
        "plain_median_s": round(median(rounds.plain_s), 4),
        "product_s": _rounded(rounds.product_s),
        "plain_s": _rounded(rounds.plain_s),
    }


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(second, 4) for second in seconds]
