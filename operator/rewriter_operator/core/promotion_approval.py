"""rollout.autoPromote: false: a baked candidate waits for a person before it becomes the incumbent of every stage.

It keeps its full share meanwhile and is watched on; limits take it back at any time. The approval is bound to the
revision, and counts once: what is in doubt when it comes is waited for, not asked again.
"""

from dataclasses import dataclass

from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Cycle, PromotionHold
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import intents
from rewriter_operator.core.decision import Note, serving_name
from rewriter_operator.core.world import World


@dataclass(frozen=True)
class Asked:
    """The cycle with what is known of the approval, and what to say while there is none."""

    cycle: Cycle
    waits: str = ""
    """Empty: nothing stands against the promotion here."""
    too_late: str = ""
    """The sentence that ends the rollout."""
    notes: tuple[Note, ...] = ()


def asked(world: World, cycle: Cycle) -> Asked:
    """Whether the baked candidate may be promoted."""
    if cycle.promotion and cycle.promotion.approved_at:
        return Asked(cycle)
    if world.spec.rollout.auto_promote:
        return Asked(evolve(cycle, promotion=None))
    token = f"{serving_name(cycle.candidate)}/promote"
    hold = cycle.promotion or PromotionHold(token=token, since=world.now)
    timeout = world.spec.rollout.approval_timeout
    if timeout is not None and world.now - hold.since > seconds(timeout):
        late = f"nobody approved {token} within spec.rollout.approvalTimeout {timeout}"
        return Asked(cycle, too_late=late)
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == token:
        told = f"{token} was approved {intents.by_whom(world, cycles.APPROVE_ANNOTATION)}"
        approved = evolve(cycle, promotion=evolve(hold, approved_at=world.now))
        return Asked(approved, notes=(Note("PromotionApproved", told[:1024]),))
    command = f"kubectl annotate --overwrite rr {world.release.name} {cycles.APPROVE_ANNOTATION}={token}"
    return Asked(evolve(cycle, promotion=hold), waits=f"bake time is over; waits for approval: {command}")
