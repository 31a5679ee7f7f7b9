"""A release behind Istio's VirtualService, on a real API server with that CRD; and a cluster that does not have it.

No Istio runs: what it would read is what is looked at. tests/faults plays the data plane that obeys it.
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import ControlPlane, control_plane
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.contests import REPAIRS, REST_SECONDS, WINDOW_SECONDS
from rewriter_operator.reconcile import Reconciler
from tests.builders import make_cycle, make_spec, make_status, serving, stage_status
from tests.core.test_rollout import PASSED
from tests.integration import conftest
from tests.integration.api_calls import ApiCalls
from tests.integration.conftest import PATIENCE, VIRTUAL_SERVICES, Operator, Space, eventually, release
from tests.integration.test_front_service_on_api import pods_are_ready
from tests.integration.test_operator_process import preparing
from tests.integration.test_site_faults import as_service_account, at_rest, patched, play
from tests.integration.test_unreadable_release import Clock, StricterSpec, with_its_route

pytestmark = pytest.mark.integration

ROUTE = "shop-rewrites"
TRAFFIC = {"virtualService": {"hosts": ["rewrites"]}}


def live(space: Space) -> dict[str, Any]:
    return space.get("virtualservice", ROUTE)


def shares(space: Space) -> dict[str, int]:
    first = live(space)["spec"]["http"][0]
    return {item["destination"]["host"]: item["weight"] for item in first["route"] if item["weight"]}


def stored(space: Space, **changes: Any) -> RewriterReleaseStatus:
    """A release with this status: idle behind the passthrough, unless told."""
    space.inputs()
    space.create(release(traffic=TRAFFIC))
    found = space.get("rr", "shop")
    status = make_status(RewriterReleaseSpec.model_validate(found["spec"]), **changes)
    space.write_status(status.to_api())
    return status


def rolling_out(space: Space) -> RewriterReleaseStatus:
    """A release whose candidate r0002 has 10 % of finerank, in status; r0001 serves."""
    cycle = make_cycle(make_spec(traffic=TRAFFIC), 2, candidate=serving(2), compared_with=serving(1), gate=PASSED)
    stages = [stage_status("finerank", incumbent=serving(1), share=10)]
    return stored(space, state=State.ROLLING_OUT, cycle=cycle, stages=stages, last_cycle_number=2)


def test_it_is_made_once_pods_are_ready_and_nothing_of_it_is_lost(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release(traffic=TRAFFIC))
    eventually(lambda: "the route is made once" in space.condition("Ready")[2], PATIENCE, "it says what it waits for")
    assert not live(space)
    pods_are_ready(space)
    eventually(lambda: bool(live(space)), PATIENCE, "the VirtualService is made")
    spec = live(space)["spec"]
    assert [rule["name"] for rule in spec["http"]] == ["finerank", "everything-else"]
    assert spec["http"][0]["retries"] == {"attempts": 0} and "match" not in spec["http"][-1]
    assert (spec["hosts"], spec["gateways"], spec["exportTo"], spec["tcp"]) == (["rewrites"], ["mesh"], ["*"], [])
    eventually(lambda: space.condition("Ready")[:2] == ("True", "Serving"), PATIENCE, "nobody has to accept it")
    assert not space.get("httproute", ROUTE)


EDITS: dict[str, dict[str, Any]] = {
    "a weight": {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 7},
    "another backend": {"op": "replace", "path": "/spec/http/0/route/0/destination/host", "value": "somebody-elses"},
    "a rule in front": {
        "op": "add",
        "path": "/spec/http/0",
        "value": {"route": [{"destination": {"host": "somebody-elses"}}]},
    },
    "the catch-all taken away": {"op": "remove", "path": "/spec/http/1"},
    "a fault": {"op": "add", "path": "/spec/http/0/fault", "value": {"abort": {"httpStatus": 500}}},
    "a mirror": {"op": "add", "path": "/spec/http/0/mirror", "value": {"host": "somebody-elses"}},
    "another host": {"op": "replace", "path": "/spec/hosts/0", "value": "somebody-elses"},
    "a gateway": {"op": "add", "path": "/spec/gateways/0", "value": "public"},
    "hidden from other namespaces": {"op": "replace", "path": "/spec/exportTo/0", "value": "."},
    "routes of TCP": {"op": "add", "path": "/spec/tcp/0", "value": {"route": [{"destination": {"host": "x"}}]}},
}


def test_every_edit_by_hand_is_put_right_and_what_was_not_edited_is_not_written(space: Space) -> None:
    status = stored(space)

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.contests.clock = Clock()
        await with_its_route(space, reconciler, status)
        await at_rest(reconciler)
        wanted = live(space)
        for name, edit in EDITS.items():
            clock.now += WINDOW_SECONDS  # one edit now and then is no contest
            patched(space, "virtualservice", ROUTE, edit)
            assert live(space)["spec"] != wanted["spec"], name
            await at_rest(reconciler)
            assert live(space)["spec"] == wanted["spec"], name
        version = live(space)["metadata"]["resourceVersion"]
        for _ in range(3):
            await at_rest(reconciler)
        assert live(space)["metadata"]["resourceVersion"] == version

    play(space, story)


def test_a_share_that_a_hand_raises_is_taken_back_by_the_first_write(space: Space) -> None:
    status = rolling_out(space)

    async def story(reconciler: Reconciler) -> None:
        await with_its_route(space, reconciler, status)
        assert shares(space) == {"shop-r0001": 90, "shop-r0002": 10}
        patched(space, "virtualservice", ROUTE, {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 500})
        await reconciler("shop")
        assert shares(space).get("shop-r0002", 0) <= 10 and shares(space)["shop-r0001"] >= 90

    play(space, story)


def test_a_fight_with_another_manager_is_told_with_its_name_and_not_joined(space: Space) -> None:
    status = stored(space)

    def theirs() -> None:
        body = copy.deepcopy(live(space))
        body["metadata"].pop("managedFields", None)
        body["spec"]["http"][0]["timeout"] = "99s"
        space.kubectl("replace", "--field-manager=their-argo", "-f", "-", input=json.dumps(body))

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.contests.clock = Clock()
        await with_its_route(space, reconciler, status)
        await at_rest(reconciler)
        for _ in range(REPAIRS + 1):
            theirs()
            await at_rest(reconciler)
        assert space.condition("Stalled")[1] == "ChildContested"
        assert f"VirtualService {ROUTE} is changed again and again" in space.condition("Stalled")[2]
        assert "their-argo" in space.condition("Stalled")[2]
        theirs()
        await at_rest(reconciler)
        assert live(space)["spec"]["http"][0]["timeout"] == "99s", "once a minute is enough"
        clock.now += REST_SECONDS
        await at_rest(reconciler)
        assert live(space)["spec"]["http"][0]["timeout"] == "7s"

    play(space, story)


def test_the_candidate_of_an_unreadable_release_is_taken_back(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    status = rolling_out(space)

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.unwatched.clock = Clock()
        await with_its_route(space, reconciler, status)
        monkeypatch.setattr("rewriter_operator.cluster.release.RewriterReleaseSpec", StricterSpec)
        for clock.now in (0.0, 30.0, 61.0):
            with pytest.raises(Exception, match="historyLimit"):
                await reconciler("shop")
        assert shares(space) == {"shop-r0001": 100}
        assert "candidate r0002 is off the route" in space.condition("Stalled")[2]

    play(space, story)


def test_the_shipped_role_suffices(space: Space, tmp_path: Path) -> None:
    kubeconfig = as_service_account(space, tmp_path)
    status = stored(space)

    async def story(reconciler: Reconciler) -> None:
        await with_its_route(space, reconciler, status)
        await at_rest(reconciler)
        space.kubectl("delete", "virtualservice", ROUTE)
        await at_rest(reconciler)
        assert live(space) or "the route is made once" in space.condition("Ready")[2]
        assert await reconciler.hands.kube.can_list("VirtualService")

    play(space, story, kubeconfig)


def test_a_hand_edit_wakes_the_running_operator(space: Space, operator: Operator) -> None:
    space.inputs()
    space.create(release(traffic=TRAFFIC))
    pods_are_ready(space)
    eventually(lambda: bool(live(space)), PATIENCE, "the VirtualService is made")
    made = live(space)["spec"]
    patched(space, "virtualservice", ROUTE, EDITS["a fault"])
    eventually(lambda: live(space)["spec"] == made, PATIENCE, "it is as it was")


@pytest.fixture
def without_istio() -> Iterator[ControlPlane]:
    """An API server of this test's own, that does not know VirtualService."""
    plane = control_plane("no-istio", until_exit_of=os.getpid())
    conftest._install_once(plane)
    plane.kubectl("delete", "crd", "virtualservices.networking.istio.io", f"--timeout={PATIENCE:.0f}s")
    yield plane
    plane.down()


