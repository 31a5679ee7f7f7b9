"""What a person asked for and did not get, as the real API server shows it: in status, and in one Event."""

import time
from typing import Any

import pytest

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import GateResult, Hold
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from rewriter_operator.reconcile import Reconciler
from tests.builders import make_cycle, make_status, serving, stage_status
from tests.integration.conftest import Space, release
from tests.integration.test_site_faults import at_rest, play

pytestmark = pytest.mark.integration

UNDECIDED = GateResult(
    verdict="Inconclusive",
    summary="15 checks on 40 queries",
    report="cycles/0003/gate/report.json",
    report_sha256="ab" * 32,
    approvable=True,
)
AWAITED = "r0003/gate/abababab"


def holding(space: Space) -> None:
    """r0002 serves; the gate could not decide on r0003, which waits for a person."""
    space.inputs()
    space.create(release(**{"gate.onInconclusive": "Hold"}))
    live = space.get("rr", "shop")
    spec = RewriterReleaseSpec.model_validate(live["spec"])
    cycle = make_cycle(
        spec,
        3,
        started_at=time.time() - 600,
        since=time.time() - 60,
        candidate=serving(3),
        compared_with=serving(2),
        gate=UNDECIDED,
        hold=Hold(token=AWAITED),
    )
    stages = [stage_status(item.name, incumbent=serving(2)) for item in spec.rollout.stages]
    status = make_status(spec, state=State.HOLDING, cycle=cycle, stages=stages, last_cycle_number=3)
    space.write_status(status.to_api())


def events(space: Space, reason: str) -> list[dict[str, Any]]:
    return [item for item in space.events() if item["reason"] == reason]


@pytest.mark.parametrize("given", ["r0002/gate/abababab", "r0003/gate/00000000", "yes"])
def test_an_approval_of_something_else_approves_nothing_and_is_told_once(space: Space, given: str) -> None:
    """Of another revision, of another report, of nothing at all; then the one that is waited for."""
    holding(space)

    async def story(reconciler: Reconciler) -> None:
        await at_rest(reconciler)
        assert space.get("rr", "shop")["status"]["state"] == "Holding"
        space.kubectl("annotate", "rr", "shop", f"{APPROVE_ANNOTATION}={given}")
        await at_rest(reconciler)
        await at_rest(reconciler)
        found = space.get("rr", "shop")["status"]
        sentence = f"annotation {APPROVE_ANNOTATION}: got {given!r}; {AWAITED} is waited for"
        assert (found["state"], found["notice"]) == ("Holding", sentence)
        (told,) = events(space, "IntentIgnored")
        assert (told["type"], told["note"]) == ("Warning", sentence)
        assert "hold" in found["cycle"] and not found["cycle"]["hold"].get("approved")

        space.kubectl("annotate", "--overwrite", "rr", "shop", f"{APPROVE_ANNOTATION}={AWAITED}")
        await at_rest(reconciler)
        found = space.get("rr", "shop")["status"]
        assert (found["notice"], found["state"]) == ("", "Deploying")
        assert len(events(space, "IntentIgnored")) == len(events(space, "GateApproved")) == 1

    play(space, story)
