"""Objects that somebody has edited by hand are read as far as they go, and never keep the others from being read."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import WeightsRef
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.observe import Observation, _read_child, _token, with_written
from rewriter_operator.core.begun_spec import began_with
from rewriter_operator.core.world import Budget, Deployment, Pod, Role, Route
from tests.builders import make_cycle, make_spec, make_status, make_world, weights_ref

OWNER = "uid-shop"


def item(kind: str = "Service", **metadata: Any) -> dict[str, Any]:
    labels = {"rewriter.dev/role": "serving", "rewriter.dev/cycle": "2", "rewriter.dev/number": "0"}
    values: dict[str, Any] = {
        "name": "shop-r0002",
        "uid": "uid-1",
        "generation": 1,
        "labels": labels,
        "ownerReferences": [{"uid": OWNER}],
    }
    return {"kind": kind, "metadata": values | metadata, "spec": {}}


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"rewriter.dev/role": "tourist"},
        {"rewriter.dev/role": "serving", "rewriter.dev/cycle": "two"},
        {"rewriter.dev/role": "serving", "rewriter.dev/cycle": "2", "rewriter.dev/number": "²"},
    ],
    ids=["none", "role", "cycle", "number"],
)
def test_a_child_whose_labels_say_nothing_counts_as_missing(labels: dict[str, str]) -> None:
    assert _read_child(item(labels=labels), OWNER) is None
    assert _read_child(item(), OWNER) is not None


def test_a_disruption_budget_is_read_as_somebody_has_edited_it() -> None:
    budget = _read_child(item("PodDisruptionBudget") | {"spec": {"minAvailable": 2}}, OWNER)
    assert isinstance(budget, Budget)
    assert (budget.role, budget.cycle, budget.spec) == (Role.SERVING, 2, {"minAvailable": 2})


@pytest.mark.parametrize("text", ["[]", "7", "null", '"x"', "{", "[" * 100_000])
def test_a_route_whose_annotations_are_nonsense_reads_as_edited_by_hand(text: str) -> None:
    labels = {"rewriter.dev/role": "route", "rewriter.dev/cycle": "0", "rewriter.dev/number": "0"}
    annotations = {"rewriter.dev/shares": text, "rewriter.dev/withdrawn": "²"}
    body = item("HTTPRoute", labels=labels, annotations=annotations)
    headers = [{"name": "x-rewriter-stage", "value": "finerank"}]
    body["spec"] = {"rules": [{"matches": [{"headers": headers}], "backendRefs": [{"weight": 90}, {"weight": 10}]}]}
    route = _read_child(body, OWNER)
    assert isinstance(route, Route)
    assert (route.spec_hash, dict(route.shares), route.withdrawn) == ("edited by hand", {"finerank": 10}, None)


@pytest.mark.parametrize("raw", [b"line\nbreak", b"\xff\xfe", "тайна".encode()], ids=["newline", "bytes", "letters"])
def test_a_token_that_no_header_can_carry_is_none(raw: bytes) -> None:
    secret = item("Secret", labels={"rewriter.dev/role": Role.AGENT_TOKEN.value})
    assert _token([secret | {"data": {"token": base64.b64encode(raw).decode()}}]) == ""
    assert _token([secret | {"data": {"token": "not base64"}}]) == ""
    assert _token([secret | {"data": {"token": base64.b64encode(b"abc").decode()}}]) == "abc"


SERVICE = {"group": "", "kind": "Service", "name": "rewrites", "namespace": "search", "port": 80}
GATEWAY = {"name": "internal"}


def said(parent: dict[str, Any], truth: str = "True", generation: int = 1) -> dict[str, Any]:
    values = {"status": truth, "reason": "Because", "message": "", "observedGeneration": generation}
    return {"parentRef": parent, "conditions": [{"type": kind, **values} for kind in ("Accepted", "ResolvedRefs")]}


def of_which_is_said(parents: list[dict[str, Any]]) -> Route:
    labels = {"rewriter.dev/role": "route", "rewriter.dev/cycle": "0", "rewriter.dev/number": "0"}
    body = item("HTTPRoute", labels=labels) | {"spec": {"parentRefs": [SERVICE]}, "status": {"parents": parents}}
    route = _read_child(body, OWNER)
    assert isinstance(route, Route)
    return route


@pytest.mark.parametrize(
    ("parents", "accepted"),
    [
        ([], None),
        ([said(SERVICE)], True),
        ([said(SERVICE), said(SERVICE)], True),
        ([said(SERVICE), said(SERVICE, "False")], False),
        ([said(SERVICE, generation=0), said(SERVICE, "False")], False),
        ([said(SERVICE, "False"), said(SERVICE, generation=0)], False),
        ([said(SERVICE, generation=0), said(SERVICE)], None),
        ([said(SERVICE, generation=0)], None),
        ([said(GATEWAY, generation=0)], None),
        ([said(GATEWAY)], None),
        ([said(GATEWAY, generation=0), said(SERVICE)], True),
        ([said(GATEWAY, "False"), said(SERVICE)], True),
        ([said({"kind": "Gateway", "name": "rewrites"}, "False"), said(SERVICE)], True),
    ],
)
def test_only_what_the_routes_own_parents_say_counts(parents: list[dict[str, Any]], accepted: bool | None) -> None:
    """Two controllers of one mesh both count; what a Gateway said before the route turned to a Service does not."""
    assert of_which_is_said(parents).accepted is accepted


@pytest.mark.parametrize(
    ("parents", "was_accepted"),
    [
        ([], False),
        ([said(SERVICE, generation=0)], True),
        ([said(SERVICE, "False", generation=0)], False),
        ([said(SERVICE), said(SERVICE, generation=0)], True),
        ([said(SERVICE), said(SERVICE, "False", generation=0)], False),
        ([said(SERVICE, "False"), said(SERVICE, generation=0)], False),
        ([said(GATEWAY, generation=0)], False),
        ([{"parentRef": SERVICE, "conditions": said(SERVICE, generation=0)["conditions"][:1]}], False),
    ],
)
def test_what_was_said_of_an_earlier_route_is_told_apart(parents: list[dict[str, Any]], was_accepted: bool) -> None:
    route = of_which_is_said(parents)
    assert (route.accepted is not True, route.was_accepted) == (True, was_accepted)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (wire.dumps(weights_ref("r0002-p01")), weights_ref("r0002-p01")),
        ('{"version": "r0002-p01"}', None),
        ("", None),
    ],
    ids=["whole", "half", "empty"],
)
def test_what_a_sampler_was_made_for_is_read_from_its_template_alone(value: str, found: WeightsRef | None) -> None:
    labels = {"rewriter.dev/role": "sampler", "rewriter.dev/cycle": "2", "rewriter.dev/number": "0"}
    pod = item("Pod", labels=labels, creationTimestamp="2026-01-01T00:00:00Z")
    sidecar = {"name": "mesh"}
    main = {"name": "main", "env": [{"name": "POD_UID", "valueFrom": {}}, {"name": env.WEIGHTS, "value": value}]}
    child = _read_child(pod | {"spec": {"containers": [sidecar, main]}}, OWNER)
    assert isinstance(child, Pod) and child.made_for == found
    told = _read_child(pod | {"spec": {"containers": [sidecar]}}, OWNER)
    assert isinstance(told, Pod) and told.made_for is None


def of_pool(labels: dict[str, str], **annotations: str) -> Pod:
    ours = {"rewriter.dev/role": "serving", "rewriter.dev/number": "0", "rewriter.dev/pool": "serving"}
    body = item(
        "Pod",
        labels=ours | labels,
        creationTimestamp="2026-01-01T00:00:00Z",
        annotations={f"rewriter.dev/{key.replace('_', '-')}": value for key, value in annotations.items()},
    )
    found = _read_child(body, OWNER)
    assert isinstance(found, Pod) and found.pool
    return found


def test_a_pod_of_the_pool_serves_what_its_label_says_and_without_one_nobody() -> None:
    serves = of_pool({"rewriter.dev/cycle": "2"}, assigned_at="2026-01-01T00:00:05+00:00", serving="{}")
    assert (serves.role, serves.cycle, serves.order) == (Role.SERVING, 2, "{}")
    assert serves.assigned_at == serves.created_at + 5
    assert of_pool({}).role is Role.POOL


@pytest.mark.parametrize(
    ("status", "rolls"),
    [
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 1}, False),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1}, True),
        ({"observedGeneration": 2}, True),
        ({"observedGeneration": 1, "updatedReplicas": 2}, True),
        ({}, True),
    ],
    ids=["all are new", "one is old", "none yet", "not looked at", "never looked at"],
)
def test_a_deployment_rolls_until_all_its_pods_are_of_its_newest_template(status: dict[str, int], rolls: bool) -> None:
    found = _read_child(item("Deployment", generation=2) | {"spec": {"replicas": 2}, "status": status}, OWNER)
    assert isinstance(found, Deployment) and found.rolls is rolls


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "[]"])
def test_a_moment_that_somebody_made_unreadable_is_long_ago(text: str) -> None:
    assert of_pool({}, released_at=text).released_at == 0


def observed(*children: dict[str, Any]) -> Observation:
    read = tuple(child for entry in children if (child := _read_child(entry, OWNER)))
    world = make_world()
    return Observation(replace(world, release=replace(world.release, uid=OWNER), children=read), token="t")


def test_a_child_that_was_written_is_known_as_the_api_server_answered() -> None:
    before = observed(item("Deployment", name="a"), item("Service", name="b"), item("Deployment", name="b"))
    changed = item("Deployment", name="b") | {"spec": {"replicas": 3}, "status": {}}
    after = with_written(before, changed)
    assert after is not None and after.token == "t"
    found = {(child.kind, child.name): child for child in after.world.children}
    assert list(found) == [("Service", "b"), ("Deployment", "b")], "the first has no replicas, and was never read"
    deployment = found["Deployment", "b"]
    assert isinstance(deployment, Deployment)
    assert (deployment.replicas, deployment.observed, deployment.ready) == (3, False, 0)


def test_a_token_that_was_made_is_the_one_to_ask_pods_with() -> None:
    labels = {"rewriter.dev/role": Role.AGENT_TOKEN, "rewriter.dev/cycle": "0"}
    secret = item("Secret", labels=labels) | {"data": {"token": base64.b64encode(b"new").decode()}}
    after = with_written(observed(), secret)
    assert after is not None and after.token == "new"


def stored(spec: RewriterReleaseSpec, status: RewriterReleaseStatus, **metadata: Any) -> dict[str, Any]:
    """The release as the API server answers."""
    values = {"namespace": "search", "name": "shop", "uid": OWNER, "generation": 1}
    made = {"creationTimestamp": "2026-11-23T10:00:00Z"}
    return {
        "kind": "RewriterRelease",
        "metadata": values | made | metadata,
        "spec": spec.to_api(),
        "status": status.to_api(),
    }


def test_a_status_that_was_written_is_the_releases() -> None:
    spec = make_spec()
    before = Observation(make_world(spec), token="t")
    after = with_written(before, stored(spec, make_status(spec, message="more")))
    assert after is not None
    assert after.world.status.message == "more"
    assert after.world.spec is before.world.spec, "what was worked out about a spec is remembered by the object"


def test_after_a_status_with_another_spec_in_force_all_is_to_be_read_anew() -> None:
    """It may name another claim, or route by another kind of object."""
    begun, spec = make_spec(onChange="Queue"), make_spec(onChange="Queue", **{"volume.claimName": "another"})
    runs = make_status(spec, state=State.TRAINING, cycle=make_cycle(begun, began_with=began_with(begun)))
    during = Observation(make_world(spec, runs), token="t")
    goes_on = stored(spec, runs.model_copy(update={"message": "more"}))
    assert with_written(during, goes_on) is not None
    assert with_written(during, stored(spec, make_status(spec))) is None


def test_a_release_that_is_being_deleted_is_not_known_any_more() -> None:
    spec = make_spec()
    item = stored(spec, make_status(spec), deletionTimestamp="2026-11-23T11:00:00Z")
    assert with_written(Observation(make_world(spec), token="t"), item) is None


@pytest.mark.parametrize(
    ("status", "ready", "answering"),
    [
        ({"observedGeneration": 4, "updatedReplicas": 2, "availableReplicas": 2}, 2, 2),
        ({"observedGeneration": 4, "replicas": 2, "availableReplicas": 2}, 0, 2),
        ({"observedGeneration": 4, "updatedReplicas": 1, "availableReplicas": 2}, 1, 2),
        ({"observedGeneration": 3, "updatedReplicas": 2, "availableReplicas": 2}, 0, 2),
        ({}, 0, 0),
    ],
    ids=["all are new", "none is new", "one is new", "not seen yet", "just made"],
)
def test_pods_of_the_template_before_answer_too(status: dict[str, Any], ready: int, answering: int) -> None:
    body = item("Deployment", generation=4) | {"spec": {"replicas": 2}, "status": status}
    found = _read_child(body, OWNER)
    assert isinstance(found, Deployment)
    assert (found.ready, found.answering) == (ready, answering)
