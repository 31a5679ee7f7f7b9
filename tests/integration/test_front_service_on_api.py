"""A release behind a Service, on a real API server: when the route comes, what it answers, and how it is changed."""

import json
from typing import Any

import pytest

from tests.integration.conftest import PATIENCE, Operator, Space, eventually, release

pytestmark = pytest.mark.integration

ROUTE, PASSTHROUGH = "shop-rewrites", "rewriter.dev/role=passthrough"
FRONT = {"service": {"name": "rewrites", "port": 80}}


def pods_are_ready(space: Space) -> None:
    """There is no kubelet, so that is said for them."""
    eventually(lambda: bool(pods(space)), PATIENCE, "the passthrough's pods are there")
    for name in pods(space):
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        told = json.dumps({"status": {"phase": "Running", "conditions": [ready]}})
        space.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", told)


def pods(space: Space) -> list[str]:
    return space.kubectl("get", "pods", "-l", PASSTHROUGH, "-o", "jsonpath={.items[*].metadata.name}").split()


def spec(space: Space) -> dict[str, Any]:
    found: dict[str, Any] = space.get("httproute", ROUTE).get("spec", {})
    return found


def test_the_route_is_made_once_pods_are_ready_and_answers_whatever_is_asked(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release(traffic=FRONT))
    eventually(lambda: "the route is made once" in space.condition("Ready")[2], PATIENCE, "it says what it waits for")
    eventually(lambda: any("prepare" in name for name in space.names("pods")), PATIENCE, "nothing else waits")
    assert not spec(space)
    pods_are_ready(space)
    eventually(lambda: bool(spec(space)), PATIENCE, "the route is made")
    assert spec(space)["parentRefs"] == [
        {"group": "", "kind": "Service", "name": "rewrites", "namespace": space.name, "port": 80}
    ]
    (everything,) = spec(space)["rules"][-1]["matches"]
    assert everything == {"path": {"type": "PathPrefix", "value": "/"}}
    (backend,) = spec(space)["rules"][-1]["backendRefs"]
    assert (backend["name"], backend["weight"]) == ("shop-passthrough", 100)


def test_a_release_changes_from_a_gateway_to_a_service_and_back_in_one_write_each(
    space: Space, operator: Operator
) -> None:
    space.inputs()
    space.create(release())
    eventually(lambda: bool(spec(space)), PATIENCE, "the route is made: nobody called a Gateway for it before")
    uid = space.get("httproute", ROUTE)["metadata"]["uid"]
    behind_a_gateway = spec(space)
    for traffic, kind in (({"gateway": None} | FRONT, "Service"), (release()["spec"]["traffic"], "Gateway")):
        generation = space.get("httproute", ROUTE)["metadata"]["generation"]
        changes = traffic if kind == "Service" else traffic | {"service": None}
        space.kubectl("patch", "rr", "shop", "--type=merge", "-p", json.dumps({"spec": {"traffic": changes}}))
        eventually(lambda kind=kind: spec(space)["parentRefs"][0]["kind"] == kind, PATIENCE, kind)  # type: ignore[misc]
        metadata = space.get("httproute", ROUTE)["metadata"]
        assert (metadata["uid"], metadata["generation"]) == (uid, generation + 1), "changed, not made anew"
    assert spec(space) == behind_a_gateway


@pytest.mark.parametrize(
    "edit",
    [
        {"op": "remove", "path": "/spec/rules/1"},
        {"op": "replace", "path": "/spec/parentRefs/0/name", "value": "another"},
        {"op": "replace", "path": "/spec/rules/1/matches/0/path/value", "value": "/v1"},
    ],
    ids=["the catch-all is taken away", "another Service", "the catch-all is narrowed"],
)
def test_a_hand_edit_is_put_right(space: Space, operator: Operator, edit: dict[str, Any]) -> None:
    space.inputs()
    space.create(release(traffic=FRONT))
    pods_are_ready(space)
    eventually(lambda: bool(spec(space)), PATIENCE, "the route is made")
    made = spec(space)
    edited = space.kubectl("patch", "httproute", ROUTE, "--type=json", "-p", json.dumps([edit]), "-o", "json")
    assert json.loads(edited)["spec"] != made
    eventually(lambda: spec(space) == made, PATIENCE, "it is as it was")
