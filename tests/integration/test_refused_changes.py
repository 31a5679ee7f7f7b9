"""`spec.onChange: Reject` on a real API server: what the rules at the root of the CRD see of spec and stored status.

Without an operator: the status is written as one would have.
"""

import copy
from typing import Any

import pytest

from rewriter_operator.api.states import State
from tests.builders import make_cycle, make_spec, stage
from tests.integration.api_calls import Answer
from tests.integration.bad_input_rows import at
from tests.integration.conftest import COLLECTIONS, Space
from tests.integration.test_bad_input import changed

pytestmark = pytest.mark.integration

REJECT = at("spec.onChange", "Reject")
STEPS = [stage("finerank", {"setShare": 10}, {"setShare": 50}, {"setShare": 100})]
CHANGES: dict[str, dict[str, Any]] = {
    "spec.model": at("spec.model.maxLength", 256),
    "spec.data": at("spec.data.validation", "data/validation.jsonl"),
    "spec.reward": at("spec.reward.lambda", 0.25),
    "spec.training": at("spec.training.seed", 7),
    "spec.gate": at("spec.gate.alpha", 0.1),
}
WORK = [State.TRAINING, State.GATING, State.HOLDING, State.DEPLOYING, State.ROLLING_OUT, State.BAKING]


def runs(space: Space, state: State, **more: Any) -> None:
    """A release with this policy, whose cycle 7 is in this state."""
    assert space.calls.write("POST", space.name, changed(REJECT | more)).accepted
    is_in(space, state)


def is_in(space: Space, state: State) -> None:
    live = space.get("rr", "shop")
    live["status"] = {"state": state.value, "stages": [{"name": "finerank"}]}
    if state is not State.IDLE:
        live["status"]["cycle"] = make_cycle(make_spec(), 7).to_api()
    path = f"{COLLECTIONS['rr'][0].format(space.name)}/shop/status"
    answer = space.calls.call("PUT", path, live)
    assert answer.accepted, answer.message


def change(space: Space, changes: dict[str, Any]) -> Answer:
    """As `kubectl replace` writes it, over the version that is there."""
    body = copy.deepcopy(changed(REJECT | changes))
    body["metadata"]["resourceVersion"] = space.get("rr", "shop")["metadata"]["resourceVersion"]
    return space.calls.write("PUT", space.name, body, dry_run=True)


@pytest.mark.parametrize("state", WORK)
def test_a_change_is_refused_while_a_cycle_runs_and_taken_once_it_has_ended(space: Space, state: State) -> None:
    runs(space, state)
    for field, changes in CHANGES.items():
        refused = change(space, changes)
        assert not refused.accepted
        assert f"{field}: Invalid value" in refused.message
        assert f"got a change while cycle 7 is {state}" in refused.message
        assert "or abort it (kubectl rewriter abort)" in refused.message
    is_in(space, State.IDLE)
    assert all(change(space, changes).accepted for changes in CHANGES.values())


@pytest.mark.parametrize("state", [State.PREPARING, State.PROMOTING, State.WITHDRAWING, State.RETURNING])
def test_what_a_change_cannot_disturb_refuses_none(space: Space, state: State) -> None:
    runs(space, state)
    assert all(change(space, changes).accepted for changes in CHANGES.values())


@pytest.mark.parametrize("state, refused", [(State.DEPLOYING, False), (State.ROLLING_OUT, True), (State.BAKING, True)])
def test_stages_are_refused_once_the_rollout_has_begun(space: Space, state: State, refused: bool) -> None:
    runs(space, state)
    answer = change(space, at("spec.rollout.stages", STEPS))
    assert answer.accepted is not refused
    assert not refused or "spec.rollout.stages: Invalid value" in answer.message


def test_what_no_cycle_hangs_on_is_refused_never(space: Space) -> None:
    runs(space, State.TRAINING)
    for changes in (
        at("spec.rollout.limits", {"maxErrorRate": 0.5}),
        at("spec.gate.holdTimeout", "5h"),
        at("spec.gate.onInconclusive", "Hold"),
        at("spec.suspend", True),
        at("spec.reward.lambda", 0.5),  # the default, written out
        at("metadata.annotations", {"rewriter.dev/abort": "7"}),
    ):
        answer = change(space, changes)
        assert answer.accepted, answer.message


def test_a_free_look_at_the_gate_is_refused_like_any_other_change_of_it(space: Space) -> None:
    runs(space, State.GATING)
    assert not change(space, at("spec.gate.onInconclusive", "Extend")).accepted


def test_one_write_may_choose_otherwise_and_one_may_not_choose_refusal_with_a_change(space: Space) -> None:
    runs(space, State.TRAINING, **at("spec.onChange", "Supersede"))
    seed = CHANGES["spec.training"]
    assert change(space, seed | at("spec.onChange", "Queue")).accepted
    assert change(space, seed | at("spec.onChange", "Supersede")).accepted
    assert not change(space, seed).accepted


def test_the_operators_own_writes_of_status_are_never_refused(space: Space) -> None:
    runs(space, State.TRAINING)
    for state in (*WORK, State.PROMOTING, State.IDLE):
        is_in(space, state)
