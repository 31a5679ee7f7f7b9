"""What the bench of the weight sync makes of its rounds, and which of its ratios are counted, not measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.bench.sync import publishing, rounds
from e2e.bench.sync.__main__ import phases
from e2e.bench.sync.figures import Measured, PhaseShape, paired_ratio, report, synced_bytes
from e2e.bench.sync.rounds import Rounds
from rewriter_contract.messages import OptimizerConfig, Sample, WeightsRef
from rewriter_trainer.pairs import Pair
from rewriter_trainer.phase import step_plan

SHAPE = PhaseShape(queries=10, pairs_per_query=2, pairs_per_step=8, epochs=2)
MEASURED = Measured(
    publish=Rounds((2.0, 2.6, 9.0), (2.0, 2.0, 3.0)),
    set_bytes=1000,
    reload=Rounds((1.5, 3.0, 1.5), (1.0, 2.0, 1.0)),
    reload_cold=Rounds((2.2, 2.2, 2.2), (2.0, 2.0, 2.0)),
    paused_s=(1.0, 2.0, 1.0),
    beside_engine=Rounds((1.2, 1.2, 1.2), (1.0, 0.8, 1.2)),
    canary_difference=1e-6,
)


def test_each_round_is_compared_with_itself_so_one_slow_round_decides_nothing() -> None:
    assert paired_ratio((2.0, 2.6, 9.0), (2.0, 2.0, 3.0)) == 1.3
    with pytest.raises(ValueError, match="no round"):
        paired_ratio((), ())
    with pytest.raises(ValueError):
        paired_ratio((1.0,), (1.0, 2.0))


def test_the_side_that_starts_alternates() -> None:
    planned = list(rounds.turns(2))
    assert planned == [(0, "product"), (0, "plain"), (1, "plain"), (1, "product")]


def test_only_the_work_itself_is_timed() -> None:
    told: list[str] = []

    def telling(side: str) -> Callable[[int], None]:
        return lambda number: told.append(f"{side} {number}")

    work = {side: telling(side) for side in rounds.SIDES}
    done = rounds.paired(1, work, prepare=lambda: told.append("prepare"), tidy=lambda _, side: told.append("tidy"))
    assert told == ["prepare", "product 0", "tidy", "prepare", "plain 0", "tidy"]
    assert (len(done.product_s), len(done.plain_s)) == (1, 1)


def test_steps_of_a_phase_are_those_that_the_trainer_plans() -> None:
    order = publishing.order_of(WeightsRef("base-1", "0"), publishing.BenchModel(), phase=1)
    optimizer = OptimizerConfig(pairs_per_step=SHAPE.pairs_per_step, epochs=SHAPE.epochs)
    sample = Sample("shoes", 0.5, finished=True)
    pairs = tuple(
        Pair(f"q{query}", "shoes", "shoes", chosen=sample, rejected=sample)
        for query in range(SHAPE.queries)
        for _ in range(SHAPE.pairs_per_query)
    )
    assert len(list(step_plan(pairs, replace(order, optimizer=optimizer)))) == SHAPE.steps == 6


def test_a_sync_per_step_sends_the_whole_set_once_for_every_step() -> None:
    assert synced_bytes(SHAPE, 1000) == {"per_step": 6000, "per_phase": 1000}
    default = phases()["default"]
    assert (default.queries, default.steps) == (2048, 128)


def test_what_was_not_measured_is_null_and_says_so() -> None:
    made = report("tiny", "float32", 2, MEASURED, {"default": SHAPE})
    assert (made["publish_ratio"], made["reload_ratio"], made["reload_cold_ratio"]) == (1.3, 1.5, 1.1)
    assert (made["reload_paused_ratio"], made["synced_bytes_ratio"]) == (1.0, 6.0)
    assert made["reload_beside_engine_ratio"] == 1.2
    assert made["reward_difference"] is None and "not measured" in made["reward_difference_note"]
    assert made["publish"]["product_s"] == [2.0, 2.6, 9.0], "raw seconds are kept"
    json.dumps(made)


def test_what_learning_costs_is_taken_from_the_curves() -> None:
    difference = {"mean": -0.004, "standard_error": 0.003}
    collection = {"final_less_online": {"semi-online": {"log_r": difference}, "offline": {"log_r": {"mean": 9.0}}}}
    curves = {"setting": "tiny Llama, seeds 0, 1, 2", "collections": {"shop": collection}}
    made = report("tiny", "float32", 2, MEASURED, {"default": SHAPE}, curves)
    assert made["reward_difference"] == {"shop": difference}
    assert made["reward_difference_note"] == curves["setting"]


def test_the_plain_side_copies_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "a.json").write_text("{}")
    (source / "b.safetensors").write_bytes(bytes(1000))
    publishing.copy_and_sync(source, tmp_path / "copied")
    assert publishing.bytes_of(tmp_path / "copied") == publishing.bytes_of(source) == 1002
