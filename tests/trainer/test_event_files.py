"""TensorBoard event files, read back."""

import logging
import sys
from pathlib import Path

import pytest

from rewriter_trainer.event_files import EventFile
from rewriter_trainer.metrics_log import MetricsLog

from .event_records import events, steps


def test_every_step_is_an_event_with_its_metrics_and_its_time(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", from_step=0, speaks=True)
    file = EventFile(tmp_path / "tensorboard", log.rows, speaks=True)
    for step in (1, 2):
        file.append(log.append(step, {"loss": 2.0 / step, "kl": 0.25 * step}, now=1000.5 + step))
    file.close()
    assert events(tmp_path / "tensorboard")[0].file_version == "brain.Event:2"
    assert steps(tmp_path / "tensorboard") == [
        (1, 1001.5, {"loss": 2.0, "kl": 0.25}),
        (2, 1002.5, {"loss": 1.0, "kl": 0.5}),
    ]


def test_a_resumed_phase_repeats_no_step_and_loses_none(tmp_path: Path) -> None:
    """Killed at step 4 with events that never reached the disk; the checkpoint is of step 2."""
    directory, metrics = tmp_path / "tensorboard", tmp_path / "metrics.jsonl"
    log = MetricsLog(metrics, from_step=0, speaks=True)
    killed = EventFile(directory, log.rows, speaks=True)
    for step in (1, 2, 3, 4):
        killed.append(log.append(step, {"loss": float(step)}, now=100.0 + step))
    assert steps(directory) == [], "no event has reached the disk"

    log = MetricsLog(metrics, from_step=2, speaks=True)
    file = EventFile(directory, log.rows, speaks=True)
    for step in (3, 4):
        file.append(log.append(step, {"loss": 10.0 * step}, now=200.0 + step))
    file.close()
    assert steps(directory) == [
        (1, 101.0, {"loss": 1.0}),
        (2, 102.0, {"loss": 2.0}),
        (3, 203.0, {"loss": 30.0}),
        (4, 204.0, {"loss": 40.0}),
    ]
    assert len(list(directory.iterdir())) == 1
    killed.close()


def test_events_reach_the_disk_while_the_phase_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("rewriter_trainer.event_files.time.monotonic", lambda: clock[0])
    file = EventFile(tmp_path, [], speaks=True)
    for number in range(1, 4):
        clock[0] += 6.0
        file.append({"step": number, "time": 1.0, "loss": 1.0})
    assert [step for step, _, _ in steps(tmp_path)] == [1, 2], "twelve seconds after it began"
    file.close()


def test_only_the_first_worker_writes(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "tensorboard", [], speaks=False)
    file.append({"step": 1, "time": 1.0, "loss": 1.0})
    file.close()
    assert not (tmp_path / "tensorboard").exists()


def test_without_the_library_or_a_place_the_phase_is_told_once_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no directory")
    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            if number == 2:
                monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
            file = EventFile(tmp_path / ("file" if number == 1 else "tensorboard"), [], speaks=True)
            for step in (1, 2, 3):
                file.append({"step": step, "time": 1.0, "loss": 1.0})
            file.close()
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "no event files of this phase any more (FileExistsError",
        "no event files of this phase any more (ModuleNotFoundError",
    ]
