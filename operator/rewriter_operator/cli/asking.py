"""What a verb writes: exactly one annotation that the operator takes, or the sentence why it would not take it.

Pure. The operator's own functions say what is awaited and what is known (core/intents.py, core/states.py), so that the
plugin and the operator cannot disagree; the operator decides again when it reads the annotation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from rewriter_operator.api.conditions import ConditionType, Reason
from rewriter_operator.api.states import State
from rewriter_operator.api.status import Outcome
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import intents
from rewriter_operator.core.decision import serving_name
from rewriter_operator.core.states import Event, allows
from rewriter_operator.core.world import World

ASKED_ANNOTATION: Final = intents.ASKED_ANNOTATION
MAX_ASKED: Final = 512


class Refusal(Exception):
    """What was asked for cannot be done; the text says what stands against it and what to do."""


@dataclass(frozen=True)
class Ask:
    """One annotation, and what will come of it."""

    annotation: str
    value: str
    then: str
    """`cycle 7 ends as Aborted`"""


@dataclass(frozen=True)
class Wish:
    """What a person typed."""

    verb: str
    target: str = ""
    """A cycle, a revision, or a stage; empty: the one there is."""
    token: str = ""
    """Something never used before, for what may be asked again."""


def ask(world: World, wish: Wish) -> Ask:
    """The annotation that carries the wish out.

    Raises:
        Refusal: when the operator would not take it as things are.
    """
    if world.status.state is State.BOOTSTRAPPING:
        raise Refusal(
            f"{wish.verb}: {world.release.name} is being set up (state Bootstrapping) and takes no requests yet; "
            "its first cycle starts by itself"
        )
    return VERBS[wish.verb](world, wish)


def asked(wish: Wish, made: Ask, who: str, why: str) -> str:
    """Value of the annotation that says who and why."""
    said = f"{wish.verb} {made.value} by {who}" + (f": {why}" if why else "")
    return " ".join(said.split())[:MAX_ASKED]


def _approve(world: World, wish: Wish) -> Ask:
    decision = intents.awaited_decision(world)
    if decision:
        return _approve_candidate(world, wish, decision)
    promotion = intents.awaited_promotion(world)
    if promotion:
        return _approve_promotion(world, wish, promotion)
    awaited = intents.awaited_approvals(world)
    fitting = {value: stage for value, stage in awaited.items() if wish.target in ("", stage.name, value)}
    if not awaited:
        raise Refusal(f"approve: nothing waits for approval; {_situation(world)}")
    if not fitting:
        raise Refusal(f"approve: got {wish.target!r}; {' and '.join(awaited)} is waited for")
    if len(fitting) > 1:
        names = ", ".join(stage.name for stage in fitting.values())
        raise Refusal(f"approve: several stages wait; name one of {names}")
    ((value, stage),) = fitting.items()
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == value:
        raise Refusal(f"approve: {value} is approved already; {stage.name}: {stage.message}")
    return Ask(
        cycles.APPROVE_ANNOTATION, value, f"{stage.name} goes on as soon as nothing about its traffic is in doubt"
    )


def _approve_candidate(world: World, wish: Wish, awaited: str) -> Ask:
    """What the gate left to a person."""
    if wish.target not in ("", "gate", awaited):
        raise Refusal(f"approve: got {wish.target!r}; {awaited} is waited for")
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == awaited:
        raise Refusal(f"approve: {awaited} is approved already; {_situation(world)}")
    then = "the candidate is deployed and gets its share step by step, although the gate could not decide"
    return Ask(cycles.APPROVE_ANNOTATION, awaited, then)


def _approve_promotion(world: World, wish: Wish, awaited: str) -> Ask:
    """What spec.rollout.autoPromote: false left to a person."""
    if wish.target not in ("", "promotion", awaited):
        raise Refusal(f"approve: got {wish.target!r}; {awaited} is waited for")
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == awaited:
        raise Refusal(f"approve: {awaited} is approved already; {_situation(world)}")
    then = "the candidate becomes the incumbent of every stage, as soon as nothing about its traffic is in doubt"
    return Ask(cycles.APPROVE_ANNOTATION, awaited, then)


def _abort(world: World, wish: Wish) -> Ask:
    status, cycle = world.status, world.status.cycle
    if cycle is None or cycle.number == 0:
        raise Refusal(f"abort: no cycle runs; {_situation(world)}")
    if wish.target not in ("", str(cycle.number)):
        raise Refusal(f"abort: got {wish.target!r}; cycle {cycle.number} runs")
    if not allows(status.state, Event.ABORTED):
        ended = f" as {cycle.outcome}" if cycle.outcome else ""
        raise Refusal(f"abort: cycle {cycle.number} is ending already{ended} (state {status.state})")
    shares = any(stage.share for stage in status.stages)
    copies = any(stage.shadow for stage in status.stages)
    first = "its share is taken back, and " if shares else "nothing is mirrored to it any more, and " if copies else ""
    return Ask(cycles.ABORT_ANNOTATION, str(cycle.number), f"{first}cycle {cycle.number} ends as Aborted")


def _run(world: World, wish: Wish) -> Ask:
    status, token = world.status, intents.run_token(world)
    if world.spec.suspend:
        raise Refusal("run: spec.suspend is true and no cycle starts; set it to false first")
    if token and token != status.last_run_token:
        raise Refusal(
            f"run: a cycle is asked for already (annotation {cycles.RUN_ANNOTATION}: {token}); {_situation(world)}"
        )
    held = _held_up(world)
    if status.state is not State.IDLE:
        return Ask(cycles.RUN_ANNOTATION, wish.token, f"the next cycle starts when this is over: {_situation(world)}")
    start = f"cycle {status.last_cycle_number + 1} starts"
    return Ask(cycles.RUN_ANNOTATION, wish.token, f"{start} once this is mended: {held}" if held else start)


def _retry(world: World, wish: Wish) -> Ask:
    """The way to retry is a new cycle; a cycle is never repeated (decision 0008)."""
    history = world.status.history
    if world.status.state is not State.IDLE:
        raise Refusal(f"retry: there is nothing to retry yet; {_situation(world)}")
    if not history:
        raise Refusal("retry: no cycle has ended yet; start one with: kubectl rewriter run " + world.release.name)
    if history[0].outcome is Outcome.PROMOTED:
        raise Refusal(
            f"retry: cycle {history[0].number} was promoted; for another one: kubectl rewriter run {world.release.name}"
        )
    try:
        return _run(world, wish)
    except Refusal as refusal:
        raise Refusal(str(refusal).replace("run:", "retry:", 1)) from None


def _rollback_to(world: World, wish: Wish) -> Ask:
    token = f"{wish.target}/{wish.token}"
    annotations = {**world.release.annotations, cycles.ROLLBACK_ANNOTATION: token}
    request = intents.rollback_request(replace(world, release=replace(world.release, annotations=annotations)))
    if request is None or request.to is None:
        removed = intents.given_up(world, wish.target)
        if removed:
            raise Refusal(f"rollback-to: {removed}")
        known = sorted({serving_name(serving) for serving in intents.known_revisions(world)}, reverse=True)
        raise Refusal(
            f"rollback-to: got {wish.target!r}; must name a revision that was promoted and is kept "
            f"({', '.join(known) or 'none'})"
        )
    name, status = serving_name(request.to), world.status
    if status.state is State.IDLE and all(stage.incumbent in (None, request.to) for stage in status.stages):
        raise Refusal(f"rollback-to: {name} serves every stage already")
    if allows(status.state, Event.ABORTED) and status.cycle:
        then = f"cycle {status.cycle.number} is aborted, then {name} serves every stage again"
    else:
        then = f"{name} serves every stage again when its pods are ready"
    return Ask(cycles.ROLLBACK_ANNOTATION, token, then)


VERBS: Final[Mapping[str, Callable[[World, Wish], Ask]]] = {
    "approve": _approve,
    "abort": _abort,
    "run": _run,
    "retry": _retry,
    "rollback-to": _rollback_to,
}


def _situation(world: World) -> str:
    cycle = world.status.cycle
    running = (
        f"cycle {cycle.number} is {world.status.state}" if cycle and cycle.number else f"state {world.status.state}"
    )
    return running + (f": {world.status.message}" if world.status.message else "")


def _held_up(world: World) -> str:
    """What keeps an idle release from starting a cycle."""
    accepted = next((item for item in world.status.conditions if item.type == ConditionType.ACCEPTED), None)
    held = accepted and accepted.status == "False" and accepted.reason == Reason.INVALID_SCHEDULE
    return accepted.message if accepted and held else ""
