"""What must hold whatever happens, in whatever order: tried with sequences of faults that nobody thought of."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rewriter_operator.api.states import State
from rewriter_operator.api.status import GateResult
from rewriter_operator.core.cycle import ABORT_ANNOTATION, RUN_ANNOTATION
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Deployment, Revision, Role
from tests.builders import make_cycle, make_spec, make_status, serving, stage, stage_status
from tests.core.simulator import Simulator
from tests.examples import examples

Fault = Callable[[Simulator], object]

SPEC = make_spec(
    **{
        "rollout.stages": [
            stage("finerank", {"setShare": 10}, {"analysis": {"minRequests": 40}}, {"setShare": 100}),
            stage(
                "recall", {"pause": {"duration": "20s"}}, {"setShare": 50}, {"setShare": 100}, depends_on=("finerank",)
            ),
        ]
    }
)


def gateway(accepts: bool | None) -> Fault:
    def change(story: Simulator) -> None:
        story.behaviour.gateway_accepts = accepts
        if ("HTTPRoute", "shop-rewrites") in story.children:
            story.gateway_answers()

    return change


def errors(rate: float) -> Fault:
    return lambda story: setattr(story.behaviour, "candidate_error_rate", rate)


def readable(whether: bool) -> Fault:
    return lambda story: setattr(story.behaviour, "stats_readable", whether)


def ready(whether: bool) -> Fault:
    def change(story: Simulator) -> None:
        story.behaviour.serving_ready = whether
        for key, child in story.children.items():
            if isinstance(child, Deployment) and child.role is Role.SERVING:
                story.children[key] = replace(child, ready=child.replicas if whether else 0)

    return change


def delete_serving(story: Simulator) -> None:
    for key in [key for key, child in story.children.items() if child.kind == "Deployment"]:
        del story.children[key]


def delete_route(story: Simulator) -> None:
    story.children.pop(("HTTPRoute", "shop-rewrites"), None)
    story.backends = story.data_plane = {}


def lose_writes(story: Simulator) -> None:
    story.lose_status_writes = 2


def annotate(name: str, value: str) -> Fault:
    return lambda story: story.annotations.update({name: value})


def change_spec(story: Simulator) -> None:
    changed = {**story.spec.to_api()}
    changed["training"] = {**changed["training"], "seed": changed["training"]["seed"] + 1}
    story.spec = type(story.spec).model_validate(changed)


FAULTS: dict[str, Fault] = {
    "time goes by": lambda story: story.pass_time(10),
    "much time goes by": lambda story: story.pass_time(120),
    "gateway accepts": gateway(True),
    "gateway is silent": gateway(None),
    "gateway refuses": gateway(False),
    "candidate errs": errors(0.5),
    "candidate is well": errors(0.0),
    "counters cannot be read": readable(False),
    "counters can be read": readable(True),
    "serving pods fail": ready(False),
    "serving pods come back": ready(True),
    "deployments are deleted": delete_serving,
    "route is deleted": delete_route,
    "status writes are lost": lose_writes,
    "abort": annotate(ABORT_ANNOTATION, "2"),
    "run": annotate(RUN_ANNOTATION, "again"),
    "spec changes": change_spec,
}


def judged(verdict: str) -> Simulator:
    """Cycle 2 has this verdict; r0001 serves every stage."""
    gate = GateResult(verdict=verdict, summary=verdict, report="cycles/0002/gate/report.json")
    status = make_status(
        SPEC,
        state=State.GATING,
        cycle=make_cycle(SPEC, 2, candidate=serving(2), compared_with=serving(1), gate=gate, gate_side="incumbent"),
        stages=[stage_status(item.name, incumbent=serving(1)) for item in SPEC.rollout.stages],
        last_cycle_number=2,
    )
    story = Simulator(SPEC, status)
    name = "shop-r0002"
    story.children[("RewriterRevision", name)] = Revision("RewriterRevision", name, "uid", Role.REVISION, 2, 0, "")
    return story


def finds_rest(story: Simulator) -> bool:
    """Whether deciding again and again about one and the same world comes to an end: no hot loop of status writes."""
    world = story.world()
    for _ in range(8):
        status = plan(world).status
        if status == world.status:
            return True
        world = replace(world, release=replace(world.release, status=status))
        if status.state is State.GATING:
            return True
    return False


@examples(15)
@given(
    verdict=some.sampled_from(["Pass", "Pass", "Pass", "Fail", "Inconclusive", "", "pass", "None"]),
    faults=some.lists(some.sampled_from(sorted(FAULTS)), min_size=4, max_size=16),
)
def test_whatever_happens_only_a_candidate_that_passed_gets_a_share_and_only_as_planned(
    verdict: str, faults: list[str]
) -> None:
    story = judged(verdict)
    for fault in faults:
        FAULTS[fault](story)
        assert finds_rest(story)
        for _ in range(4):  # every pass checks the route itself: Simulator.check
            story.reconcile()
    if verdict != "Pass":
        assert not any(note.message.endswith("to r0002") for note in story.notes)


@pytest.mark.parametrize("verdict", ["Fail", "Inconclusive", "", "pass", "PASS", "nan"])
def test_no_word_but_pass_is_a_pass(verdict: str) -> None:
    story = judged(verdict)
    assert story.cycle_ends(limit=60) == "Rejected"
    assert State.DEPLOYING not in story.states


@examples(4)
@given(faults=some.lists(some.sampled_from(sorted(set(FAULTS) - {"spec changes", "run"})), max_size=8))
def test_after_any_trouble_a_release_comes_to_rest_and_serves(faults: list[str]) -> None:
    story = judged("Pass")
    for fault in faults:
        FAULTS[fault](story)
        for _ in range(4):
            story.reconcile()
    for cure in ("gateway accepts", "counters can be read", "candidate is well", "serving pods come back"):
        FAULTS[cure](story)
    story.until(lambda it: it.status.state is State.IDLE and bool(it.status.history), limit=3600)
    story.behaviour.requests_per_second = 0
    story.wait(200)
    written = len(story.writes)
    story.wait(200)
    assert story.writes[written:] == [], "nothing is written while nothing happens"
    assert story.condition("Ready") == ("True", "Serving")
    assert story.status.serves in ("r0001", "r0002")
