"""What counters say: real numbers, and pods that come and go."""

import math

import pytest

from rewriter_operator.api.status import Counters
from rewriter_operator.core.traffic import look, percentile_ms, slower_than, snapshot
from tests.builders import counters, stage_status, stats


def test_a_percentile_is_interpolated_inside_its_bucket() -> None:
    half = Counters(requests=100, latency_ms={"100": 50, "200": 100, "+Inf": 100})
    assert percentile_ms(half, 0.5) == pytest.approx(100)
    assert percentile_ms(half, 0.75) == pytest.approx(150)


def test_a_percentile_of_nothing_is_unknown() -> None:
    assert percentile_ms(Counters(), 0.95) is None
    assert math.isinf(percentile_ms(Counters(latency_ms={"+Inf": 3}), 0.95) or 0)


def test_slower_requests_are_counted_inside_their_bucket() -> None:
    spread = Counters(requests=100, latency_ms={"100": 50, "200": 90, "+Inf": 100})
    assert [slower_than(spread, limit) for limit in (50, 100, 150, 200, 5000)] == [
        (100, 75),
        (100, 50),
        (100, 30),
        (100, 10),
        (100, 10),
    ]
    assert slower_than(Counters(), 100) == (0, 0)


def test_requests_before_the_baseline_do_not_count() -> None:
    before = [stats("r0002", finerank=counters(500, errors=500)), stats("r0001", finerank=counters(9000))]
    stage = stage_status(baseline=snapshot(before, "finerank"))
    now = [stats("r0002", finerank=counters(510, errors=500)), stats("r0001", finerank=counters(9090))]
    found = look(now, stage, "r0002")
    assert (found.candidate.requests, found.candidate.errors, found.others.requests) == (10, 0, 90)
    assert found.observed_share == 10.0


def test_a_pod_that_restarted_counts_from_its_start() -> None:
    stage = stage_status(baseline=snapshot([stats("r0002", "boot-1", finerank=counters(500))], "finerank"))
    found = look([stats("r0002", "boot-2", finerank=counters(7))], stage, "r0002")
    assert found.candidate.requests == 7


def test_requests_of_other_stages_do_not_count() -> None:
    found = look([stats("r0002", finerank=counters(7), recall=counters(900))], stage_status(), "r0002")
    assert found.candidate.requests == 7
