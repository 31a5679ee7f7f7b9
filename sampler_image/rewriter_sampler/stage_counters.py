"""Counts the answers of a serving pod by stage; GET /v1/stats and /metrics are two views of the same numbers.

Used from one asyncio loop only. The stage label is bounded: whatever a consumer sends that is no stage is `unknown`.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rewriter_contract.messages import LATENCY_BUCKETS_MS, STAGES, StageCounters

UNKNOWN_STAGE = "unknown"


@dataclass(frozen=True)
class Answer:
    """How one request ended."""

    seconds: float
    ok: bool
    """It was answered with 200."""
    empty: bool = False
    """... and had no rewrite."""
    timeout: bool = False
    """The deadline passed, or the consumer hung up first (its own deadline passed)."""
    copies: int = 0
    """Rewrites that were dropped because they equal the query."""


@dataclass
class _Totals:
    requests: int = 0
    errors: int = 0
    empty: int = 0
    timeouts: int = 0
    copies: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_MS) + 1))

    def add(self, answer: Answer) -> None:
        self.requests += 1
        self.errors += not answer.ok
        self.empty += answer.empty
        self.timeouts += answer.timeout
        self.copies += answer.copies
        self.seconds += answer.seconds
        self.buckets[bisect_left(LATENCY_BUCKETS_MS, answer.seconds * 1000)] += 1


class Counters(Collector):
    """Totals since the pod's start."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self._stages: dict[str, _Totals] = {}
        self._shadowed: dict[str, _Totals] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def add(self, stage: str, answer: Answer, mirrored: bool = False) -> None:
        """Count one answer; that of a mirrored request, which nobody sees, apart from all others."""
        counted = self._shadowed if mirrored else self._stages
        counted.setdefault(stage if stage in STAGES else UNKNOWN_STAGE, _Totals()).add(answer)

    def by_stage(self) -> dict[str, StageCounters]:
        """What GET /v1/stats answers; stages that were never asked for are left out."""
        return _told(self._stages)

    def shadowed(self) -> dict[str, StageCounters]:
        """The same of mirrored requests."""
        return _told(self._shadowed)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus_client on a scrape."""
        yield from self._metrics("rewriter", "", self._stages)
        yield from self._metrics("rewriter_shadow", " Of mirrored requests, whose answers nobody sees.", self._shadowed)

    def _metrics(self, prefix: str, of: str, stages: dict[str, _Totals]) -> Iterator[Metric]:
        """Mirrored requests have names of their own: a sum over a name must go on being a sum of answers."""
        for name, text in (
            ("requests", "Rewrite requests."),
            ("errors", "Requests that were not answered with 200."),
            ("empty", "Answers without a rewrite."),
            ("timeouts", "Requests that ran into a deadline, the pod's or the consumer's."),
            ("copies", "Rewrites dropped because they equal the query."),
        ):
            family = CounterMetricFamily(f"{prefix}_{name}", text + of, labels=["stage", "revision"])
            for stage, totals in stages.items():
                family.add_metric([stage, self.revision], getattr(totals, name))
            yield family
        yield self._latency(prefix, of, stages)

    def _latency(self, prefix: str, of: str, stages: dict[str, _Totals]) -> Metric:
        text = f"Time to answer.{of}"
        family = HistogramMetricFamily(f"{prefix}_latency_seconds", text, labels=["stage", "revision"])
        bounds = [*(str(bound / 1000) for bound in LATENCY_BUCKETS_MS), "+Inf"]
        for stage, totals in stages.items():
            buckets = list(zip(bounds, accumulate(totals.buckets), strict=True))
            family.add_metric([stage, self.revision], buckets, totals.seconds)
        return family


def _told(stages: dict[str, _Totals]) -> dict[str, StageCounters]:
    return {
        stage: StageCounters(
            requests=totals.requests,
            errors=totals.errors,
            empty=totals.empty,
            timeouts=totals.timeouts,
            latency_ms=dict(zip(_bounds_ms(), accumulate(totals.buckets), strict=True)),
        )
        for stage, totals in stages.items()
    }


def _bounds_ms() -> list[str]:
    return [*(str(bound) for bound in LATENCY_BUCKETS_MS), "+Inf"]
