"""Replaced revisions whose pods are kept up without a request, so that a rollback to one of them loads no model.

spec.serving.scaleDownDelay. Kept is what the stages had before the last change of their incumbents and have no longer,
whoever changed them: a promotion, or a rollback, after which the way forward is as short. A candidate that was taken
back never served as an incumbent and is not kept. Nothing else may suffer from it: what needs GPUs comes first, and
then the pods go before their time (docs/decisions/0041).
"""

from dataclasses import dataclass
from typing import Final

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Replaced, RewriterReleaseStatus, Serving
from rewriter_operator.core import held_up
from rewriter_operator.core.decision import Note, serving_name
from rewriter_operator.core.states import CANDIDATE_STATES
from rewriter_operator.core.world import World

OWN_PODS: Final = ("Surge", "ScaleWithShare")
"""Modes of spec.serving.capacity in which every revision has pods of its own: there is nothing to keep without."""


@dataclass(frozen=True)
class Kept:
    """The status with what is kept from now on, and what there is to tell about it."""

    status: RewriterReleaseStatus
    notes: tuple[Note, ...] = ()


def revisions(status: RewriterReleaseStatus) -> list[Serving]:
    """Those that are kept."""
    return status.replaced.revisions if status.replaced else []


def settled(world: World, status: RewriterReleaseStatus) -> Kept:
    """Keep what `status` replaces of what the world has; let go of what was kept for long enough, or is in the way."""
    replaced = _just_replaced(world, status)
    if replaced is not None and _delay(world.spec):
        after = evolve(status, replaced=replaced)
        why = f"spec.serving.scaleDownDelay {world.spec.serving.scale_down_delay}"
        text = f"{told(world.spec, after)} ({why}): {_names(replaced)} can be rolled back to without loading a model"
        return Kept(after, (Note("ReplacedKept", text),))
    if status.replaced is None:
        return Kept(status)
    why = "others were replaced" if replaced is not None else _why_no_longer(world, status, status.replaced)
    if not why:
        return Kept(status)
    note = Note("ReplacedReleased", f"pods of {_names(status.replaced)} are no longer kept: {why}"[:1024])
    return Kept(evolve(status, replaced=None), (note,))


def seconds_left(world: World) -> float:
    """Until the time of what is kept is over; infinite where nothing is."""
    replaced = world.status.replaced
    return max(1.0, _until(world.spec, replaced) - world.now) if replaced else float("inf")


def told(spec: RewriterReleaseSpec, status: RewriterReleaseStatus) -> str:
    """`pods of r0006 are kept until 2025-11-24T17:00:00Z`; empty where none are."""
    if status.replaced is None:
        return ""
    return f"pods of {_names(status.replaced)} are kept until {rfc3339(_until(spec, status.replaced))}"


def _just_replaced(world: World, status: RewriterReleaseStatus) -> Replaced | None:
    before, after = _incumbents(world.status), _incumbents(status)
    gone = [serving for revision, serving in before.items() if revision not in after]
    return Replaced(revisions=gone, since=world.now) if gone else None


def _why_no_longer(world: World, status: RewriterReleaseStatus, replaced: Replaced) -> str:
    """What ends the keeping; empty while it goes on."""
    if not _delay(world.spec):
        serving = world.spec.serving
        return f"spec.serving has scaleDownDelay {serving.scale_down_delay} and capacity.mode {serving.capacity.mode}"
    if world.now >= _until(world.spec, replaced):
        return f"spec.serving.scaleDownDelay {world.spec.serving.scale_down_delay} is over"
    if status.state in CANDIDATE_STATES:
        return "a new candidate's pods come up and may need their room"
    back = status.rollback.to if status.rollback and not status.rollback.switched else None
    known = {serving.revision for serving in replaced.revisions}
    if status.state is State.RETURNING and back and back.revision not in known:
        return f"pods of {serving_name(back)} come up and may need their room"
    return held_up.without_room(world)


def _until(spec: RewriterReleaseSpec, replaced: Replaced) -> float:
    return replaced.since + _delay(spec)


def _delay(spec: RewriterReleaseSpec) -> int:
    return seconds(spec.serving.scale_down_delay) if spec.serving.capacity.mode in OWN_PODS else 0


def _incumbents(status: RewriterReleaseStatus) -> dict[int, Serving]:
    return {stage.incumbent.revision: stage.incumbent for stage in status.stages if stage.incumbent}


def _names(replaced: Replaced) -> str:
    return " and ".join(serving_name(serving) for serving in replaced.revisions)
