"""HOLDING: what the gate could not decide waits for a person, with spec.gate.onInconclusive: Hold.

No pod of the candidate exists here, and none of training, so a hold costs nothing but time. It ends as a rejection at
its deadline, and at once where the spec no longer asks for it: an approval is the only way on, and silence is none.
"""

from typing import Final

from rewriter_contract.reports import Verdict
from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import evolve, seconds
from rewriter_operator.api.status import Hold
from rewriter_operator.core import cycle as cycles
from rewriter_operator.core import intents
from rewriter_operator.core.decision import Note, Step, serving_name
from rewriter_operator.core.states import Event
from rewriter_operator.core.world import World

DIGITS: Final = 8
"""Of the report's digest in the token: nobody can approve before there is a report, nor another one than this."""

LOOK_SECONDS: Final = 30.0


def is_wanted(world: World) -> bool:
    """Whether the verdict is left to a person."""
    cycle = world.status.cycle
    assert cycle and cycle.gate
    undecided = cycle.gate.verdict == Verdict.INCONCLUSIVE and cycle.gate.approvable
    return undecided and bool(cycle.gate.report_sha256) and world.spec.gate.on_inconclusive == "Hold"


def begin(world: World) -> Step:
    """Enter HOLDING and say what is waited for."""
    cycle = world.status.cycle
    assert cycle and cycle.gate and cycle.candidate
    token = f"{serving_name(cycle.candidate)}/gate/{cycle.gate.report_sha256[:DIGITS]}"
    status = cycles.enter(world.status, Event.HELD, world.now)
    assert status.cycle is not None
    held = evolve(status, cycle=evolve(status.cycle, hold=Hold(token=token)))
    note = f"{token} waits for approval within {world.spec.gate.hold_timeout}; {cycle.gate.summary}"
    return Step(held, notes=(Note("GateHeld", note[:1024], warning=True),))


def hold(world: World) -> Step:
    """Approved, over, or still waiting."""
    cycle, gate = world.status.cycle, world.spec.gate
    assert cycle and cycle.gate and cycle.hold
    if not is_wanted(world):
        return _refused(world, "spec.gate.onInconclusive no longer says Hold")
    left = cycle.since + seconds(gate.hold_timeout) - world.now
    if left <= 0:  # before the annotation: one that nobody acted on in time must not fire after a long outage
        return _refused(world, f"nobody approved it within spec.gate.holdTimeout {gate.hold_timeout}")
    if world.release.annotations.get(cycles.APPROVE_ANNOTATION) == cycle.hold.token:
        return _approved(world)
    deadline = rfc3339(cycle.since + seconds(gate.hold_timeout))
    command = f"kubectl annotate --overwrite rr {world.release.name} {cycles.APPROVE_ANNOTATION}={cycle.hold.token}"
    message = f"waits for approval until {deadline}: {command}; {cycle.gate.summary}"
    return Step(evolve(world.status, message=message[:1024]), wait_seconds=min(LOOK_SECONDS, left))


def _approved(world: World) -> Step:
    cycle = world.status.cycle
    assert cycle and cycle.hold and cycle.gate
    held = evolve(cycle, hold=evolve(cycle.hold, approved=True))
    status = evolve(world.status, cycle=held, last_approval=cycle.hold.token)
    who = intents.by_whom(world, cycles.APPROVE_ANNOTATION)
    message = f"{cycle.hold.token} was approved {who}; {cycle.gate.summary}"[:1024]
    return Step(cycles.enter(status, Event.APPROVED, world.now), notes=(Note("GateApproved", message),))


def _refused(world: World, why: str) -> Step:
    cycle = world.status.cycle
    assert cycle and cycle.gate
    message = f"{why}; {cycle.gate.summary}"[:1024]
    status = cycles.enter(world.status, Event.REFUSED, world.now, "GateInconclusive", message)
    return Step(status, notes=(Note("GateNotApproved", message, warning=True),))
