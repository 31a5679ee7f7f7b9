"""What every step with samplers needs: all of them on one version, patience, and the end of the cycle where none helps.

For training, validation and the gate. A sampler that restarted is simply told again. What differs with
spec.training.sync.method Restart is core/restarting.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rewriter_contract import wire
from rewriter_contract.messages import (
    FusionTerm,
    LoadState,
    RewardConfig,
    SamplerState,
    WeightsOrder,
    WeightsRef,
    WorkReport,
    WorkState,
)
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Phase, Weights
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import replacing, reported, restarting
from rewriter_operator.core.decision import Note, OrderToPod, Removal, Step
from rewriter_operator.core.reward import reward_config
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import Pod, Role, World

RETRY_SECONDS = 15
"""Between two tries of work or of a sync that failed."""

SYNC_TRIES_SECONDS = 90
"""A version that samplers still refuse after this long ends the cycle: the files are bad, not the moment."""


START_TRY_SECONDS = 30
"""With Restart: a pod that could not load its weights is replaced when it is this old: a volume has its time."""

OTHER_WAY = "; where the files are good, spec.training.sync.method: Restart loads them without a reload in place"


@dataclass(frozen=True)
class Ask:
    """Work for one sampler."""

    index: int
    path: str
    order: Any
    what: str
    """The work, as a sentence names it: `sampling`."""


def sync(world: World, weights: Weights, since: float) -> Step | None:
    """Bring all samplers to `weights`; None once they all run it."""
    old = restarting.made_for_others(world, weights)
    if old:
        return replace(waiting(world, f"samplers are replaced, to come up with {weights.version}"), replace=old)
    for index in range(world.spec.training.samplers.replicas):
        state = world.samplers.get(index)
        if state is None:
            pod = _sampler(world, index)
            return waiting(world, f"waiting for sampler {index}" + (f": {pod.message}" if pod and pod.message else ""))
        if state.state is LoadState.READY and state.weights == WeightsRef(weights.version, weights.digest):
            continue
        if state.state is LoadState.LOADING:
            return waiting(world, f"sampler {index} loads {weights.version}")
        refused = bool(state.message)
        if restarting.restarts(world) and (refused or state.weights is not None):
            return _came_up_without(world, index, weights, state)
        if refused and world.now - since > SYNC_TRIES_SECONDS:
            what = f"sampler {index} refused {weights.version}: {state.message}"
            return broke(world, "SyncFailed", what + (OTHER_WAY if state.weights is not None else ""))
        if refused and int(world.now - since) % RETRY_SECONDS > 2:
            return waiting(world, f"sampler {index} refused {weights.version}: {state.message}")
        order = WeightsOrder(version=weights.version, digest=weights.digest)
        return Step(world.status, order=OrderToPod(Role.SAMPLER, index, "/v1/weights", order))
    return None


def _came_up_without(world: World, index: int, weights: Weights, state: SamplerState) -> Step:
    """A sampler that was made for `weights` and could not load them: a new process may, a reload must not be tried."""
    pod = _sampler(world, index)
    words = state.message or f"it runs {state.weights.version if state.weights else 'nothing'}"
    what = f"sampler {index} did not come up with {weights.version}: {words}"
    if pod is None or world.now - pod.created_at < START_TRY_SECONDS or replacing.is_given_up(world, pod.uid):
        return waiting(world, what)
    step = replacing.give_up(world, pod.uid, what)
    return step or broke(world, "SyncFailed", f"{what}; {replacing.LIMIT} pods were replaced before")


def work_of_all(world: World, phase: Phase, asks: Sequence[Ask]) -> list[WorkReport] | Step:
    """What is known of each ask; or the step that orders the next one, or gives up."""
    reports = []
    for ask in asks:
        report = world.works.get(ask.path)
        if report is None or report.state is WorkState.FAILED:
            step = _order(world, phase, ask, report)
            if step is not None:
                return step
        if report is not None:
            reports.append(report)
    return reports


def _order(world: World, phase: Phase, ask: Ask, report: WorkReport | None) -> Step | None:
    """Order it; None when the sampler must be given time."""
    synced = sync(world, phase.weights, phase.since)
    if synced is not None:  # a sampler restarted: it needs its weights before it may work
        return synced
    if report is not None:
        if world.now - phase.since > seconds(world.spec.training.stall_timeout):
            reason = reported.failure(report, f"{ask.what.title()}Failed")
            return broke(world, reason, f"sampler {ask.index}: {report.message}")
        if world.now - report.heartbeat_at < RETRY_SECONDS:
            return waiting(world, f"{ask.what} failed and is tried again: {report.message}")
    elif ask.path not in world.unknown_works:
        return waiting(world, f"sampler {ask.index} does not answer")
    return Step(world.status, order=OrderToPod(Role.SAMPLER, ask.index, ask.path, ask.order))


def waiting(world: World, message: str) -> Step:
    """Nothing to do but look again; the message is for people, and written seldom enough."""
    status = world.status
    return Step(status if status.message == message else evolve(status, message=message[:1024]))


def broke(world: World, reason: str, message: str) -> Step:
    """End the cycle as Failed."""
    status = cycles.enter(world.status, Event.BROKE, world.now, reason, message)
    return Step(status, notes=(Note(reason, message, warning=True),))


def failed_pod(world: World, role: Role) -> tuple[Removal, ...]:
    """Pods of `role` that ended by themselves: removed, so that they are made anew, but not one after the other."""
    return tuple(
        Removal("Pod", pod.name, pod.uid, f"{pod.name} ended: {pod.message}"[:300])
        for pod in world.pods(role)
        if pod.phase in ("Failed", "Succeeded")
        and not pod.deleting
        and world.now - pod.created_at >= RETRY_SECONDS  # a node that refuses its pods does so within a second
    )


def cycle_reward(world: World) -> RewardConfig:
    """The cycle's reward, exactly as it was when the cycle was prepared, the relevance model included.

    Pods of a cycle from before orders named the model are not told it: they would refuse the order. What they measured
    is held against the cycle's model by the gate.
    """
    cycle = world.status.cycle
    assert cycle is not None
    terms = wire.loads(tuple[FusionTerm, ...], cycle.fusion, "status.cycle.fusion")
    config = reward_config(world.spec.reward, terms, cycle.reward_revision, world.release.namespace)
    if cycle.contract < cycles.NAMES_ITS_MODEL:
        return config
    return replace(config, relevance_model=cycle.relevance_model)


def _sampler(world: World, index: int) -> Pod | None:
    cycle = world.status.cycle
    return world.pod(Role.SAMPLER, cycle.number, index) if cycle else None
