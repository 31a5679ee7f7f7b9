"""Has the data plane taken the route over? Whoever tells is believed; where nobody does, the counters of pods show it.

A gateway accepts a route at its generation. Istio's control says nothing, and nothing is not yes. What acceptance would
have stood for is then seen, or waited for (docs/decisions/0032):

- a share is in force once it was verified; until then no step goes on, and nothing is promoted;
- a candidate, or a revision of before, is off the route once its pods have answered nothing for a while, whatever was
  written into the route; as long as they answer they stay, and so does the state that takes the candidate back;
- what has no request yet needs no proof: its first share is verified like every other.
"""

from typing import Final

from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Leaving, PodRequests, RewriterReleaseStatus, StageStatus
from rewriter_operator.core.counters import MAX_BOOT_ID
from rewriter_operator.core.world import Pod, Role, Route, World

QUIET_SECONDS: Final = 10.0
"""A candidate that has answered nothing for this long is off the route."""

LOOK_SECONDS: Final = 2.5
"""Between two writes of what is still answered: a look in between finds it again later."""

MOST_PODS: Final = 1024


def is_set(route: Route | None) -> bool:
    """Whether the route, as it is, was not refused, and was accepted by whoever tells."""
    return route is not None and (route.accepted is True or (route.accepted is None and not route.tells_acceptance))


def unproven(route: Route | None, stage: StageStatus) -> bool:
    """Whether the stage's share is only written, and nobody has accepted it or seen it."""
    return route is not None and route.accepted is not True and stage.share > 0 and not stage.verified


def is_off(world: World, status: RewriterReleaseStatus, seconds: float) -> bool:
    """Whether no request reaches those that the route no longer gives any."""
    route = world.route
    if route is None:
        return False
    if route.tells_acceptance:
        return route.accepted is True
    leaving = status.leaving
    return leaving is not None and world.now - leaving.since >= seconds


def asks_leaving(world: World) -> bool:
    """Whether the counters of pods without requests matter now."""
    route = world.route
    silent = route is not None and not route.tells_acceptance
    return silent and (world.status.state is State.WITHDRAWING or world.status.draining_since > 0)


def noted(world: World, serving: set[int]) -> RewriterReleaseStatus:
    """The status with when the pods of revisions that serve nobody last answered; `serving`: those that still should.

    Before anything is concluded from it: the last look may be long ago.
    """
    status = world.status
    if not asks_leaving(world):
        return evolve(status, leaving=None) if status.leaving else status
    if status.state is State.WITHDRAWING and status.cycle and status.cycle.candidate:
        serving = serving - {status.cycle.candidate.revision}
    pods = [pod for pod in world.pods(Role.SERVING) if pod.cycle not in serving]
    return evolve(status, leaving=_looked(world, status.leaving, pods))


def still_answering(status: RewriterReleaseStatus, now: float) -> str:
    """Why what leaves is still there, for a message; empty where it is quiet."""
    leaving = status.leaving
    return leaving.told if leaving is not None and now - leaving.since < QUIET_SECONDS else ""


def _looked(world: World, before: Leaving | None, pods: list[Pod]) -> Leaving:
    known = {pod.boot_id: pod.requests for pod in before.pods} if before else {}
    counts, told = {}, ""
    for pod in pods:
        stats = world.stats.get(pod.name)
        if stats is None or not 0 < len(stats.boot_id) <= MAX_BOOT_ID:
            told = told or (f"pod {pod.name} tells no counters" if pod.ready and not pod.deleting else "")
            continue
        counts[stats.boot_id] = max(
            0, sum(stage.requests for stage in (*stats.stages.values(), *stats.shadowed.values()))
        )
        if counts[stats.boot_id] > known.get(stats.boot_id, 0):
            told = told or f"pod {pod.name} answered requests less than {QUIET_SECONDS:.0f} s ago"
    entries = [PodRequests(boot_id=boot_id, requests=count) for boot_id, count in sorted(counts.items())]
    if before is not None and told and world.now - before.since < LOOK_SECONDS:
        return before
    if before is None or told:
        return Leaving(since=world.now, pods=entries[:MOST_PODS], told=told)
    return evolve(before, pods=entries[:MOST_PODS])
