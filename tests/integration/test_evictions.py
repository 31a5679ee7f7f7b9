"""Evictions against a real API server and its disruption controller: what a drain of a node may take of a revision."""

import json
from typing import Any

import pytest

from rewriter_operator.api.states import State
from tests.builders import make_spec, make_status, serving, stage_status
from tests.integration.api_calls import Answer
from tests.integration.conftest import COLLECTIONS, PATIENCE, Operator, Space, eventually, release

pytestmark = pytest.mark.integration

BUDGET = "shop-r0001"
SERVES = "rewriter.dev/role=serving"


def serves(space: Space, operator: Operator, replicas: int) -> None:
    """r0001 serves with so many pods, all of them ready: there is no kubelet, so that is said for them."""
    operator.kill()
    space.inputs()
    space.create(release(**{"serving.replicas": replicas}))
    spec = make_spec(**{"serving.replicas": replicas})
    stages = [stage_status(incumbent=serving(1))]
    space.write_status(make_status(spec, state=State.IDLE, stages=stages, last_cycle_number=1).to_api())
    operator.start()
    eventually(lambda: len(pods(space)) == replicas, PATIENCE, "the pods are there")
    for name in pods(space):
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        told = json.dumps({"status": {"phase": "Running", "conditions": [ready]}})
        space.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", told)


def pods(space: Space) -> list[str]:
    return space.kubectl("get", "pods", "-l", SERVES, "-o", "jsonpath={.items[*].metadata.name}").split()


def evicted(space: Space, pod: str) -> Answer:
    """As `kubectl drain` asks for it."""
    path = f"{COLLECTIONS['pod'][0].format(space.name)}/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": space.name}}
    return space.calls.call("POST", path, body)


def budget(space: Space) -> dict[str, Any]:
    return space.get("poddisruptionbudget", BUDGET)


def test_a_drain_takes_one_pod_and_the_next_only_when_another_is_ready(space: Space, operator: Operator) -> None:
    serves(space, operator, 2)
    eventually(lambda: budget(space).get("status", {}).get("disruptionsAllowed") == 1, PATIENCE, "one may go")
    first, second = pods(space)
    assert evicted(space, first).accepted
    refused = evicted(space, second)
    assert refused.status == 429, refused.message
    assert "disruption budget" in refused.message
    assert space.get("pod", second), "it goes on answering"


def test_the_only_pod_of_a_revision_blocks_no_drain(space: Space, operator: Operator) -> None:
    serves(space, operator, 1)
    (only,) = pods(space)
    assert evicted(space, only).accepted
    assert space.names("poddisruptionbudgets") == set()


@pytest.mark.parametrize("edit", [{"maxUnavailable": 0}, {"maxUnavailable": None, "minAvailable": 2}], ids=str)
def test_a_budget_that_somebody_edits_is_put_right(space: Space, operator: Operator, edit: dict[str, Any]) -> None:
    serves(space, operator, 2)
    eventually(lambda: bool(budget(space)), PATIENCE, "the budget is there")
    made = budget(space)["spec"]
    assert made["maxUnavailable"] == 1 and "minAvailable" not in made
    space.kubectl("patch", "pdb", BUDGET, "--type=merge", "-p", json.dumps({"spec": edit}))
    eventually(lambda: budget(space)["spec"] == made, PATIENCE, "it is as it was")
    assert space.condition("Stalled")[0] == "False"
