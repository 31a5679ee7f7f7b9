"""Speed and the time that is left, from tokens and not from steps: steps differ in length."""

import pytest

from rewriter_trainer.pace import Pace


def test_the_time_that_is_left_is_that_of_the_tokens_that_are_left() -> None:
    pace = Pace([100, 300, 50, 50], step=0, now=1000.0)
    assert pace.finished_step(1000.0, 1010.0) == {"tokens_per_s": 10.0, "eta_seconds": 40.0}
    assert pace.finished_step(1010.0, 1020.0) == {"tokens_per_s": 30.0, "eta_seconds": 5.0}


def test_a_checkpoint_between_steps_slows_the_phase_and_not_the_step() -> None:
    pace = Pace([100, 100, 100], step=0, now=0.0)
    pace.finished_step(0.0, 10.0)
    assert pace.finished_step(30.0, 40.0) == {"tokens_per_s": 10.0, "eta_seconds": 20.0}


def test_a_resumed_phase_is_as_fast_as_the_process_that_resumed_it() -> None:
    pace = Pace([100] * 10, step=7, now=500.0)
    told = [pace.finished_step(500.0 + 20 * index, 520.0 + 20 * index)["eta_seconds"] for index in range(3)]
    assert told == pytest.approx([40.0, 20.0, 0.0])
