"""spec.onChange: Reject: what a running cycle hangs on is refused by the API server, and nothing else is."""

import json
from typing import Any

import pytest

from e2e.cluster import ClusterError
from rewriter_operator.api.crd import REFUSING_STATES
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from tests.builders import make_cycle, make_status, serving
from tests.integration.conftest import Space, release

pytestmark = pytest.mark.integration

REJECTS = {"onChange": "Reject"}
STEPS = {"rollout": {"stages": [{"name": "finerank", "steps": [{"setShare": 50}, {"setShare": 100}]}]}}

HANGS_ON = [
    pytest.param("model", {"model": {"path": "base/other"}}, id="model"),
    pytest.param("data", {"data": {"train": "data/other.jsonl"}}, id="data"),
    pytest.param("reward", {"reward": {"lambda": 0.25}}, id="reward"),
    pytest.param("training", {"training": {"phases": 5}}, id="training"),
    pytest.param("training", {"training": {"trainer": {"resources": {"limits": {"cpu": "7"}}}}}, id="pods-of-training"),
    pytest.param("gate", {"gate": {"alpha": 0.1}}, id="gate"),
    pytest.param("gate", {"gate": {"checks": [{"name": "GoldNdcg", "limit": 0.5}]}}, id="checks"),
    pytest.param("gate", {"gate": {"onInconclusive": "Extend"}}, id="extends-now"),
]
FREE = [
    pytest.param({"schedule": {"cron": "0 3 * * 1"}}, id="schedule"),
    pytest.param({"suspend": True}, id="suspend"),
    pytest.param({"serving": {"replicas": 3}}, id="serving"),
    pytest.param(STEPS, id="stages"),
    pytest.param({"gate": {"onInconclusive": "Hold"}}, id="what-follows-from-a-verdict"),
    pytest.param({"gate": {"holdTimeout": "100h"}}, id="how-long-a-hold-lasts"),
    pytest.param({"onChange": "Queue", "training": {"phases": 5}}, id="queued-by-the-same-write"),
    pytest.param({"onChange": "Supersede", "training": {"phases": 5}}, id="superseded-by-the-same-write"),
]


@pytest.fixture
def shop(space: Space) -> Space:
    space.create(release(**REJECTS))
    return space


def enters(space: Space, state: State) -> None:
    """Write a status of cycle 7, as the operator does."""
    spec = RewriterReleaseSpec.model_validate(space.get("rr", "shop")["spec"])
    runs = state not in (State.BOOTSTRAPPING, State.IDLE, State.RETURNING)
    cycle = make_cycle(spec, 7, candidate=serving(7)) if runs else None
    status = make_status(spec, state=state, cycle=cycle, last_cycle_number=7).to_api()
    body = json.dumps({"status": status})
    space.kubectl("patch", "rr", "shop", "--subresource=status", "--type=merge", "-p", body)


def change(space: Space, spec: dict[str, Any]) -> None:
    """
    Raises:
        ClusterError: when it is refused.
    """
    space.kubectl("patch", "rr", "shop", "--type=merge", "--dry-run=server", "-p", json.dumps({"spec": spec}))


@pytest.mark.parametrize("part, changed", HANGS_ON)
def test_what_a_cycle_hangs_on_is_refused_with_field_cycle_and_remedy(
    shop: Space, part: str, changed: dict[str, Any]
) -> None:
    enters(shop, State.ROLLING_OUT)
    with pytest.raises(ClusterError) as refused:
        change(shop, changed)
    told = str(refused.value)
    assert f"spec.{part}: Invalid value" in told
    assert "got cycle 7 in state RollingOut; cannot be changed before it has ended (spec.onChange: Reject)" in told
    assert "kubectl rewriter abort" in told
    enters(shop, State.IDLE)
    change(shop, changed)


def test_everything_else_is_taken(shop: Space) -> None:
    enters(shop, State.HOLDING)
    for of in FREE:
        change(shop, of.values[0])  # type: ignore[arg-type]


def test_a_state_in_which_nothing_is_lost_refuses_nothing(shop: Space) -> None:
    for state in State:
        enters(shop, state)
        if state in REFUSING_STATES:
            with pytest.raises(ClusterError):
                change(shop, {"training": {"phases": 5}})
        else:
            change(shop, {"training": {"phases": 5}})


def test_the_other_ways_refuse_nothing(space: Space) -> None:
    space.create(release())
    for way in ("Supersede", "Queue"):
        space.kubectl("patch", "rr", "shop", "--type=merge", "-p", json.dumps({"spec": {"onChange": way}}))
        enters(space, State.TRAINING)
        change(space, {"training": {"phases": 5}})
    change(space, {"onChange": "Reject", "training": {"phases": 5}})
