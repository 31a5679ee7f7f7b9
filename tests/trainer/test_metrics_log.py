"""metrics.jsonl over stops, resumptions and new versions of the trainer."""

import json
from pathlib import Path

import pytest

from rewriter_trainer.metrics_log import MetricsLog


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_phase_goes_on_where_its_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsLog(path, from_step=0, speaks=True)
    for step in (1, 2, 3):
        first.append(step, {"loss": float(step)}, now=100.0 + step)
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # killed here
    resumed = MetricsLog(path, from_step=2, speaks=True)
    resumed.append(3, {"loss": 9.0}, now=100.0 + 3)
    assert [(row["step"], row["loss"]) for row in rows(path)] == [(1, 1.0), (2, 2.0), (3, 9.0)]
    assert resumed.summary() == {"loss": 4.0}


def test_the_phase_is_told_by_means_and_by_where_it_came_to(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", from_step=0, speaks=True)
    log.append(1, {"loss": 1.0, "delta": 0.1, "kl": 0.0, "entropy": 2.0, "eta_seconds": 30.0}, now=100.0 + 1)
    log.append(2, {"loss": 3.0, "delta": 0.5, "kl": 0.8, "entropy": 1.0, "eta_seconds": 0.0}, now=100.0 + 2)
    assert log.summary() == pytest.approx({"loss": 2.0, "delta": 0.5, "kl": 0.8, "entropy": 1.5})


def test_a_metric_that_earlier_rows_lack_is_a_mean_over_those_that_have_it(tmp_path: Path) -> None:
    """A pod of a new version resumes a phase that one of an older version began."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 5.0}\n')
    log = MetricsLog(path, from_step=1, speaks=True)
    log.append(2, {"loss": 1.0, "entropy": 2.0}, now=100.0 + 2)
    log.append(3, {"loss": 3.0, "entropy": 4.0}, now=100.0 + 3)
    assert log.summary() == {"loss": 3.0, "entropy": 3.0}


def test_only_the_first_worker_writes(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", from_step=0, speaks=False)
    log.append(1, {"loss": 1.0}, now=100.0 + 1)
    assert log.summary() == {} and not (tmp_path / "metrics.jsonl").exists()
