"""A shard that its sampler is slow with is drawn by another sampler too; whichever drawing ends first is trained on.

The trainer waits for the last shard, so that one sampler on a slow or broken node holds up the whole phase. A sampler
that is done with its own shard is idle until the next sync: drawing twice costs nothing but its time (MapReduce's
backup tasks, Dean and Ghemawat 2004, section 3.6). Seeds belong to rows, so that both drawings ask for the same.

The second drawing has a number and a file of its own: of two writers of one file, one's digest and the other's bytes
could be what is left. It is a help, never a condition: where it fails, the shard's own sampler is waited for as before.
"""

import math
from collections.abc import Collection
from typing import Final

from rewriter_contract.messages import LoadState, WeightsRef, WorkReport, WorkState
from rewriter_operator.api.model import evolve
from rewriter_operator.api.status import Phase, Shard, Takeover
from rewriter_operator.core import reported
from rewriter_operator.core.decision import Note, Step
from rewriter_operator.core.world import World

BEHIND: Final = 1.5
"""A shard is looked at once it has taken this many times what another sampler needed for the whole of its own."""

MIN_SECONDS: Final = 60.0
"""No shard is slow before: what drawing twice could save is not worth a sentence."""

LOOK_SECONDS: Final = 10.0
"""Between what is said of a phase and the next takeover: also where a CRD of before does not store takeovers."""


def sample_paths(world: World) -> list[tuple[int, str]]:
    """Which sampler is asked for which shard: each for its own, and some for another one's too."""
    cycle = world.status.cycle
    if not (cycle and cycle.phase):
        return []
    own = [(index, own_path(world, index)) for index in range(world.spec.training.samplers.replicas)]
    return own + [(takeover.sampler, second_path(world, takeover)) for takeover in cycle.phase.takeovers]


def own_path(world: World, shard: int) -> str:
    """The call for a shard, at its own sampler."""
    cycle = world.status.cycle
    assert cycle and cycle.phase
    return f"/v1/samples/{cycle.number}/{cycle.phase.number}/{shard}"


def second_number(world: World, shard: int) -> int:
    """The number of a shard's second drawing, in its call and in the name of its file."""
    return world.spec.training.samplers.replicas + shard


def second_path(world: World, takeover: Takeover) -> str:
    """The call for the second drawing."""
    return own_path(world, second_number(world, takeover.shard))


def drawn(world: World, phase: Phase) -> dict[int, Shard]:
    """The shards that are done, by their index; of two drawings the shard's own."""
    found: dict[int, Shard] = {}
    for index in range(world.spec.training.samplers.replicas):
        reports = [world.works.get(own_path(world, index)), _second(world, phase, index)]
        shards = [shard for report in reports if (shard := _done(report)) is not None]
        if shards:
            found[index] = shards[0]
    return found


def is_drawn_elsewhere(world: World, phase: Phase, shard: int) -> bool:
    """Whether a second drawing is under way or done, so that the shard's own sampler need not be told again."""
    report = _second(world, phase, shard)
    return report is not None and report.state in (WorkState.RUNNING, WorkState.DONE)


def furthest(world: World, phase: Phase) -> list[WorkReport]:
    """What is known of each shard: of two drawings the one that is further."""
    found = []
    for index in range(world.spec.training.samplers.replicas):
        reports = [world.works.get(own_path(world, index)), _second(world, phase, index)]
        told = [report for report in reports if report is not None]
        if told:
            found.append(max(told, key=_part))
    return found


def next_order(world: World, phase: Phase) -> Takeover | None:
    """A takeover whose sampler has yet to be told of it, and can be."""
    done = drawn(world, phase)
    return next(
        (
            takeover
            for takeover in phase.takeovers
            if takeover.shard not in done
            and second_path(world, takeover) in world.unknown_works
            and _has_weights(world, phase, takeover.sampler)
        ),
        None,
    )


def take_over(world: World, phase: Phase) -> Step | None:
    """Have the slowest shard drawn a second time, where a sampler is idle and would be done sooner; None: no need."""
    done, taken = drawn(world, phase), {takeover.shard for takeover in phase.takeovers}
    idle = _idle(world, phase, done)
    waited_for = [index for index in range(world.spec.training.samplers.replicas) if index not in {*done, *taken}]
    if not (idle and waited_for) or world.now - phase.progress_at < LOOK_SECONDS:
        return None
    elapsed = world.now - phase.since
    sampler = min(idle, key=lambda index: idle[index])
    slowest = max(waited_for, key=lambda shard: _seconds_left(world, shard, elapsed))
    if elapsed < max(BEHIND * idle[sampler], MIN_SECONDS) or _seconds_left(world, slowest, elapsed) <= idle[sampler]:
        return None
    message = (
        f"phase {phase.number}: sampler {sampler} draws shard {slowest} too: its own took it {idle[sampler]:.0f} s, "
        f"and sampler {slowest} {_how_far(world, slowest)} after {elapsed:.0f} s"
    )
    takeover = Takeover(shard=slowest, sampler=sampler, since=world.now)
    return _told(world, evolve(phase, takeovers=[*phase.takeovers, takeover], progress_at=world.now), message)


def _told(world: World, phase: Phase, message: str) -> Step:
    cycle = world.status.cycle
    assert cycle is not None
    status = evolve(world.status, cycle=evolve(cycle, phase=phase), message=message)
    return Step(status, notes=(Note("ShardTakenOver", message),))


def _idle(world: World, phase: Phase, done: Collection[int]) -> dict[int, float]:
    """Samplers that have drawn their own shard and no other one's -> the seconds that they needed."""
    busy = {
        takeover.sampler
        for takeover in phase.takeovers
        if takeover.shard not in done and not _has_failed(_second(world, phase, takeover.shard))
    }
    found = {}
    for index in range(world.spec.training.samplers.replicas):
        report = world.works.get(own_path(world, index))
        if report is not None and _done(report) and index not in busy and _has_weights(world, phase, index):
            found[index] = max(0.0, reported.heartbeat(report, phase.since, world.now) - phase.since)
    return found


def _seconds_left(world: World, shard: int, elapsed: float) -> float:
    """By what it has drawn so far; infinite where that is nothing, or unknown."""
    report = world.works.get(own_path(world, shard))
    part = _part(report) if report is not None and report.state is WorkState.RUNNING else 0.0
    return elapsed * (1 - part) / part if part > 0 else math.inf


def _part(report: WorkReport) -> float:
    """How much of it is done, 0 to 1."""
    if report.state is WorkState.DONE:
        return 1.0
    return min(max(report.done, 0), report.total) / report.total if report.total > 0 else 0.0


def _how_far(world: World, shard: int) -> str:
    report = world.works.get(own_path(world, shard))
    if report is None:
        return "does not say how far it is"
    return f"has drawn {_part(report):.0%} of it" if report.state is WorkState.RUNNING else "has none"


def _second(world: World, phase: Phase, shard: int) -> WorkReport | None:
    takeover = next((item for item in phase.takeovers if item.shard == shard), None)
    return world.works.get(second_path(world, takeover)) if takeover is not None else None


def _done(report: WorkReport | None) -> Shard | None:
    return reported.shard(report.shard) if report is not None and report.state is WorkState.DONE else None


def _has_failed(report: WorkReport | None) -> bool:
    return report is not None and report.state in (WorkState.FAILED, WorkState.CANCELLED)


def _has_weights(world: World, phase: Phase, sampler: int) -> bool:
    state = world.samplers.get(sampler)
    wanted = WeightsRef(phase.weights.version, phase.weights.digest)
    return state is not None and state.state is LoadState.READY and state.weights == wanted
