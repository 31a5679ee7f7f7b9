"""What the trainer's bench makes of the two sides' progress lines and runs."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.bench.trainer import inside, peer, workload
from e2e.bench.trainer.figures import largest_difference, report, side_of
from e2e.bench.trainer.runs import Run, RunFailed, processor_seconds, steps_of
from e2e.bench.trainer.workload import Setting
from rewriter_contract import wire
from rewriter_contract.messages import MpoConfig, PairsConfig
from rewriter_trainer.pairs import build_pairs
from rewriter_trainer.progress_lines import ProgressLine

SETTING = Setting(queries=8, pairs_per_step=4)
RUN = Run(
    "ours",
    losses=(3.0, 2.0, 1.0, 1.0, 1.0),
    step_s=(9.0, 9.0, 2.0, 2.0, 0.5),
    step_cpu_s=(9.0, 9.0, 4.0, 4.0, 0.5),
    whole_s=30.0,
    peak_mib=1000.0,
)
PEER = replace(
    RUN,
    side="trl",
    step_s=(9.0, 9.0, 8.0, 8.0, 0.5),
    step_cpu_s=(9.0, 9.0, 20.0, 20.0, 0.5),
    whole_s=60.0,
    peak_mib=2000.0,
)


def lines(*made: ProgressLine) -> list[tuple[float, str]]:
    """The lines, a second apart."""
    return [(float(second), wire.dumps(line)) for second, line in enumerate(made)]


def test_a_step_lasts_from_the_end_of_the_one_before_and_lines_between_steps_do_not_count() -> None:
    training = ProgressLine(message="training", total=2)
    first, second = (ProgressLine(done=number, total=2, metrics={"loss": 0.5 / number}) for number in (1, 2))
    told = lines(ProgressLine(message="loading"), training, ProgressLine(), first, ProgressLine(done=1), second)
    assert steps_of(told) == ((0.5, 0.25), (2.0, 2.0))


def test_a_run_that_failed_or_was_silent_has_no_figures() -> None:
    with pytest.raises(RunFailed, match="out of memory"):
        steps_of(lines(ProgressLine(message="training"), ProgressLine(failed="out of memory")))
    with pytest.raises(RunFailed, match="no step"):
        steps_of(lines(ProgressLine(message="loading")))


def test_speed_is_of_whole_steps_after_warming_up() -> None:
    side = side_of([RUN], pairs_per_step=4)
    assert (side.pairs_per_s, side.pairs_per_cpu_s) == (2.0, 1.0)
    with pytest.raises(ValueError, match="too few"):
        side_of([replace(RUN, step_s=(1.0, 1.0, 1.0))], pairs_per_step=4)


def test_every_ratio_is_better_for_us_in_its_own_direction() -> None:
    made = report(SETTING, {"ours": RUN, "trl": PEER}, {"ours": [RUN], "trl": [PEER]}, cores=2)
    assert (made["pairs_per_s_ratio"], made["peak_memory_ratio"], made["whole_process_ratio"]) == (4.0, 0.5, 2.0)
    assert made["pairs_per_cpu_s_ratio"] == 5.0


def test_processor_seconds_are_those_that_a_process_has_used() -> None:
    before = processor_seconds(os.getpid())
    while sum(os.times()[:2]) < before + 0.05:
        pass
    assert 0.0 < processor_seconds(os.getpid()) - before < 1.0


def test_losses_are_compared_step_by_step_and_a_missing_step_is_an_error() -> None:
    assert largest_difference(RUN, replace(PEER, losses=(3.0, 2.0, 1.0, 1.5, 1.0))) == 0.5
    with pytest.raises(ValueError):
        largest_difference(RUN, replace(PEER, losses=(3.0,)))


def test_every_query_gives_two_pairs_and_the_workload_is_always_the_same() -> None:
    rows = workload.rows_of(workload.SHOP, 60)
    assert rows == workload.rows_of(workload.SHOP, 60)
    assert len(build_pairs(rows, PairsConfig()).pairs) == 120
    with pytest.raises(ValueError, match="100000 queries are wanted"):
        workload.rows_of(workload.SHOP, 100_000)


def test_losses_are_compared_without_the_term_that_trl_computes_otherwise() -> None:
    planned = list(inside.series(SETTING, rounds=2))
    assert [setting.mpo.quality for name, _, setting in planned if name == "equal"] == [0.0, 0.0]
    assert [side for name, side, _ in planned if name == "speed"] == ["trl", "ours", "ours", "trl"]
    assert peer.loss_terms(MpoConfig(quality=0.0)) == {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.8, 1.0]}


def test_the_peer_is_pinned() -> None:
    file = Path(peer.__file__).with_name("requirements.txt")
    pins = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert "trl==1.16.0" in pins and all("==" in pin for pin in pins)
