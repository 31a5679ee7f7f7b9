"""The trainer's pods, of one phase: one, or several that train together (spec.training.trainer.replicas).

Each is given the same order. They find each other by themselves (torchrun), and whichever has the first worker tells
how far the phase is and what it published. A pod that is lost and comes back is told again, and so are those whose work
failed for want of it; all of them go on from the last checkpoint.
"""

from dataclasses import replace

from rewriter_contract.messages import PEER_LOST, WorkReport, WorkState
from rewriter_operator.core import reported
from rewriter_operator.core.world import Role, World


def trainer_paths(world: World) -> list[str]:
    """The call of each trainer pod, by its number. Works are known by their calls, so no two pods have the same."""
    cycle, replicas = world.status.cycle, world.spec.training.trainer.replicas
    if not (cycle and cycle.phase):
        return []
    path = f"/v1/phases/{cycle.number}/{cycle.phase.number}"
    return [path] if replicas == 1 else [f"{path}/{number}" for number in range(replicas)]


def done(world: World) -> list[WorkReport]:
    """Of the pods whose work is done; the one that had the first worker names the weights."""
    return [world.works[path] for path in trainer_paths(world) if _is(world, path, WorkState.DONE)]


def failure(world: World) -> WorkReport | None:
    """Why the phase fails: what one pod says of it; that it lost another one only where all of them are there."""
    paths = trainer_paths(world)
    failed = [world.works[path] for path in paths if _is(world, path, WorkState.FAILED)]
    causes = [report for report in failed if report.reason != PEER_LOST]
    if causes:
        return min(causes, key=lambda report: report.heartbeat_at)
    all_there = all(path in world.works and not _is(world, path, WorkState.CANCELLED) for path in paths)
    return min(failed, key=lambda report: report.heartbeat_at) if failed and all_there else None


def waited_for(world: World) -> str | None:
    """The first pod that does not answer; without all of them none need begin."""
    cycle = world.status.cycle
    assert cycle is not None
    paths = trainer_paths(world)
    for number, path in enumerate(paths):
        if path in world.works or path in world.unknown_works:
            continue
        pod = world.pod(Role.TRAINER, cycle.number, number)
        which = "the trainer" if len(paths) == 1 else f"trainer {number}"
        return f"waiting for {which}" + (f": {pod.message}" if pod and pod.message else "")
    return None


def untold(world: World) -> tuple[int, str] | None:
    """The next pod to be given the order: those that lost a peer first, while it still shows that it was away."""
    paths = trainer_paths(world)
    unknown = [(number, path) for number, path in enumerate(paths) if path in world.unknown_works]
    again = [(number, path) for number, path in enumerate(paths) if unknown and _is(world, path, WorkState.FAILED)]
    return next(iter([*again, *unknown]), None)


def furthest(world: World) -> WorkReport:
    """The report of the pod that tells how far the phase is, and the newest sign of progress of all."""
    reports = [world.works[path] for path in trainer_paths(world)]
    return max(reports, key=lambda report: (report.total > 0, report.done, report.heartbeat_at))


def as_one(world: World, since: float) -> World:
    """The world in which each pod shows the signs of progress of all: only the one with the first worker has any.

    While one of them waits for a node, the others wait for it: none has stopped. A pod that is done goes on with the
    others, until all are.
    """
    cycle, paths = world.status.cycle, trainer_paths(world)
    if cycle is None or len(paths) == 1:
        return world
    pods = [world.pod(Role.TRAINER, cycle.number, number) for number in range(len(paths))]
    reports = {path: world.works[path] for path in paths if path in world.works}
    waits = not all(pod and pod.phase == "Running" for pod in pods)
    beats = [reported.heartbeat(report, since, world.now) for report in reports.values()]
    beat = world.now if waits else max(beats, default=since)
    all_done = all(_is(world, path, WorkState.DONE) for path in paths)
    told = {
        path: replace(report, state=WorkState.RUNNING, heartbeat_at=beat)
        if report.state is WorkState.RUNNING or (report.state is WorkState.DONE and not all_done)
        else report
        for path, report in reports.items()
    }
    return replace(world, works={**world.works, **told})


def _is(world: World, path: str, state: WorkState) -> bool:
    report = world.works.get(path)
    return report is not None and report.state is state