def test_a_cluster_without_istio_serves_every_release_that_does_not_ask_for_it(
    without_istio: ControlPlane, tmp_path: Path
) -> None:
    space = Space(without_istio, ApiCalls.to(without_istio.kubeconfig), "shop")
    without_istio.kubectl("create", "namespace", space.name)
    operator = Operator(space, tmp_path / "operator.log").start()
    try:
        space.inputs()
        space.create(release())
        preparing(space)
        mesh = release("mesh", traffic=TRAFFIC, **{"volume.subPath": "mesh"})
        space.create(mesh)
        for name in pods_of(space, "mesh"):
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            told = json.dumps({"status": {"phase": "Running", "conditions": [ready]}})
            space.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", told)
        eventually(lambda: space.condition("Stalled", "mesh")[1] == "ChildRefused", PATIENCE, "it is told")
        assert "networking.istio.io/v1" in space.condition("Stalled", "mesh")[2]
        assert "install its CRD" in space.condition("Stalled", "mesh")[2]
        assert space.condition("Stalled", "shop")[1] != "ChildRefused"
        assert operator.process and operator.process.poll() is None and operator.is_healthy()
        assert "Traceback" not in operator.log.read_text()
        without_istio.kubectl("apply", "--server-side", "-f", str(VIRTUAL_SERVICES))
        path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/mesh-rewrites"
        eventually(lambda: space.calls.call("GET", path).accepted, PATIENCE, "it goes on by itself")
        eventually(lambda: space.condition("Stalled", "mesh")[1] != "ChildRefused", PATIENCE, "and says so")
    finally:
        operator.kill()
        space.calls.close()


def pods_of(space: Space, name: str) -> list[str]:
    labels = f"rewriter.dev/release={name},rewriter.dev/role=passthrough"
    found = lambda: space.kubectl("get", "pods", "-l", labels, "-o", "jsonpath={.items[*].metadata.name}").split()  # noqa: E731
    eventually(lambda: bool(found()), PATIENCE, "the passthrough's pods are there")
    return found()
