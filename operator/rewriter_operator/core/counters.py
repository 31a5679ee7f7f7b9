"""Which pods' counters can be used, and which cannot: silent, contradictory, or of another revision than the pod is.

What cannot be used is unknown: it is left out of every sum, and as long as one pod's counters are unknown nothing is
concluded from the others'. Whatever a pod tells, nothing here raises.
"""

import math
from collections.abc import Mapping, Sequence

from rewriter_contract.messages import ServingStats, StageCounters
from rewriter_operator.api.status import PodCounters, StageStatus
from rewriter_operator.core.decision import revision_name
from rewriter_operator.core.world import Pod, Role, World

MAX_COUNT = 10**12
"""No pod has answered more requests; a larger number is a fault, and sums of smaller ones are exact."""

MAX_BOUNDS = 32
MAX_BOOT_ID = 64


def believed(world: World, stage: StageStatus) -> list[ServingStats]:
    """The counters that can be used for this stage."""
    pods = _serving_pods(world)
    found = [(world.stats[pod.name], pod) for pod in pods if pod.name in world.stats]
    return [told for told, pod in found if _fault(told, pod, stage) is None]


def unread(world: World, stage: StageStatus) -> str | None:
    """The first pod that answers requests without usable counters, and what is wrong; None when all have them.

    A share over some of the pods proves nothing.
    """
    for pod in _serving_pods(world):
        if not pod.ready or pod.deleting:
            continue
        told = world.stats.get(pod.name)
        if pod.name in world.unauthorised:
            return f"pod {pod.name} refuses the agents' token (401), which was changed since it started; restart it"
        if told is None:
            return f"pod {pod.name} tells no counters"
        fault = _fault(told, pod, stage)
        if fault is not None:
            return f"counters of pod {pod.name} cannot be used: {fault}"
    return None


def _serving_pods(world: World) -> list[Pod]:
    return [*world.pods(Role.SERVING), *world.pods(Role.PASSTHROUGH)]


def _fault(told: ServingStats, pod: Pod, stage: StageStatus) -> str | None:
    if not 0 < len(told.boot_id) <= MAX_BOOT_ID:
        return f"bootId has {len(told.boot_id)} characters"
    if told.revision != revision_name(pod.cycle):
        return f"it says revision {told.revision[:32]!r}, its Deployment is {revision_name(pod.cycle)}"
    now, copies = (kind.get(stage.name, StageCounters()) for kind in (told.stages, told.shadowed))
    shadowed = stage.shadow.baseline if stage.shadow else []
    return (
        _contradiction(now)
        or _backwards(now, stage.baseline, told)
        or (_contradiction(copies) or _backwards(copies, shadowed, told))
    )


def _backwards(now: StageCounters, baseline: Sequence[PodCounters], told: ServingStats) -> str | None:
    before = next((entry.counters for entry in baseline if entry.boot_id == told.boot_id), None)
    if before is None:
        return None
    pairs = [(now.requests, before.requests), (now.errors, before.errors), (now.empty, before.empty)]
    pairs += [(now.latency_ms.get(bound, 0), count) for bound, count in before.latency_ms.items()]
    return "they went backwards without a restart" if any(later < earlier for later, earlier in pairs) else None


def _contradiction(counters: StageCounters) -> str | None:
    """What is wrong with one stage's numbers, taken alone."""
    if not all(0 <= count <= MAX_COUNT for count in (counters.requests, counters.errors, counters.empty)):
        return "a count is negative or beyond reason"
    return _histogram_fault(counters.latency_ms)


def _histogram_fault(histogram: Mapping[str, int]) -> str | None:
    if len(histogram) > MAX_BOUNDS:
        return f"latencyMs has {len(histogram)} bounds, more than {MAX_BOUNDS}"
    bounds = {key: _bound(key) for key in histogram}
    wrong = next((key for key, bound in bounds.items() if bound is None), None)
    if wrong is not None:
        return f"latencyMs has the bound {wrong[:16]!r}, which is no number of milliseconds"
    counts = [histogram[key] for key in sorted(histogram, key=lambda key: bounds[key] or 0.0)]
    if any(not 0 <= count <= MAX_COUNT for count in counts) or counts != sorted(counts):
        return "latencyMs is not cumulative"
    return None


def _bound(key: str) -> float | None:
    """Milliseconds; None for what is no upper bound."""
    if key == "+Inf":
        return math.inf
    try:
        bound = float(key) if len(key) <= 16 else -1.0
    except ValueError:
        return None
    return bound if 0 < bound < math.inf else None
