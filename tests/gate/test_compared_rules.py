"""The rules that the gate is measured against do what their origin says, or the comparison would be unfair."""

from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import fmean

import pytest

from e2e.bench.population import Effect, draw_case
from e2e.bench.rules import is_low, kayenta_promotes, threshold_promotes
from e2e.bench.trials import Trial, main, read_trials, write_trial

from .evidence_builder import World, both_sides
from .test_replay import volume


def test_a_clear_fall_is_low_and_an_equal_sample_is_not() -> None:
    random = Random(1)
    control = [random.gauss(0, 1) for _ in range(60)]
    assert is_low([value - 1 for value in control], control)
    assert not is_low(control, control)
    assert not is_low([value + 1 for value in control], control)


def test_thresholds_see_a_fall_of_gold_over_the_margin_and_nothing_less() -> None:
    candidate, incumbent = both_sides(World(gold_gain=0.0, gold_spread=0.0))
    assert threshold_promotes(candidate.rows, incumbent.rows)
    fallen = [replace(row, ndcg10=(row.ndcg10 or 0.0) - 0.06) for row in candidate.rows]
    assert not threshold_promotes(fallen, incumbent.rows)


def test_kayenta_promotes_what_is_not_shown_to_be_worse() -> None:
    _, incumbent = both_sides()
    assert kayenta_promotes(incumbent.rows, incumbent.rows), "no gain is asked for"


def test_drawn_cases_have_the_gain_that_was_asked_for_and_no_other() -> None:
    def gain(of: float) -> float:
        case = draw_case(3000, "gain", Effect(of))
        pairs = zip(case.candidate.rows, case.incumbent.rows, strict=True)
        return fmean((ours.reward or 0.0) - (theirs.reward or 0.0) for ours, theirs in pairs)

    assert abs(gain(0.0)) < 0.015
    assert abs(gain(0.08) - gain(0.0) - 0.08) < 0.01
    assert draw_case(50, "same") == draw_case(50, "same") != draw_case(50, "other")


def test_trials_are_read_back_as_written_and_none_are_invented(tmp_path: Path) -> None:
    candidate, incumbent = both_sides()
    trial = Trial("a test", "length:0.15", 3, candidate, incumbent)
    assert write_trial(tmp_path, trial).name == "flaw-length-0.15-seed-3.json"
    assert read_trials(tmp_path) == [trial]
    assert read_trials(tmp_path / "absent") == []


def test_a_cycles_evidence_becomes_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume(tmp_path / "gate")
    line = ["trials", str(tmp_path / "gate"), "--flaw", "length:0.3", "--seed", "2", "--source", "a story"]
    monkeypatch.setattr("sys.argv", [*line, "--out", str(tmp_path / "out")])
    main()
    (trial,) = read_trials(tmp_path / "out")
    candidate, _ = both_sides()
    assert (trial.source, trial.flaw, trial.seed, trial.candidate.rows) == ("a story", "length:0.3", 2, candidate.rows)
