"""What people, other tools and the cluster do to a release's own objects, on a real API server.

Where minutes count, the reconciler runs inside the test, which says what time it is.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from kubernetes.aio import client, config

from e2e.cluster import ControlPlane, control_plane
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.contests import REPAIRS, REST_SECONDS, WINDOW_SECONDS
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Forbidden, Kube
from rewriter_operator.errors import Retry
from rewriter_operator.reconcile import Reconciler
from tests.builders import INSTALLATION
from tests.integration import conftest
from tests.integration.api_calls import ApiCalls
from tests.integration.conftest import PATIENCE, ROOT, Operator, Space, eventually, release
from tests.integration.test_operator_process import KINDS, is_unchanged, preparing
from tests.integration.test_unreadable_release import Clock, rolling_out, shares, with_its_route

pytestmark = pytest.mark.integration

ROUTE, SERVICE, DEPLOYMENT = "shop-rewrites", "shop-passthrough", "shop-passthrough"
Story = Callable[[Reconciler], Awaitable[None]]


def play(space: Space, told: Story, kubeconfig: Path | None = None) -> None:
    """Runs `told` with a reconciler over the test's namespace."""

    async def run() -> None:
        configuration = client.Configuration()
        await config.load_kube_config(str(kubeconfig or space.api.kubeconfig), client_configuration=configuration)
        term = Term(epoch=1, until=time.monotonic() + 3600, grace=1.0, alarm=lambda _: None)
        kube = Kube(client.ApiClient(configuration), space.name, term=term)
        try:
            async with aiohttp.ClientSession() as session:
                await told(Reconciler(Hands(kube, Agents(session, 1), term), INSTALLATION))
        finally:
            await kube.close()
            await asyncio.sleep(0.5)  # aiohttp closes connections with TLS a moment later

    asyncio.run(run())


async def at_rest(reconciler: Reconciler, limit: int = 60) -> None:
    """Passes until one has nothing to write; an API server that is new says "try again" for a moment."""
    reconciler.readings.changed("shop")  # there are no watches here to tell of a hand's edit
    for _ in range(limit):
        try:
            if (await reconciler("shop")).seconds > 0.5:
                return
        except Retry:
            await asyncio.sleep(0.2)
    raise AssertionError(f"still writing after {limit} passes")


def started(space: Space) -> None:
    space.inputs()
    space.create(release())


# --- hands on the route and on the pods


def patched(space: Space, kind: str, name: str, *changes: dict[str, Any]) -> None:
    space.kubectl("patch", kind, name, "--type=json", "-p", json.dumps(changes))


ELSEWHERE = {"backendRefs": [{"name": "somebody-elses", "port": 8080, "weight": 1}]}
EDITS: dict[str, dict[str, Any]] = {
    "a backend without weight": {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 0},
    "another backend": {"op": "replace", "path": "/spec/rules/0/backendRefs/0/name", "value": "somebody-elses"},
    "a candidate": {
        "op": "add",
        "path": "/spec/rules/0/backendRefs/1",
        "value": {"name": "shop-r0009", "port": 8080, "weight": 900},
    },
    "a rule in front": {"op": "add", "path": "/spec/rules/0", "value": ELSEWHERE},
    "a rule less": {"op": "remove", "path": "/spec/rules/0"},
    "another gateway": {"op": "replace", "path": "/spec/parentRefs/0/name", "value": "public"},
    "a filter": {
        "op": "add",
        "path": "/spec/rules/0/filters",
        "value": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x-rewriter-stage"]}}],
    },
}


def test_every_edit_of_the_route_by_hand_is_put_right_and_what_was_not_edited_is_not_written(space: Space) -> None:
    started(space)

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.contests.clock = Clock()
        await at_rest(reconciler)
        wanted = space.get("httproute", ROUTE)
        for name, edit in EDITS.items():
            clock.now += WINDOW_SECONDS  # one edit now and then is no contest
            patched(space, "httproute", ROUTE, edit)
            await at_rest(reconciler)
            assert space.get("httproute", ROUTE)["spec"] == wanted["spec"], name
        version = space.get("httproute", ROUTE)["metadata"]["resourceVersion"]
        for _ in range(3):
            await at_rest(reconciler)
        assert space.get("httproute", ROUTE)["metadata"]["resourceVersion"] == version

    play(space, story)


