"""A run of rollouts goes on where it was, plays what ended otherwise again, and begins nothing after its time."""

import time
from dataclasses import replace
from pathlib import Path

from e2e.bench.rollout.data_plane import Kept, Orders
from e2e.bench.rollout.figures import counts
from e2e.bench.rollout.turns import Kind
from tests.bench.test_rollout_figures import observed

HOUR = time.monotonic() + 3600


def test_two_releases_never_begin_more_than_was_asked_for() -> None:
    orders = Orders({Kind.PROMOTE: 1}, {}, HOUR)
    assert orders.take([]) is Kind.PROMOTE
    assert orders.take([]) is None, "the other release's is under way"
    orders.over(Kind.PROMOTE, is_fulfilled=True)
    assert orders.take([Kind.PROMOTE]) is None


def test_what_ended_otherwise_is_played_again() -> None:
    orders = Orders({Kind.ABORT: 1}, {}, HOUR)
    assert orders.take([]) is Kind.ABORT
    orders.over(Kind.ABORT, is_fulfilled=False)
    assert orders.take([]) is Kind.ABORT


def test_nothing_is_begun_after_the_time_is_over() -> None:
    assert Orders({Kind.PROMOTE: 20}, {}, time.monotonic() - 1).take([]) is None


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add(observed(began=100.0))
    kept.add(observed(Kind.ABORT, began=200.0))
    kept.add(observed(began=300.0, is_fulfilled=False))
    orders = Orders({Kind.PROMOTE: 2, Kind.ABORT: 1}, counts(Kept(tmp_path).read()), HOUR)
    assert orders.take([Kind.PROMOTE]) is Kind.PROMOTE
    assert orders.take([Kind.PROMOTE]) is None


def test_two_releases_that_end_in_the_same_second_are_both_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add(observed(began=100.0))
    kept.add(replace(observed(began=100.0), release="plane-2"))
    assert len(kept.read()) == 2


def test_a_run_that_begins_anew_forgets_what_was_played_and_keeps_what_was_drawn(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.add(observed())
    (tmp_path / "drawn.json").write_text("{}")
    kept.forget()
    assert kept.read() == [] and (tmp_path / "drawn.json").exists()
