"""Argo CD's view of a release: health in every state, and actions that write what the operator takes.

Run by a real Lua 5.1 with what Argo CD's own gives its scripts (its util/lua/lua.go): the base functions, `table`, and
of `os` what `require("os")` returns. tests/argocd runs the same scripts in Argo CD itself.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51

from rewriter_operator.api.conditions import ConditionType, set_condition
from rewriter_operator.api.states import State
from rewriter_operator.api.status import CycleRecord, Hold, Outcome, PromotionHold, StageStatus
from rewriter_operator.cli.asking import Refusal, Wish, ask
from rewriter_operator.cli.reading import world_of
from rewriter_operator.core import cycle as cycles
from tests.builders import NOW, make_cycle, make_spec, make_status, serving, stage
from tests.cli.release_objects import release_object, revision_object

HERE = Path(__file__).parents[2] / "manifests" / "argocd"
HEALTH = (HERE / "health.lua").read_text()
ACTIONS = yaml.safe_load((HERE / "actions.yaml").read_text())
DEFINED = {item["name"]: item["action.lua"] for item in ACTIONS["definitions"]}
AS_IN_ARGO_CD = """
local safe = { time = os.time, date = os.date }
getmetatable("").__index = nil
for _, name in ipairs({ "string", "math", "io", "debug", "dofile", "loadfile", "coroutine", "os" }) do
  package.loaded[name] = nil
  _G[name] = nil
end
package.preload["os"] = function() return safe end
"""

SPEC = make_spec(
    **{
        "rollout.stages": [
            stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100}),
            stage("recall", {"setShare": 100}, depends_on=("finerank",)),
        ]
    }
)


def lua(text: str, obj: dict[str, Any]) -> Any:
    """The script's answer, as plain Python."""
    runtime = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    runtime.globals().obj = runtime.table_from(obj, recursive=True)
    runtime.execute(AS_IN_ARGO_CD)
    return plain(runtime.execute(text))


