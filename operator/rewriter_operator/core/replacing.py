"""Pods of a cycle that are given up: at most three in a phase, and in the gate.

A replacement is written into status before the pod is deleted, so that a crash in between neither forgets nor repeats
one. The next pass deletes what status says is given up.
"""

from rewriter_operator.api.model import evolve
from rewriter_operator.core.decision import Note, Removal, Step
from rewriter_operator.core.world import Role, World

LIMIT = 3
"""Replacements in one phase, and in the gate."""


def give_up(world: World, uid: str, what: str) -> Step | None:
    """Write down that the pod is given up, and why; None when that was done too often."""
    cycle = world.status.cycle
    assert cycle is not None
    stalls = cycle.stalls
    if len(stalls.replaced) >= LIMIT:
        return None
    given = evolve(stalls, replaced=[*stalls.replaced, uid])
    message = f"{what[:900]}; it is replaced ({len(given.replaced)} of {LIMIT})"
    status = evolve(world.status, cycle=evolve(cycle, stalls=given), message=message)
    return Step(status, notes=(Note("PodReplaced", message, warning=True),))


def is_given_up(world: World, uid: str) -> bool:
    """Whether status says so of the pod."""
    cycle = world.status.cycle
    return cycle is not None and uid in cycle.stalls.replaced


def given_up(world: World) -> tuple[Removal, ...]:
    """Pods that status says are given up and that still exist."""
    pods = [*world.pods(Role.TRAINER), *world.pods(Role.SAMPLER)]
    return tuple(
        Removal("Pod", pod.name, pod.uid, "it was given up")
        for pod in pods
        if is_given_up(world, pod.uid) and not pod.deleting
    )
