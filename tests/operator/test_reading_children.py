"""Objects that somebody has edited by hand are read as far as they go, and never keep the others from being read."""

import base64
from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import WeightsRef
from rewriter_operator.cluster.observe import _read_child, _token
from rewriter_operator.core.world import Budget, Pod, Role, Route
from tests.builders import weights_ref

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


@pytest.mark.parametrize(
    ("parents", "accepted"),
    [
        ([], None),
        ([said(SERVICE)], True),
        ([said(SERVICE), said(SERVICE)], True),
        ([said(SERVICE), said(SERVICE, "False")], False),
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
    labels = {"rewriter.dev/role": "route", "rewriter.dev/cycle": "0", "rewriter.dev/number": "0"}
    body = item("HTTPRoute", labels=labels) | {"spec": {"parentRefs": [SERVICE]}, "status": {"parents": parents}}
    route = _read_child(body, OWNER)
    assert isinstance(route, Route)
    assert route.accepted is accepted


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


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "[]"])
def test_a_moment_that_somebody_made_unreadable_is_long_ago(text: str) -> None:
    assert of_pool({}, released_at=text).released_at == 0
