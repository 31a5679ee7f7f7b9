"""promoted.json: what is written there, by which pod, and when that pod is tried again.

One writer at a time: a record pod that was given up may still write while it ends, so the next one is made only when no
other is left. Attempts have their own numbers because a pod never changes its order.
"""

from enum import StrEnum

from rewriter_contract import wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, WeightsRef
from rewriter_operator.api.status import Cycle, Serving
from rewriter_operator.core.decision import WantedPod
from rewriter_operator.core.world import Role, World

RETRY_SECONDS = 20
"""Between two record pods: what ails the volume rarely goes by itself, and never within a second."""


class Recording(StrEnum):
    """Where the writing of promoted.json is."""

    RUNNING = "Running"
    DONE = "Done"
    FAILED = "Failed"
    """And not to be tried again yet."""
    DUE_AGAIN = "DueAgain"


def state_of(world: World, number: int, attempt: int, attempt_at: float) -> Recording:
    """What became of an attempt that began at `attempt_at` at the earliest."""
    pod = world.pod(Role.RECORD, number, attempt)
    if pod is None or pod.phase not in ("Succeeded", "Failed"):
        return Recording.RUNNING
    if pod.phase == "Succeeded":
        return Recording.DONE
    return Recording.DUE_AGAIN if world.now - attempt_at >= RETRY_SECONDS else Recording.FAILED


def complaint(world: World, number: int, attempt: int) -> str:
    """What the attempt's pod says."""
    pod = world.pod(Role.RECORD, number, attempt)
    return pod.message[:600] if pod else ""


def writers(world: World, number: int, attempt: int, record: PromotionRecord) -> list[WantedPod]:
    """The record pod that should exist now; none while another one could still write."""
    others = [pod for pod in world.pods(Role.RECORD) if pod.deleting or (pod.cycle, pod.number) != (number, attempt)]
    return [] if others else [WantedPod(Role.RECORD, number, attempt, record=record)]


def promotion(world: World, cycle: Cycle) -> PromotionRecord:
    """The candidate serves every stage."""
    assert cycle.candidate is not None
    ref = _ref(cycle.candidate)
    history = {stage.incumbent.weights.version: stage.incumbent for stage in world.status.stages if stage.incumbent}
    return PromotionRecord(
        release=world.release.name,
        revision=cycle.candidate.revision,
        stages={stage.name: ref for stage in world.status.stages},
        recipe=_recipe(cycle.candidate),
        history=tuple(_ref(item) for item in history.values()),
    )


def as_served(world: World) -> PromotionRecord:
    """What serves by status: every stage's incumbent. Revision 0 says that nothing was promoted."""
    incumbents = [stage.incumbent for stage in world.status.stages if stage.incumbent]
    newest = max(incumbents, key=lambda serving: serving.revision, default=None)
    return PromotionRecord(
        release=world.release.name,
        revision=newest.revision if newest else 0,
        stages={stage.name: _ref(stage.incumbent) for stage in world.status.stages},
        recipe=_recipe(newest),
    )


def _ref(serving: Serving | None) -> WeightsRef:
    return WeightsRef(serving.weights.version, serving.weights.digest) if serving else WeightsRef(PASSTHROUGH, "")


def _recipe(serving: Serving | None) -> str:
    return wire.dumps(serving.recipe.to_api()) if serving and serving.recipe else ""
