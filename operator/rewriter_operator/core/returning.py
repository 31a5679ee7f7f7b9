"""RETURNING: an earlier revision serves again because a person said so (annotation rewriter.dev/rollback-to).

At once and whole, without steps: it was promoted before, and whoever asks has a reason. Its pods are up before any
request moves; promoted.json follows the traffic, never the other way round, so that a full volume holds up no rollback.
"""

from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus, Rollback
from rewriter_operator.core import capacity, held_up, intents, recording, taken_over
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core.decision import Note, Step, serving_name
from rewriter_operator.core.intents import RollbackRequest
from rewriter_operator.core.recording import Recording
from rewriter_operator.core.states import Event, advance
from rewriter_operator.core.world import Role, World


def begin(world: World, request: RollbackRequest) -> Step:
    """Take the request up: from IDLE, or in place of one that has not moved any request yet."""
    status, now = world.status, world.now
    assert request.to is not None
    name = serving_name(request.to)
    back = Rollback(token=request.token, to=request.to, since=now, attempt_at=now)
    if all(stage.incumbent in (None, request.to) for stage in status.stages) and status.state is State.IDLE:
        done = evolve(back, message=f"{name} serves every stage already", ended_at=rfc3339(now))
        return Step(evolve(status, rollback=done), notes=(Note("RolledBackTo", done.message),))
    state = advance(status.state, Event.RETURN) if status.state is State.IDLE else status.state
    message = f"{name} is brought back by annotation {cycles.ROLLBACK_ANNOTATION}"
    started = evolve(status, state=state, rollback=back, message=message)
    told = f"{message}, asked for {intents.by_whom(world, cycles.ROLLBACK_ANNOTATION)}"
    return Step(started, notes=(Note("RollbackStarted", told[:1024]),), wait_seconds=1)


def bring_back(world: World) -> Step:
    """Pods first, then all requests, then promoted.json."""
    back = world.status.rollback
    assert back and back.to
    return _record(world, back) if back.switched else _switch(world, back)


def _switch(world: World, back: Rollback) -> Step:
    assert back.to is not None
    name, timeout = serving_name(back.to), world.spec.serving.ready_timeout
    deployment = world.deployment(Role.SERVING, back.to.revision)
    listed = taken_over.is_set(world.route)  # with the revision at weight 0: the gateway has met it
    needed = capacity.needed(world, back.to.revision)
    up = capacity.are_up(deployment, needed)
    if up and listed and not world.pods(Role.RECORD):  # an older record pod could still write over the new record
        # A stage that the passthrough serves stays so: nothing was ever verified there.
        stages = [evolve(stage, incumbent=back.to) if stage.incumbent else stage for stage in world.status.stages]
        switched = evolve(back, switched=True, attempt_at=world.now)
        message = f"{name} serves every stage again"
        status = evolve(world.status, stages=stages, rollback=switched, message=message)
        return Step(status, notes=(Note("RolledBackTo", message),))
    why = held_up.words_of(world, Role.SERVING, back.to.revision)
    if world.now - back.since > seconds(timeout) and capacity.is_known(deployment):
        message = f"{name} was not ready within spec.serving.readyTimeout {timeout}; incumbents are as they were{why}"
        status = _ended(world, Event.BROKE, back, message)
        return Step(status, notes=(Note("RollbackFailed", message, warning=True),))
    ready = deployment.ready if deployment else 0
    told = f"bringing {name} back: {ready} of {needed} pods ready{why}"
    return Step(evolve(world.status, message=told), wait_seconds=1)


def _record(world: World, back: Rollback) -> Step:
    assert back.to is not None
    name = serving_name(back.to)
    match recording.state_of(world, back.to.revision, back.attempt, back.attempt_at):
        case Recording.DONE:
            return Step(_ended(world, Event.RETURNED, back, f"{name} serves every stage again"))
        case Recording.DUE_AGAIN:
            again = evolve(back, attempt=back.attempt + 1, attempt_at=world.now)
            why = recording.complaint(world, back.to.revision, back.attempt)
            return recording.failed(world, evolve(world.status, rollback=again), why)
    why = recording.complaint(world, back.to.revision, back.attempt)
    told = f"{name} serves every stage; writing promoted.json" + (f": {why}" if why else "")
    return Step(evolve(world.status, message=told[:1024]))


def _ended(world: World, event: Event, back: Rollback, message: str) -> RewriterReleaseStatus:
    ended = evolve(back, message=message[:1024], ended_at=rfc3339(world.now))
    return evolve(world.status, state=advance(world.status.state, event), rollback=ended)
