"""Trainer and sampler pods that show no progress: since when, when one is replaced, and when the phase is given up.

Only pods whose container runs are judged: one that waits for a node or an image is no better for being made anew, and
spec.training.phaseDeadline ends that wait. How one is replaced is core/replacing.py.
"""

from collections.abc import Iterator
from dataclasses import replace

from rewriter_contract.messages import LoadState, WorkReport, WorkState
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.states import State
from rewriter_operator.api.status import PhaseStep, Quiet
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import replacing, reported, trainers
from rewriter_operator.core.decision import Note, Step
from rewriter_operator.core.slow_shards import sample_paths
from rewriter_operator.core.states import Event
from rewriter_operator.core.validating import validation_paths
from rewriter_operator.core.world import Pod, Role, World

AT_ONCE = 0.0
"""`since` of what no waiting will mend."""


def noted(world: World) -> World:
    """The world with what is seen of quiet pods in its status."""
    cycle = world.status.cycle
    if cycle is None or world.status.state not in (State.TRAINING, State.GATING):
        return world
    known = {(quiet.uid, quiet.sign): quiet.since for quiet in cycle.stalls.quiet}
    quiet = [
        Quiet(uid=pod.uid, name=pod.name, sign=sign, since=known.get((pod.uid, sign), since))
        for pod, sign, since in _quiet(world)
    ]
    if quiet == cycle.stalls.quiet:
        return world
    status = evolve(world.status, cycle=evolve(cycle, stalls=evolve(cycle.stalls, quiet=quiet)))
    return replace(world, release=replace(world.release, status=status))


def trouble(world: World) -> Step | None:
    """Give up a pod that was quiet for too long, or the cycle when that was done too often; None: all go on."""
    cycle, timeout = world.status.cycle, world.spec.training.stall_timeout
    assert cycle is not None
    stalls = cycle.stalls
    overdue = [quiet for quiet in stalls.quiet if world.now - quiet.since > seconds(timeout)]
    stalled = next((quiet for quiet in overdue if quiet.uid not in stalls.replaced), None)
    if stalled is None:
        return None
    how_long = "" if stalled.since == AT_ONCE else f" for over spec.training.stallTimeout {timeout}"
    what = f"{stalled.name} {stalled.sign}{how_long}"
    step = replacing.give_up(world, stalled.uid, what)
    if step is not None:
        return step
    message = f"{what}, and {replacing.LIMIT} pods were replaced before; look at the pods' logs"
    status = cycles.enter(world.status, Event.BROKE, world.now, "PodsStalled", message)
    return Step(status, notes=(Note("PodsStalled", message, warning=True),))


def _quiet(world: World) -> Iterator[tuple[Pod, str, float]]:
    """Pods that should be doing something and show nothing: how, and since when at the latest."""
    cycle = world.status.cycle
    assert cycle is not None
    phase = cycle.phase
    if phase and phase.step is PhaseStep.TRAINING:
        together = trainers.as_one(world, phase.since)
        for number, path in enumerate(trainers.trainer_paths(world)):
            trainer = world.pod(Role.TRAINER, cycle.number, number)
            if trainer and trainer.phase == "Running":
                yield from _of_work(together, trainer, path, phase.since)
        return
    if phase is None and (world.status.state is State.TRAINING or cycle.gate is not None):
        return
    replicas = world.spec.training.samplers.replicas
    for index in range(replicas):
        pod = world.pod(Role.SAMPLER, cycle.number, index)
        if pod is None or pod.phase != "Running":
            continue
        state = world.samplers.get(index)
        if state is None:
            yield pod, "does not answer", world.now
        elif state.state is LoadState.LOADING:
            yield pod, "loads weights", world.now
        elif phase and phase.step is PhaseStep.VALIDATING:
            yield from _of_work(world, pod, validation_paths(world)[index], phase.since)
        elif phase and phase.step is PhaseStep.SAMPLING:
            for path in (path for sampler, path in sample_paths(world) if sampler == index):
                yield from _of_work(world, pod, path, phase.since)
        elif phase is None and cycle.gate_side:
            shard = cycle.extensions * replicas + index
            yield from _of_work(world, pod, f"/v1/evidence/{cycle.number}/{cycle.gate_side}/{shard}", cycle.since)


def _of_work(world: World, pod: Pod, path: str, since: float) -> Iterator[tuple[Pod, str, float]]:
    report = world.works.get(path)
    if report is None:
        if path not in world.unknown_works:
            yield pod, "does not answer", world.now
        return
    beat = reported.heartbeat(report, since, world.now)
    if report.state is WorkState.RUNNING and world.now - beat > seconds(world.spec.training.stall_timeout) / 2:
        yield pod, "works without a sign of progress", beat  # told of late, so that status is not written at every beat
    elif report.state is WorkState.CANCELLED:
        yield pod, "cancelled its work", AT_ONCE
    elif report.state is WorkState.DONE and pod.role is Role.TRAINER and reported.weights(report.weights) is None:
        yield pod, "is done and names no weights", AT_ONCE
    elif report.state is WorkState.DONE and pod.role is Role.SAMPLER and _without_result(world, report):
        yield pod, "is done without a result that can be read", world.now


def _without_result(world: World, report: WorkReport) -> bool:
    """A shard that cannot be named, or evidence whose rows did not come."""
    cycle = world.status.cycle
    assert cycle is not None
    if world.status.state is State.GATING:
        return cycle.gate_side not in world.evidence
    return reported.shard(report.shard) is None
