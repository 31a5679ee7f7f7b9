"""promoted.json: what is written there, by which pod, and when that pod is tried again.

One writer at a time: a record pod that was given up may still write while it ends, so the next one is made only when no
other is left. Attempts have their own numbers because a pod never changes its order. Where a pod writes although it is
gone for the API server (its node was cut off), the volume refuses it: each pod has an order that only rises.
"""

from enum import StrEnum
from typing import Final

from rewriter_contract import wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, WeightsRef
from rewriter_operator.api.model import evolve
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Cycle, RecordWriting, RewriterReleaseStatus, Serving
from rewriter_operator.core import reported
from rewriter_operator.core.decision import Note, Step, WantedPod
from rewriter_operator.core.world import Role, World

RETRY_SECONDS: Final = (20, 600)
"""Between two record pods: what ails the volume rarely goes by itself, and never within a second."""

TOLD_FAILURES: Final = 3
"""Failed attempts after which a person is asked to look."""


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
    return Recording.DUE_AGAIN if world.now - attempt_at >= _retry_seconds(world) else Recording.FAILED


def _retry_seconds(world: World) -> int:
    """The same for the attempts before a person is told, then twice as long each time."""
    failures = world.status.record.failures if world.status.record else 0
    low, high = RETRY_SECONDS
    return min(high, low << min(10, max(0, failures + 1 - TOLD_FAILURES)))


def complaint(world: World, number: int, attempt: int) -> str:
    """What the attempt's pod says."""
    pod = world.pod(Role.RECORD, number, attempt)
    return reported.record_result(pod.message).message[:600] if pod else ""


def failed(world: World, status: RewriterReleaseStatus, why: str) -> Step:
    """`status`, which asks for another attempt, with what became of the last one."""
    before = status.record or RecordWriting()
    record = evolve(before, failures=before.failures + 1, reason=why)
    message = f"writing promoted.json failed: {why}"
    notes = (Note("RecordFailed", trouble(world, record), warning=True),) if record.failures == TOLD_FAILURES else ()
    return Step(evolve(status, record=record, message=message[:1024]), notes=notes)


def trouble(world: World, record: RecordWriting | None) -> str:
    """What a person has to know and do; empty while it may still go by itself."""
    if record is None or record.failures < TOLD_FAILURES:
        return ""
    claim, reason = world.spec.volume.claim_name, record.reason or "the record pod says nothing"
    return (
        f"promoted.json could not be written {record.failures} times: {reason}; look at space, permissions and weight "
        f"sets on the volume of spec.volume.claimName {claim!r}; it is tried on by itself"
    )


def ordered(world: World, status: RewriterReleaseStatus) -> RewriterReleaseStatus:
    """`status` with an order for a record pod that it newly asks for, and without failures once it asks for none.

    The order is above every earlier one of this release, above what a late pod was told is on the volume (another
    release's, before this one was made again over it), and, so that this is rare, not below the time.
    """
    before, now = _asked(world.status), _asked(status)
    record = status.record or RecordWriting()
    if now is None:
        return evolve(status, record=evolve(record, failures=0, reason="")) if record.failures else status
    if now == before:
        return status
    found = max((reported.record_result(pod.message).newer for pod in world.pods(Role.RECORD)), default=0)
    order = max(int(world.now), record.order + 1, found + 1)
    again = before is not None and now[:2] == before[:2]
    return evolve(status, record=evolve(record, order=order) if again else RecordWriting(order=order))


def _asked(status: RewriterReleaseStatus) -> tuple[State, int, int] | None:
    """State, number and attempt of the record pod that `status` asks for."""
    back, cycle = status.rollback, status.cycle
    match status.state:
        case State.RETURNING if back and back.to and back.switched:
            return status.state, back.to.revision, back.attempt
        case State.PROMOTING if cycle:
            return status.state, cycle.number, cycle.attempt
        case State.WITHDRAWING if cycle and cycle.restore_record:
            return status.state, cycle.number, cycle.attempt
        case _:
            return None


def writers(world: World, number: int, attempt: int, record: PromotionRecord) -> list[WantedPod]:
    """The record pod that should exist now; none while another one could still write."""
    others = [pod for pod in world.pods(Role.RECORD) if pod.deleting or (pod.cycle, pod.number) != (number, attempt)]
    order = world.status.record.order if world.status.record else 0
    return [] if others else [WantedPod(Role.RECORD, number, attempt, record=record, order=order)]


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
