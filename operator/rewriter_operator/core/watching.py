"""A share that was verified is watched on: is it still the one that was set?

A route can be edited below the operator's repair, and a data plane can lose its weights during a pause of two days. So
from its verification on, until the next share or the end, every stage's requests are held against the set share at
every look. One that is certainly another makes the rollout doubt: nothing advances, an Event says so, and the share
must be verified anew, within spec.rollout.verification.timeout, or the candidate is taken back.

Requests are counted in windows, because an hour of right ones would hide a minute of wrong ones. A window ends after
WINDOW_REQUESTS, and whenever a pod came, went or restarted: what that pod had answered can no longer be counted, and
its absence must not look like a share that moved. While some pod's counters are unknown, nothing is concluded. Every
window is a test of its own, so the n-th one gets ALPHA / (n * (n + 1)) of the false alarms: over a whole cycle, with
any number of windows and looks, they add up to at most ALPHA (Ville's inequality and the union bound).
"""

from dataclasses import dataclass, replace
from typing import Final

from rewriter_contract.messages import ServingStats
from rewriter_operator.api.conditions import Reason
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Counters, PodRequests, ShareWatch, StageStatus
from rewriter_operator.core.counters import believed, unread
from rewriter_operator.core.decision import Note, serving_name
from rewriter_operator.core.shares import is_surely_another, share_is_real
from rewriter_operator.core.traffic import Look
from rewriter_operator.core.world import World

ALPHA: Final = 0.001
"""Of cycles whose data plane did what was set, the part in which any stage's share is ever doubted."""

WINDOW_REQUESTS: Final = 10_000
"""A share that is lost shows within a part of it, however long it was right before."""


@dataclass(frozen=True)
class Watched:
    """The world with every stage's watch one look later, and what there is to tell about it."""

    world: World
    notes: tuple[Note, ...] = ()


def watched(world: World) -> Watched:
    """Look at every share that was verified; doubt those that are certainly others."""
    stages = [_watched(world, stage) for stage in world.status.stages]
    notes = tuple(
        note for before, after in zip(world.status.stages, stages, strict=True) for note in _notes(before, after)
    )
    if stages == world.status.stages:
        return Watched(world, notes)
    return Watched(replace(world, release=replace(world.release, status=evolve(world.status, stages=stages))), notes)


def doubted(stage: StageStatus) -> str | None:
    """Why the share is no longer taken for the set one; None while it is."""
    return stage.watch.doubt if stage.watch and stage.watch.doubt_since else None


def any_doubted(world: World) -> str | None:
    """The first stage that is in doubt, and why: no stage goes on beside it."""
    found = ((stage.name, doubted(stage)) for stage in world.status.stages)
    return next((f"{name} is in doubt: {doubt}" for name, doubt in found if doubt is not None), None)


def overdue(world: World, stage: StageStatus) -> str | None:
    """The sentence that ends the rollout: a doubted share that was not verified anew in time."""
    doubt, timeout = doubted(stage), world.spec.rollout.verification.timeout
    if doubt is None or stage.watch is None or world.now - stage.watch.doubt_since <= seconds(timeout):
        return None
    return f"{stage.name}: {doubt}; it was not verified anew within {timeout}"


def _watched(world: World, stage: StageStatus) -> StageStatus:
    watch = stage.watch
    is_watched = stage.share and (stage.verified or (watch is not None and watch.doubt_since > 0))
    if not is_watched or unread(world, stage) is not None:
        return stage
    told = {pod.boot_id: pod for pod in believed(world, stage)}
    if watch is None or watch.share != stage.share or not _is_whole(watch, stage, told):
        return _counted_anew(stage, told)
    seen = _since(watch, stage, told, serving_name(world.status.cycle.candidate if world.status.cycle else None))
    if watch.doubt_since:
        return _verified_anew(world, stage, seen, told)
    alpha = ALPHA / len(world.status.stages) / (watch.number * (watch.number + 1))
    if seen.requests and is_surely_another(seen.candidate.requests, seen.requests, stage.share, alpha):
        doubt = f"share {stage.share} % set, {seen.observed_share:.1f} % observed on {seen.requests} requests of late"
        fresh = _counted_anew(stage, told)
        return _with_doubt(fresh, doubt, world.now)
    return _counted_anew(stage, told) if seen.requests >= WINDOW_REQUESTS else stage


def _verified_anew(world: World, stage: StageStatus, seen: Look, told: dict[str, ServingStats]) -> StageStatus:
    check = world.spec.rollout.verification
    if not share_is_real(seen, stage.share, check.min_requests, check.alpha):
        return stage
    return _with_doubt(_counted_anew(stage, told), "", 0)


def _with_doubt(stage: StageStatus, doubt: str, since: float) -> StageStatus:
    assert stage.watch is not None
    return evolve(stage, verified=not doubt, watch=evolve(stage.watch, doubt=doubt, doubt_since=since))


def _counted_anew(stage: StageStatus, told: dict[str, ServingStats]) -> StageStatus:
    """The next window; a doubt stays, and with it the time that it has."""
    before = stage.watch or ShareWatch()
    pods = [PodRequests(boot_id=boot_id, requests=_requests(pod, stage)) for boot_id, pod in sorted(told.items())]
    is_same = before.share == stage.share
    return evolve(
        stage,
        watch=ShareWatch(
            share=stage.share,
            number=before.number + 1,
            pods=pods,
            doubt=before.doubt if is_same else "",
            doubt_since=before.doubt_since if is_same else 0,
        ),
    )


def _is_whole(watch: ShareWatch, stage: StageStatus, told: dict[str, ServingStats]) -> bool:
    """Whether all the requests since the window's beginning can be counted: the same lives of pods, all going on."""
    same = {pod.boot_id for pod in watch.pods} == told.keys()
    return same and all(_requests(told[pod.boot_id], stage) >= pod.requests for pod in watch.pods)


def _since(watch: ShareWatch, stage: StageStatus, told: dict[str, ServingStats], candidate: str) -> Look:
    sides = {True: 0, False: 0}
    for before in watch.pods:
        pod = told[before.boot_id]
        sides[pod.revision == candidate] += _requests(pod, stage) - before.requests
    return Look(candidate=Counters(requests=sides[True]), others=Counters(requests=sides[False]))


def _requests(pod: ServingStats, stage: StageStatus) -> int:
    return pod.stages[stage.name].requests if stage.name in pod.stages else 0


def _notes(before: StageStatus, after: StageStatus) -> tuple[Note, ...]:
    old, new = doubted(before), doubted(after)
    if new is not None and old is None:
        return (
            Note(
                Reason.SHARE_DOUBTED, f"{after.name}: {new}; nothing advances until it is verified anew", warning=True
            ),
        )
    if old is not None and new is None:
        return (Note("ShareVerifiedAnew", f"{after.name}: share {after.share} % is observed again"),)
    return ()
