"""What the serving pods' own counters say: how many requests, whose, and how slow.

What is not known is None, which is never zero. Whether a share is the set one is asked in core/shares.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rewriter_contract.messages import ServingStats, StageCounters
from rewriter_operator.api.status import Counters, PodCounters, StageStatus


@dataclass(frozen=True)
class Look:
    """One stage's requests since its share was set."""

    candidate: Counters
    others: Counters

    @property
    def requests(self) -> int:
        """Of both sides."""
        return self.candidate.requests + self.others.requests

    @property
    def observed_share(self) -> float | None:
        """Percent that the candidate answered; None without requests."""
        return 100 * self.candidate.requests / self.requests if self.requests else None


def snapshot(stats: Iterable[ServingStats], stage: str) -> list[PodCounters]:
    """The counters of all serving pods now, to count from; a pod without requests counts from zero anyway."""
    found = [PodCounters(boot_id=pod.boot_id, counters=_counters(pod, stage)) for pod in stats]
    return [entry for entry in found if entry.counters.requests]


def look(stats: Iterable[ServingStats], stage: StageStatus, candidate: str) -> Look:
    """What each side answered in `stage` since its baseline; a pod that restarted since counts from its start."""
    baseline = {pod.boot_id: pod.counters for pod in stage.baseline}
    sides: dict[bool, list[Counters]] = {True: [], False: []}
    for pod in stats:
        before = baseline.get(pod.boot_id, Counters())
        sides[pod.revision == candidate].append(_minus(_counters(pod, stage.name), before))
    return Look(candidate=_total(sides[True]), others=_total(sides[False]))


def snapshot_of_copies(stats: Iterable[ServingStats], stage: str) -> list[PodCounters]:
    """The same of mirrored requests, which pods count apart."""
    return snapshot(map(_of_copies, stats), stage)


def look_at_copies(stats: Iterable[ServingStats], stage: str, baseline: Sequence[PodCounters], candidate: str) -> Look:
    """What the candidate's pods answered of mirrored requests since the baseline; copies for others are no business."""
    of_candidate = (pod for pod in stats if pod.revision == candidate)
    return look(map(_of_copies, of_candidate), StageStatus(name=stage, baseline=list(baseline)), candidate)


def _of_copies(pod: ServingStats) -> ServingStats:
    return replace(pod, stages=pod.shadowed)


def percentile_ms(counters: Counters, quantile: float) -> float | None:
    """The latency below which `quantile` of the requests were answered, from the cumulative histogram.

    Linear inside a bucket, as Prometheus' histogram_quantile; infinity beyond the last bound; None without requests.
    """
    total = counters.latency_ms.get("+Inf", 0)
    if total <= 0:
        return None
    target, lower, below = quantile * total, 0.0, 0
    for bound, count in sorted((float(key), value) for key, value in counters.latency_ms.items()):
        if count >= target:
            if math.isinf(bound):
                return math.inf
            return lower + (bound - lower) * (target - below) / max(count - below, 1)
        lower, below = bound, count
    return math.inf


def slower_than(counters: Counters, milliseconds: float) -> tuple[int, int]:
    """How many requests the histogram tells of, and how many of them took longer.

    Linear inside a bucket, rounded down; in the last bucket, which has no upper end, every request counts as slower.
    """
    total, lower, below = counters.latency_ms.get("+Inf", 0), 0.0, 0
    for bound, count in sorted((float(key), value) for key, value in counters.latency_ms.items()):
        if bound >= milliseconds:
            part = 0.0 if math.isinf(bound) else (milliseconds - lower) / (bound - lower)
            return total, math.floor(total - below - part * (count - below))
        lower, below = bound, count
    return total, 0


def _counters(pod: ServingStats, stage: str) -> Counters:
    found = pod.stages.get(stage, StageCounters())
    return Counters(requests=found.requests, errors=found.errors, empty=found.empty, latency_ms=dict(found.latency_ms))


def _minus(now: Counters, before: Counters) -> Counters:
    bounds = now.latency_ms.keys() & before.latency_ms.keys() if before.requests else now.latency_ms.keys()
    return Counters(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        empty=now.empty - before.empty,
        latency_ms={key: now.latency_ms[key] - before.latency_ms.get(key, 0) for key in bounds},
    )


def _total(parts: list[Counters]) -> Counters:
    """The sum; of the histograms' bounds only those that every pod with requests has, because others do not add up."""
    asked = [part.latency_ms.keys() for part in parts if part.requests]
    bounds = set.intersection(*map(set, asked)) if asked else set()
    return Counters(
        requests=sum(part.requests for part in parts),
        errors=sum(part.errors for part in parts),
        empty=sum(part.empty for part in parts),
        latency_ms={key: sum(part.latency_ms.get(key, 0) for part in parts) for key in sorted(bounds)},
    )
