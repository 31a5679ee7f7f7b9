"""Which phase was the best: each one's weights answer the validation queries, which neither train nor judge.

With spec.data.validation only. When a phase begins, the samplers hold what the one before it published, so measuring
it costs no sync. More training is not always better: held-out gold rises, and then falls while the reward still rises.
"""

import math
from collections.abc import Iterable, Sequence

from rewriter_contract import volume
from rewriter_contract.messages import EvidenceOrder, Selection, WorkReport
from rewriter_operator.api.release import RewriterReleaseSpec, Validation
from rewriter_operator.api.status import Phase, PhaseResult
from rewriter_operator.core.counters import MAX_COUNT
from rewriter_operator.core.evidence_orders import Measured, measuring
from rewriter_operator.core.recipe import recipe_of
from rewriter_operator.core.samplers import Ask
from rewriter_operator.core.world import World

_MEASURES = {"Gold": ("ndcg10", "gold_queries"), "Reward": ("reward", "reward_queries")}
"""spec.training.validation.metric -> name of the mean, and of the number of queries that it is a mean of."""

_WORDS = {"Gold": "nDCG@10", "Reward": "mean log R"}


def due(world: World) -> bool:
    """Whether the newest phase's weights have yet to be measured."""
    cycle = world.status.cycle
    return bool(world.spec.data.validation and cycle and cycle.phases and not cycle.phases[-1].validation)


def validation_paths(world: World) -> list[str]:
    """One call per sampler, for the phase that ended last."""
    cycle = world.status.cycle
    if not (cycle and cycle.phases):
        return []
    base = f"/v1/validation/{cycle.number}/{cycle.phases[-1].number}"
    return [f"{base}/{index}" for index in range(world.spec.training.samplers.replicas)]


def asks(world: World, phase: Phase) -> list[Ask]:
    """What the samplers are to measure: after each phase the same queries, greedily, as the gate does."""
    return [
        Ask(index, path, validation_order(world, phase, index), "validation")
        for index, path in enumerate(validation_paths(world))
    ]


def validation_order(world: World, phase: Phase, index: int) -> EvidenceOrder:
    """The order for sampler `index`."""
    cycle, spec = world.status.cycle, world.spec
    assert cycle is not None
    out = volume.validation_file(cycle.number, cycle.phases[-1].number, index)
    selection = Selection(
        seed=spec.training.seed, count=_settings(spec).queries, shard=index, shards=spec.training.samplers.replicas
    )
    return measuring(world, Measured(phase.weights, recipe_of(spec), "validation", out), selection)


def measured(reports: Iterable[WorkReport]) -> dict[str, float]:
    """All shards of one phase together. A mean is there only where every shard told it in numbers that can be."""
    told = [_numbers(report) for report in reports]
    shards = [
        {**shard, "reward_queries": shard.get("queries", 0.0) - shard.get("missing_rewards", 0.0)} for shard in told
    ]
    found = {"queries": math.fsum(shard.get("queries", 0.0) for shard in shards)}
    for mean, count in _MEASURES.values():
        counts = [shard.get(count, 0.0) for shard in shards]
        values = [shard.get(mean) for shard in shards if shard.get(count, 0.0) > 0]
        if min(counts, default=0.0) >= 0 and values and None not in values:
            weighted = [shard[mean] * shard[count] for shard in shards if shard.get(count, 0.0) > 0]
            found |= {count: math.fsum(counts), mean: round(math.fsum(weighted) / math.fsum(counts), 6)}
    return found


def _numbers(report: WorkReport) -> dict[str, float]:
    """What can be: NaN and infinity are no numbers, and sums of greater ones overflow."""
    return {name: value for name, value in report.metrics.items() if abs(value) <= MAX_COUNT}


def best(spec: RewriterReleaseSpec, phases: Sequence[PhaseResult]) -> PhaseResult | None:
    """The phase whose weights become the candidate; the last one where no phase was measured, None without phases.

    Phases are compared on equal numbers of measured queries only: a mean over fewer may be better because hard ones
    are missing. Of equals the one with the greater reward, then the earlier one, which moved less.
    """
    values = _values(spec, phases)
    if not values:
        return phases[-1] if phases else None
    return max(
        (phase for phase in phases if phase.number in values),
        key=lambda phase: (values[phase.number], phase.validation.get("reward", -math.inf), -phase.number),
    )


def exhausted(spec: RewriterReleaseSpec, phases: Sequence[PhaseResult]) -> bool:
    """Whether the last `patience` phases were all no better than the best one before them."""
    if not _values(spec, phases):
        return False
    chosen = best(spec, phases)
    return chosen is not None and phases[-1].number - chosen.number >= _settings(spec).patience


def why(spec: RewriterReleaseSpec, phases: Sequence[PhaseResult]) -> str:
    """`phase 2 of 4 by nDCG@10 of 96 validation queries: 0.374, 0.383, 0.379, -`; empty where nothing was measured."""
    values, chosen = _values(spec, phases), best(spec, phases)
    if not values or chosen is None:
        return ""
    metric = _settings(spec).metric
    count = chosen.validation[_MEASURES[metric][1]]
    shown = ", ".join(f"{values[phase.number]:.4f}" if phase.number in values else "-" for phase in phases[-20:])
    earlier = "..., " if len(phases) > 20 else ""
    return (
        f"phase {chosen.number} of {len(phases)} by {_WORDS[metric]} of {count:.0f} validation queries: "
        f"{earlier}{shown}"
    )


def _values(spec: RewriterReleaseSpec, phases: Sequence[PhaseResult]) -> dict[int, float]:
    """Phase -> what it is chosen by, of those that can be compared."""
    mean, count = _MEASURES[_settings(spec).metric]
    told = [phase for phase in phases if mean in phase.validation and phase.validation.get(count, 0.0) > 0]
    most = max((phase.validation[count] for phase in told), default=0.0)
    return {phase.number: phase.validation[mean] for phase in told if phase.validation[count] == most}


def _settings(spec: RewriterReleaseSpec) -> Validation:
    return spec.training.validation or Validation()
