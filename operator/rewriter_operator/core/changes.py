"""A spec that changed while a cycle runs: which of it the cycle takes over, which of it waits, and what ends the cycle.

Nothing of training and gate depends on rollout.stages, so a change of them is taken over until the rollout begins, and
afterwards as long as what the candidate has passed is what it would have passed. All else is spec.onChange's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rewriter_operator.api.model import evolve
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.release import Stage as StagePlan
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Outcome, RewriterReleaseStatus, StageStatus
from rewriter_operator.core import intents
from rewriter_operator.core.begun_spec import (
    STAGES,
    as_begun,
    began_with,
    changed_parts,
    is_held,
    learnt_digest,
    spec_digest,
)
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from rewriter_operator.core.decision import Note, Step
from rewriter_operator.core.world import World

BEFORE_TRAFFIC: Final = (State.PREPARING, State.TRAINING, State.GATING, State.HOLDING, State.DEPLOYING)
UNDER_WAY: Final = (State.ROLLING_OUT, State.BAKING)
CUT_SHORT: Final = (Outcome.FAILED, Outcome.SUPERSEDED, Outcome.ABORTED)
"""Cycles that came to no end of their own."""


@dataclass(frozen=True)
class Change:
    """What differs from what the cycle began with."""

    parts: tuple[str, ...]
    """Empty: it differs, and nobody knows in what."""
    begun: RewriterReleaseSpec | None
    """The spec as it would be without the change."""

    @property
    def told(self) -> str:
        """`spec.training, spec.gate`"""
        return ", ".join(f"spec.{part}" for part in self.parts) or "the spec"


def remembered(world: World) -> RewriterReleaseStatus:
    """The status that knows what its cycle began with, and was last learnt from: also one of an earlier version."""
    status, cycle = world.status, world.status.cycle
    if not status.last_learnt_digest and status.last_spec_digest == spec_digest(world.release.spec):
        status = evolve(status, last_learnt_digest=learnt_digest(world.release.spec))
    if cycle is None or cycle.number == 0:
        return status
    if cycle.began_with or cycle.spec_digest != spec_digest(world.release.spec):
        return status
    kept = began_with(world.release.spec)
    return evolve(status, cycle=evolve(cycle, began_with=kept)) if kept else status


def seen(world: World) -> Change | None:
    """The change that the running cycle has to do with; None while there is none."""
    cycle, written = world.status.cycle, world.release.spec
    if cycle is None or cycle.number == 0 or cycle.spec_digest == spec_digest(written):
        return None
    begun = as_begun(written, cycle)
    return Change(changed_parts(begun, written) if begun else (), begun)


def waits(world: World, change: Change) -> bool:
    """Whether it waits for the end of the cycle. What nobody knows the state before of cannot wait."""
    return change.begun is not None and is_held(world.release.spec, world.status)


def starts_cycle(status: RewriterReleaseStatus, spec: RewriterReleaseSpec) -> bool:
    """Whether a spec that no cycle has seen yet is worth one.

    Not where there is nothing new to learn or to judge by. But after a cycle that was cut short every change is: it may
    be what mends it, or what ended it. And a stage that came later is served by its first cycle only.
    """
    newest = status.history[0].outcome if status.history else None
    unserved = [stage for stage in status.stages if stage.incumbent is None]
    came_later = bool(unserved) and (bool(status.promoted) or len(unserved) < len(status.stages))
    return newest in CUT_SHORT or came_later or learnt_digest(spec) != status.last_learnt_digest


def gone_by(status: RewriterReleaseStatus, spec: RewriterReleaseSpec, name: str) -> Step:
    """The next cycle goes by the changed spec; none starts for it."""
    told = (
        "the spec changed in nothing that a cycle learns from or is judged by, so none starts for it: the next one "
        f"goes by it; to start one now: kubectl rewriter run {name}"
    )
    return Step(evolve(status, last_spec_digest=spec_digest(spec)), notes=(Note("ChangeNoted", told),), wait_seconds=1)


def taken_over(world: World, change: Change) -> Step | None:
    """The cycle goes on with the changed stages; None where it cannot, or does not because all of it has to end."""
    status, cycle, begun = world.status, world.status.cycle, change.begun
    if cycle is None or begun is None or STAGES not in change.parts:
        return None
    if change.parts != (STAGES,) and not is_held(world.release.spec, status):
        return None
    stages = world.release.spec.rollout.stages
    rows = _rows(world, begun.rollout.stages, stages)
    if rows is None:
        return None
    spec = evolve(begun, rollout=evolve(begun.rollout, stages=stages))
    again = intents.is_of_a_step(world.release.annotations.get(APPROVE_ANNOTATION, ""), cycle)
    changed = evolve(
        cycle,
        spec_digest=spec_digest(spec),
        began_with=began_with(spec),
        approval_round=cycle.approval_round + again,
    )
    told = f"cycle {cycle.number} goes on with the changed spec.{STAGES}"
    told += "; the approval that stands was given for other stages, and counts no more" if again else ""
    after = evolve(status, cycle=changed, stages=rows, last_spec_digest=changed.spec_digest)
    return Step(after, notes=(Note("StagesChanged", told),), wait_seconds=1)


def told(world: World) -> str:
    """The sentence about a change that waits; empty while none does."""
    cycle = world.status.cycle
    if cycle is None or cycle.outcome is not None or not is_held(world.release.spec, world.status):
        return ""
    change = seen(world)
    if change is None or not waits(world, change):
        return ""
    name, way = world.release.name, world.release.spec.on_change
    return (
        f"{change.told} changed; the change waits for cycle {cycle.number} to end (spec.onChange: {way}); "
        f"to begin with it now: kubectl rewriter abort {name}"
    )[:1024]


def ending(change: Change) -> str:
    """Why the cycle ends."""
    return f"{change.told} changed, which this cycle depends on; a new cycle follows"


def _rows(world: World, before: Sequence[StagePlan], after: Sequence[StagePlan]) -> list[StageStatus] | None:
    """The stages' status under the changed plan; None where the candidate has come another way than that one's."""
    rows = {row.name: row for row in world.status.stages}
    names = [plan.name.value for plan in after]
    if world.status.state in BEFORE_TRAFFIC:
        return [rows.get(name) or StageStatus(name=name) for name in names]
    if world.status.state not in UNDER_WAY or set(names) != set(rows):
        return None
    plans = {plan.name.value: plan for plan in before}
    moved = [_moved(world, rows[plan.name.value], plans[plan.name.value], plan) for plan in after]
    found = [row for row in moved if row is not None]
    is_full = all(row.step >= len(plan.steps) for row, plan in zip(found, after, strict=False))
    return found if len(found) == len(moved) and (is_full or world.status.state is State.ROLLING_OUT) else None


def _moved(world: World, row: StageStatus, before: StagePlan, after: StagePlan) -> StageStatus | None:
    """A stage whose passed steps, share and wait for others are those of the changed plan too."""
    if row.step_at and set(before.depends_on) != set(after.depends_on):
        return None
    at = row.step
    is_given = at < len(before.steps) and before.steps[at].set_share == row.share != 0
    begun = at + is_given
    if before.steps[:begun] != after.steps[:begun]:
        return None
    if before.steps[at : at + 1] == after.steps[at : at + 1]:
        return row
    row = evolve(row, shadow=None)  # what was copied under another step says nothing of this one
    since = world.now if row.step_at else 0  # what replaces a step has its whole time
    asks = at < len(after.steps) and (after.steps[at].set_share or after.steps[at].shadow)
    pods_at = world.now if row.pods_at and asks else 0  # a pause waits for no pods: nobody would ever see them come
    return evolve(row, step_at=since, approved_at=0, held=False, pods_at=pods_at, message="")