def test_a_share_that_a_hand_gives_to_a_candidate_is_taken_back_by_the_first_write(space: Space) -> None:
    status = rolling_out(space)

    async def story(reconciler: Reconciler) -> None:
        await with_its_route(space, reconciler, status)
        patched(space, "httproute", ROUTE, {"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 0})
        assert shares(space) == {"shop-r0002": 10}, "ten of ten"
        await reconciler("shop")
        assert shares(space).get("shop-r0002", 0) <= 10 and shares(space)["shop-r0001"] >= 90

    play(space, story)


def test_a_deployment_that_was_scaled_down_is_scaled_up_again_and_one_with_more_pods_is_left_alone(
    space: Space,
) -> None:
    started(space)

    async def story(reconciler: Reconciler) -> None:
        await at_rest(reconciler)
        for hand, after in ((0, 1), (3, 3)):
            space.kubectl("scale", "deployment", DEPLOYMENT, f"--replicas={hand}")
            await at_rest(reconciler)
            assert space.get("deployment", DEPLOYMENT)["spec"]["replicas"] == after

    play(space, story)


def test_a_fight_with_another_manager_is_told_and_not_joined(space: Space) -> None:
    started(space)

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.contests.clock = Clock()
        await at_rest(reconciler)
        for _ in range(REPAIRS):  # making it counted as the first time
            space.kubectl("delete", "service", SERVICE)
            await at_rest(reconciler)
        assert space.get("service", SERVICE) and space.condition("Stalled")[1] == "ChildContested"
        told = space.condition("Stalled")[2]
        assert told.startswith(f"Service {SERVICE} is deleted again and again: it was put right over {REPAIRS} times")
        space.kubectl("delete", "service", SERVICE)
        await at_rest(reconciler)
        assert not space.get("service", SERVICE), "once a minute is enough"
        clock.now += REST_SECONDS
        await at_rest(reconciler)
        assert space.get("service", SERVICE)
        assert space.condition("Stalled")[2] == told
        clock.now += WINDOW_SECONDS + 1
        await at_rest(reconciler)
        assert space.condition("Stalled")[1] != "ChildContested"

    play(space, story)


# --- verbs


def as_service_account(space: Space, directory: Path) -> Path:
    """A kubeconfig with the rights of the shipped Role, and no more."""
    for body in yaml.safe_load_all((ROOT / "manifests/base/role.yaml").read_text()):
        for subject in body.get("subjects", []):
            subject["namespace"] = space.name
        space.create(body)
    read = yaml.safe_load(space.api.kubeconfig.read_text())
    read["users"][0]["user"] = {"token": space.kubectl("create", "token", "rewriter-operator").strip()}
    found = directory / "operator.kubeconfig"
    found.write_text(yaml.safe_dump(read))
    return found


def role(space: Space, pods: list[str]) -> None:
    """The operator's Role with these verbs for pods."""
    body = json.loads(space.kubectl("get", "role", "rewriter-operator", "-o", "json"))
    (rule,) = (rule for rule in body["rules"] if rule["resources"] == ["pods"])
    rule["verbs"] = pods
    space.kubectl("replace", "-f", "-", input=json.dumps(body))


async def raising(reconciler: Reconciler, kind: type[Exception]) -> None:
    """Passes until one raises: an authorizer learns of a change a moment later."""
    for _ in range(200):
        try:
            await reconciler("shop")
        except kind:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no pass raised {kind.__name__}")


def test_a_verb_that_the_role_lost_is_named_in_a_condition_and_the_candidate_is_taken_back(
    space: Space, tmp_path: Path
) -> None:
    kubeconfig = as_service_account(space, tmp_path)
    status = rolling_out(space)
    all_verbs = ["get", "list", "watch", "create", "patch", "delete"]

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.unwatched.clock = Clock()
        await with_its_route(space, reconciler, status)
        role(space, [verb for verb in all_verbs if verb != "list"])
        for clock.now in (0.0, 30.0, 61.0):
            await raising(reconciler, Forbidden)
        kind, reason, message = space.condition("Stalled")
        assert (kind, reason) == ("True", "Forbidden")
        assert 'cannot list resource "pods" in API group ""' in message
        assert "give its Role the verb back (manifests/base/role.yaml)" in message
        assert shares(space) == {"shop-r0001": 100}
        role(space, all_verbs)
        for _ in range(200):
            try:
                await reconciler("shop")
                break
            except Forbidden:
                await asyncio.sleep(0.05)
        assert space.condition("Stalled")[0] == "False"
        assert space.get("rr", "shop")["status"]["state"] == "Withdrawing"

    play(space, story, kubeconfig)


def test_a_secret_that_is_somebody_elses_is_named_although_the_role_lets_no_secret_be_read(
    space: Space, tmp_path: Path
) -> None:
    kubeconfig = as_service_account(space, tmp_path)
    space.kubectl("create", "secret", "generic", "shop-agent-token", "--from-literal=token=theirs")
    started(space)

    async def story(reconciler: Reconciler) -> None:
        await raising(reconciler, Retry)
        kind, reason, message = space.condition("Stalled")
        assert (kind, reason) == ("True", "ChildRefused")
        assert message.startswith("Secret shop-agent-token is there already and is not of RewriterRelease shop")
        space.kubectl("delete", "secret", "shop-agent-token")
        await at_rest(reconciler)
        assert space.condition("Stalled")[0] == "False"
        assert {"service/shop-passthrough", "pod/shop-c0000-prepare-1"} <= space.names("services,pods")

    play(space, story, kubeconfig)


# --- what is deleted


def owners(space: Space) -> set[str]:
    """Uids of the releases that own children here."""
    found = json.loads(space.kubectl("get", KINDS, "-l", "rewriter.dev/release=shop", "-o", "json"))["items"]
    return {
        owner["uid"]
        for item in found
        for owner in item["metadata"].get("ownerReferences", [])
        if owner["kind"] == "RewriterRelease"
    }


def test_a_release_that_is_deleted_and_created_again_at_once_adopts_nothing(space: Space, operator: Operator) -> None:
    started(space)
    preparing(space)
    old = space.get("rr", "shop")["metadata"]["uid"]
    for _ in range(3):
        space.kubectl("delete", "rr", "shop", "--wait=false")
        space.create(release())
    new = space.get("rr", "shop")["metadata"]["uid"]
    assert new != old
    eventually(lambda: owners(space) == {new}, PATIENCE, "every child is the new release's")
    preparing(space)
    eventually(lambda: space.condition("Stalled")[1] != "ChildRefused", PATIENCE, "what was in the way is gone")
    assert space.get("rr", "shop")["status"]["state"] == "Bootstrapping"


ADOPTED = "secrets,deployments,services,httproutes,rewriterrevisions,poddisruptionbudgets"
CYCLE_PODS = "rewriter.dev/release=shop,rewriter.dev/role in (prepare,record,trainer,sampler)"


def collector_knows_routes(space: Space) -> None:
    """It has taken notice of the CRD: an owner that is not there is seen. One that has not would let go of no route,
    and collect it later."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
    metadata = {"name": "probe", "ownerReferences": [owner]}
    body = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": {}}
    space.create(body)
    eventually(lambda: not space.get("httproute", "probe"), PATIENCE, "the garbage collector knows HTTPRoutes")


def given_back(space: Space, uid: str) -> None:
    """As docs/operations.md says it."""
    owner = {"apiVersion": "rewriter.dev/v1alpha1", "kind": "RewriterRelease", "name": "shop", "uid": uid}
    owned = json.dumps({"metadata": {"ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}})
    for name in space.kubectl("get", ADOPTED, "-l", "rewriter.dev/release=shop", "-o", "name").split():
        space.kubectl("patch", name, "--type=merge", "-p", owned)
    space.kubectl("delete", "pods", "-l", CYCLE_PODS)


def test_what_an_orphaning_delete_left_serves_on_and_can_be_given_back(space: Space, operator: Operator) -> None:
    started(space)
    preparing(space)
    route, token = space.get("httproute", ROUTE)["spec"], space.get("secret", "shop-agent-token")["data"]
    old = space.get("rr", "shop")["metadata"]["uid"]
    collector_knows_routes(space)
    space.kubectl("delete", "rr", "shop", "--cascade=orphan", f"--timeout={PATIENCE:.0f}s")
    eventually(lambda: owners(space) == set(), PATIENCE, "the garbage collector has let go of all")
    left = space.names("deployments,services,secrets,httproutes,pods")
    space.create(release())
    refused = "Secret shop-agent-token is there already and is not of RewriterRelease shop"
    eventually(lambda: space.condition("Stalled")[2].startswith(refused), PATIENCE, "what is in the way is named")
    assert space.get("httproute", ROUTE)["spec"] == route, "requests go where they went"
    assert space.names("deployments,services,secrets,httproutes,pods") == left
    new = space.get("rr", "shop")["metadata"]["uid"]
    given_back(space, new)
    eventually(lambda: owners(space) == {new} != {old}, PATIENCE, "every child is the new release's")
    preparing(space)
    eventually(lambda: space.condition("Stalled")[1] != "ChildRefused", PATIENCE, "nothing is in the way")
    assert space.get("secret", "shop-agent-token")["data"] == token, "pods that serve still know it"


def test_an_operator_whose_namespace_is_deleted_lives_on_and_serves_it_when_it_is_there_again(
    space: Space, operator: Operator
) -> None:
    started(space)
    preparing(space)
    space.api.kubectl("delete", "namespace", space.name, f"--timeout={PATIENCE:.0f}s")
    time.sleep(3)
    assert operator.process and operator.process.poll() is None and operator.is_healthy()
    space.api.kubectl("create", "namespace", space.name)
    eventually(lambda: bool(space.kubectl("get", "serviceaccounts", "-o", "name")), PATIENCE, "it is there again")
    started(space)
    preparing(space)
    assert operator.process.poll() is None
    assert "Traceback" not in operator.log.read_text()


@pytest.fixture
def own_plane() -> Iterator[ControlPlane]:
    """An API server of this test's own: what is deleted here would be everybody's."""
    plane = control_plane("integration-crds", until_exit_of=os.getpid())
    conftest._install_once(plane)
    yield plane
    plane.down()


def test_an_operator_whose_crd_is_deleted_lives_on_and_works_when_it_is_installed_again(
    own_plane: ControlPlane, tmp_path: Path
) -> None:
    calls = ApiCalls.to(own_plane.kubeconfig)
    space = Space(own_plane, calls, "crds")
    own_plane.kubectl("create", "namespace", space.name)
    operator = Operator(space, tmp_path / "operator.log").start()
    try:
        started(space)
        preparing(space)
        own_plane.kubectl("delete", "crd", "rewriterreleases.rewriter.dev", f"--timeout={PATIENCE:.0f}s")
        # Longer than kopf would let a process live after a failure. Children stay for now: the garbage collector cannot
        # ask for owners of a kind that is not there.
        time.sleep(25)
        assert operator.process and operator.process.poll() is None
        own_plane.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
        own_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        space.create(release())
        new = space.get("rr", "shop")["metadata"]["uid"]
        eventually(lambda: owners(space) == {new}, PATIENCE, "what the old release left behind is collected")
        preparing(space)
        assert operator.process.poll() is None
    finally:
        operator.kill()
        calls.close()


def test_an_operator_that_is_taken_away_leaves_everything_as_it_is_and_holds_up_no_deletion(
    space: Space, operator: Operator
) -> None:
    objects = [
        item for item in yaml.safe_load_all(space.api.kubectl("kustomize", str(ROOT / "manifests/base"))) if item
    ]
    assert not {"CustomResourceDefinition", "RewriterRelease", "PersistentVolumeClaim"} & {
        item["kind"] for item in objects
    }, "`kubectl delete -k manifests/base` takes the operator and nothing else"
    started(space)
    preparing(space)
    operator.kill(15)
    assert is_unchanged(space, 5)
    assert "finalizers" not in space.get("rr", "shop")["metadata"]
    space.kubectl("delete", "rr", "shop", "--timeout=60s")
    eventually(lambda: not {name for name in space.names(KINDS) if "/shop-" in name}, PATIENCE, "no child is left")
    assert space.get("pvc", "rewriter"), "the volume is never touched"