def plain(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return value
    keys = list(value)
    if keys and all(isinstance(key, int) for key in keys):
        return [plain(value[key]) for key in sorted(keys)]
    return {key: plain(value[key]) for key in keys}


def live(annotations: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """A release that is served, in this state."""
    truths: dict[ConditionType, bool | None] = changes.pop("truths", {})
    status = make_status(SPEC, **({"observed_generation": 1} | changes))
    conditions = status.conditions
    for kind, truth in ({ConditionType.READY: True, ConditionType.STALLED: False} | truths).items():
        conditions = set_condition(conditions, kind, truth, "Because", "so it is", 1, NOW)
    return release_object(status.model_copy(update={"conditions": conditions}), SPEC, annotations)


def in_state(state: State, annotations: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    running = state not in (State.IDLE, State.BOOTSTRAPPING, State.RETURNING)
    cycle = make_cycle(SPEC, 7, candidate=serving(7)) if running else None
    return live(annotations, **({"state": state, "cycle": cycle, "last_cycle_number": 7} | changes))


def waiting() -> dict[str, Any]:
    stages = [StageStatus(name="finerank", share=10, step=1, step_at=NOW), StageStatus(name="recall")]
    return in_state(State.ROLLING_OUT, stages=stages)


def held() -> dict[str, Any]:
    cycle = make_cycle(SPEC, 7, candidate=serving(7), hold=Hold(token="r0007/gate/1f3a5c7e"))
    return in_state(State.HOLDING, cycle=cycle)


def baked(**approval: float) -> dict[str, Any]:
    hold = PromotionHold(token="r0007/promote", since=NOW, **approval)
    return in_state(State.BAKING, cycle=make_cycle(SPEC, 7, candidate=serving(7), promotion=hold))


def ended(outcome: Outcome) -> list[CycleRecord]:
    return [CycleRecord(number=7, outcome=outcome, message="numbers", started_at="x", finished_at="y")]


def health(obj: dict[str, Any]) -> tuple[str, str]:
    found = lua(HEALTH, obj)
    return found["status"], found["message"]


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_health(state: State) -> None:
    expected = "Healthy" if state is State.IDLE else "Progressing"
    assert health(in_state(state))[0] == expected


@pytest.mark.parametrize("state", State)
def test_what_needs_a_person_is_degraded_in_every_state(state: State) -> None:
    assert health(in_state(state, truths={ConditionType.STALLED: True})) == ("Degraded", "Because: so it is")


def test_no_pod_behind_a_stage_is_degraded_but_not_before_the_first_was_up() -> None:
    for state in State:
        expected = "Progressing" if state is State.BOOTSTRAPPING else "Degraded"
        assert health(in_state(state, truths={ConditionType.READY: False}))[0] == expected


def test_a_moment_between_two_cycles_is_no_rest() -> None:
    """A later wave would go on in it."""
    between = {"truths": {ConditionType.RECONCILING: True}, "history": ended(Outcome.SUPERSEDED)}
    chosen = {
        f"rewriter.dev/argocd-{name}": word
        for name, word in (("during-cycle", "Healthy"), ("not-promoted", "Degraded"))
    }
    assert health(in_state(State.IDLE, **between))[0] == "Progressing"
    assert health(in_state(State.IDLE, chosen, **between))[0] == "Healthy", "like the cycle that starts"


def test_unknown_is_never_healthy() -> None:
    assert health(in_state(State.IDLE, truths={ConditionType.READY: None}))[0] == "Progressing"


def test_an_older_generation_says_nothing() -> None:
    new = live()
    del new["status"]
    behind = live()
    behind["metadata"]["generation"] = 2
    assert [health(obj)[0] for obj in (new, behind)] == ["Progressing", "Progressing"]


def test_a_rollout_that_waits_for_a_person_is_suspended() -> None:
    assert health(waiting()) == ("Suspended", "finerank waits for approval: action approve-finerank")


def test_a_candidate_that_the_gate_left_to_a_person_is_suspended() -> None:
    assert health(held())[0] == "Suspended"


def test_a_baked_candidate_that_waits_to_be_promoted_is_suspended() -> None:
    assert health(baked()) == ("Suspended", "the promotion waits for approval: action approve-promotion")
    assert health(baked(approved_at=NOW))[0] == "Progressing"


@pytest.mark.parametrize("outcome", Outcome)
def test_a_cycle_that_was_not_promoted_shows_as_the_user_chose(outcome: Outcome) -> None:
    chosen = {"rewriter.dev/argocd-not-promoted": "Degraded"}
    assert health(in_state(State.IDLE, history=ended(outcome)))[0] == "Healthy"
    expected = "Healthy" if outcome is Outcome.PROMOTED else "Degraded"
    assert health(in_state(State.IDLE, chosen, history=ended(outcome)))[0] == expected


def test_a_cycle_holds_up_no_sync_wave_where_the_user_chose_so() -> None:
    chosen = {"rewriter.dev/argocd-during-cycle": "Healthy"}
    assert health(in_state(State.TRAINING, chosen))[0] == "Healthy"
    assert health(in_state(State.TRAINING, chosen, truths={ConditionType.READY: None}))[0] == "Progressing"
    assert health(in_state(State.BOOTSTRAPPING, chosen))[0] == "Progressing"


SERVED = {
    "stages": [StageStatus(name="finerank", incumbent=serving(6)), StageStatus(name="recall", incumbent=serving(6))],
    "promoted": [serving(6), serving(5)],
}
FIXTURES = {
    **{f"{state}": in_state(state) for state in State},
    "waiting": waiting(),
    "held": held(),
    "baked": baked(),
    "approved": baked(approved_at=NOW),
    "promoted": in_state(State.IDLE, history=ended(Outcome.PROMOTED), **SERVED),
    "rejected": in_state(State.IDLE, history=ended(Outcome.REJECTED), **SERVED),
}
VERBS = {
    "abort": ("abort", "", cycles.ABORT_ANNOTATION),
    "run": ("run", "", cycles.RUN_ANNOTATION),
    "retry": ("retry", "", cycles.RUN_ANNOTATION),
    "rollback-to-previous": ("rollback-to", "r0005", cycles.ROLLBACK_ANNOTATION),
    "approve-gate": ("approve", "gate", cycles.APPROVE_ANNOTATION),
    "approve-promotion": ("approve", "promotion", cycles.APPROVE_ANNOTATION),
    "approve-finerank": ("approve", "finerank", cycles.APPROVE_ANNOTATION),
    "approve-recall": ("approve", "recall", cycles.APPROVE_ANNOTATION),
}


def test_every_action_that_is_offered_is_defined() -> None:
    offered = {name for obj in FIXTURES.values() for name in offers(obj)}
    assert offered <= set(DEFINED)
    assert set(VERBS) | {"approve-rawrank"} == set(DEFINED)


def offers(obj: dict[str, Any]) -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = lua(ACTIONS["discovery.lua"], obj)
    return found


@pytest.mark.parametrize("action", VERBS)
@pytest.mark.parametrize("fixture", FIXTURES)
def test_an_action_is_offered_when_the_plugin_would_do_it_and_writes_the_same(fixture: str, action: str) -> None:
    obj = FIXTURES[fixture]
    verb, target, annotation = VERBS[action]
    offered = not offers(obj)[action]["disabled"]
    world = world_of(obj, [revision_object(5), revision_object(6)])
    try:
        made = ask(world, Wish(verb, target, "token"))
    except Refusal as refusal:
        assert not offered, refusal
        return
    assert offered
    after = lua(DEFINED[action], obj)["metadata"]["annotations"]
    written = after[annotation]
    once = verb in ("run", "retry")
    assert made.annotation == annotation
    assert (
        written.split("/")[0] == made.value.split("/")[0] if "/token" in made.value else once or written == made.value
    )
    assert after["rewriter.dev/asked"] == f"{verb} {written} by an Argo CD action"


@pytest.mark.parametrize("action", DEFINED)
def test_an_action_changes_annotations_and_nothing_else(action: str) -> None:
    obj = {"approve-gate": held(), "approve-promotion": baked()}.get(action, waiting())
    obj["status"]["promoted"] = [serving(6).to_api(), serving(5).to_api()]
    after = lua(DEFINED[action], obj)
    assert after["spec"]["model"] == obj["spec"]["model"]
    assert set(after["metadata"]) == set(obj["metadata"])
    assert after["status"]["state"] == obj["status"]["state"]


def test_the_sample_application_ignores_no_difference() -> None:
    sample = yaml.safe_load((HERE / "application.yaml").read_text())
    assert "ignoreDifferences" not in sample["spec"]
