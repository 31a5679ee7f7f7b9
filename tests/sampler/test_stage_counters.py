"""Stats and metrics are the same numbers."""

from prometheus_client import generate_latest

from rewriter_contract.messages import LATENCY_BUCKETS_MS
from rewriter_sampler.stage_counters import Answer, Counters


def filled() -> Counters:
    counters = Counters("r0007")
    counters.add("recall", Answer(seconds=0.020, ok=True, copies=2))
    counters.add("recall", Answer(seconds=0.300, ok=True, empty=True))
    counters.add("recall", Answer(seconds=60.0, ok=False, timeout=True))
    counters.add("ranking-experiment-17", Answer(seconds=0.001, ok=False))
    return counters


def test_each_stage_has_its_own_totals() -> None:
    stages = filled().by_stage()
    recall = stages["recall"]
    assert (recall.requests, recall.errors, recall.empty, recall.timeouts) == (3, 1, 1, 1)
    assert stages["unknown"].requests == 1


def test_unknown_stages_share_one_label() -> None:
    assert set(filled().by_stage()) == {"recall", "unknown"}


def test_the_histogram_is_cumulative_and_bounds_are_inclusive() -> None:
    latency = filled().by_stage()["recall"].latency_ms
    assert list(latency) == [*(str(bound) for bound in LATENCY_BUCKETS_MS), "+Inf"]
    assert (latency["10"], latency["25"], latency["200"], latency["300"]) == (0, 1, 1, 2)
    assert (latency["10000"], latency["+Inf"]) == (2, 3)


def test_metrics_say_the_same_as_stats() -> None:
    text = generate_latest(filled().registry).decode()
    for line in (
        'rewriter_requests_total{revision="r0007",stage="recall"} 3.0',
        'rewriter_errors_total{revision="r0007",stage="recall"} 1.0',
        'rewriter_timeouts_total{revision="r0007",stage="recall"} 1.0',
        'rewriter_copies_total{revision="r0007",stage="recall"} 2.0',
        'rewriter_latency_seconds_bucket{le="0.3",revision="r0007",stage="recall"} 2.0',
        'rewriter_latency_seconds_bucket{le="+Inf",revision="r0007",stage="recall"} 3.0',
        'rewriter_latency_seconds_count{revision="r0007",stage="recall"} 3.0',
    ):
        assert line in text.splitlines()


def test_mirrored_requests_are_counted_apart_in_stats_and_in_metrics() -> None:
    """Whatever sums up answers, a share above all, must not find them there."""
    before, counted = generate_latest(filled().registry).decode(), filled()
    counted.add("recall", Answer(seconds=0.020, ok=True, empty=True), mirrored=True)
    counted.add("made-up", Answer(seconds=0.020, ok=False), mirrored=True)
    assert counted.by_stage() == filled().by_stage()
    copies = counted.shadowed()["recall"]
    assert (copies.requests, copies.errors, copies.empty, copies.latency_ms["25"]) == (1, 0, 1, 1)
    assert counted.shadowed()["unknown"].errors == 1 and not filled().shadowed()
    text = generate_latest(counted.registry).decode().splitlines()
    assert set(before.splitlines()) <= set(text)
    assert 'rewriter_shadow_requests_total{revision="r0007",stage="recall"} 1.0' in text
    assert 'rewriter_shadow_latency_seconds_count{revision="r0007",stage="recall"} 1.0' in text
