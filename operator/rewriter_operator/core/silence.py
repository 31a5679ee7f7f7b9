"""Pods of a share that tell no counters: told to people where no deadline would, in pauses, the bake, a wait for one.

What cannot be read holds every step that is to end, with its reason and a deadline. A pause until approved has no end
of its own, and a candidate that nobody can see any more would wait there for days. So it is looked for whenever the
numbers of a resting stage are written anyway, every PAUSED_LOOK_SECONDS: counters that are missed now and then write
nothing. After SILENT_SECONDS of it a stage says so, TrafficVerified is Unknown, and one Event tells. It decides
nothing: unknown neither promotes nor condemns.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from rewriter_operator.api.conditions import Reason, rfc3339
from rewriter_operator.api.model import evolve
from rewriter_operator.api.status import Silence, StageStatus
from rewriter_operator.core.counters import unread
from rewriter_operator.core.decision import Note
from rewriter_operator.core.watching import Watched
from rewriter_operator.core.world import World

PAUSED_LOOK_SECONDS: Final = 30
"""Between two writes of a resting stage's numbers."""

SILENT_SECONDS: Final = 60
"""A pod that restarts, or a network that hiccups, is over by then."""


def noted(before: Watched) -> Watched:
    """The world with what is seen of silent pods in its stages, and what there is to tell about it."""
    world = before.world
    stages = [_noted(world, stage) for stage in world.status.stages]
    if stages == world.status.stages:
        return before
    status = evolve(world.status, stages=stages)
    notes = (*before.notes, *_notes(world.status.stages, stages))
    return Watched(replace(world, release=replace(world.release, status=status)), notes)


def told(stage: StageStatus) -> str:
    """`pod shop-r0002-x tells no counters, since 2025-11-24T17:00:00Z`; empty while there is nothing to tell."""
    silence = stage.silence
    return f"{silence.why}, since {rfc3339(silence.since)}" if silence and silence.told else ""


def words(stages: Iterable[StageStatus]) -> str:
    """The same of the first stage that has something to tell, to put behind a sentence."""
    return next((f"; {text}" for stage in stages if (text := told(stage))), "")


def _noted(world: World, stage: StageStatus) -> StageStatus:
    why, silence = unread(world, stage) if stage.share else None, stage.silence
    if why is None:
        return evolve(stage, silence=None) if silence else stage
    if silence is not None and not silence.told and world.now - silence.since >= SILENT_SECONDS:
        return evolve(stage, silence=evolve(silence, why=why[:1024], told=True))
    if world.now - stage.looked_at < PAUSED_LOOK_SECONDS:
        return stage
    return evolve(stage, silence=evolve(silence or Silence(since=world.now, why=""), why=why[:1024]))


def _notes(before: list[StageStatus], after: list[StageStatus]) -> tuple[Note, ...]:
    """One for all stages together: it is the same pods that answer them."""
    pairs = list(zip(before, after, strict=True))
    silent = [new for old, new in pairs if told(new) and not told(old)]
    heard = [new.name for old, new in pairs if told(old) and not told(new)]
    notes = []
    if silent:
        text = f"{', '.join(stage.name for stage in silent)}: {told(silent[0])}; no step ends well meanwhile"
        notes.append(Note(Reason.COUNTERS_SILENT, text[:1024], warning=True))
    if heard:
        notes.append(Note("CountersRead", f"{', '.join(heard)}: all pods tell their counters again"))
    return tuple(notes)
