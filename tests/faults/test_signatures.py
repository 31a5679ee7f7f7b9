"""Two runs never agree in names with random parts and in times; they agree in signatures."""

import json
from typing import Any

import pytest

from tests.faults.signatures import Write, kind_of, signature_of

RELEASES = "/apis/rewriter.dev/v1alpha1/namespaces/f-1/rewriterreleases/shop/status"


def status(**fields: Any) -> bytes:
    return json.dumps({"metadata": {"name": "shop"}, "status": fields}).encode()


def test_a_status_goes_by_where_the_release_is_not_by_its_times() -> None:
    cycle = {"number": 1, "since": 1.5, "phase": {"number": 2, "step": "Syncing", "since": 1.5}}
    later = {"number": 1, "since": 2.5, "phase": {"number": 2, "step": "Syncing", "since": 7.5}}
    first = signature_of("PUT", RELEASES, status(state="Training", cycle=cycle, message="sampled 3 of 8"))
    assert first == "PUT rewriterreleases/shop/status Training c1.1 p2:Syncing"
    assert first == signature_of("PUT", RELEASES, status(state="Training", cycle=later, message="sampled 4 of 8"))


def test_a_step_a_share_and_a_verdict_make_a_difference() -> None:
    stage = {"name": "finerank", "share": 20, "step": 1}
    signatures = {
        signature_of("PUT", RELEASES, status(state="RollingOut", stages=[stage | change], cycle={"number": 1} | more))
        for change in ({}, {"share": 100}, {"step": 2}, {"verified": True})
        for more in ({}, {"gate": {"verdict": "Pass"}})
    }
    assert len(signatures) == 8


@pytest.mark.parametrize(
    ("method", "path", "body", "signature"),
    [
        ("POST", "/api/v1/namespaces/n/pods", {"metadata": {"name": "p"}}, "POST pods/p"),
        ("DELETE", "/api/v1/namespaces/n/pods/p", {}, "DELETE pods/p"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/n/events", {"reason": "Promoted"}, "POST events Promoted"),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d", {"spec": {}}, "PATCH deployments/d"),
    ],
)
def test_other_writes_go_by_verb_and_object(method: str, path: str, body: dict[str, Any], signature: str) -> None:
    assert signature_of(method, path, json.dumps(body).encode()) == signature


def test_a_route_goes_by_its_weights() -> None:
    rule = {
        "matches": [{"headers": [{"value": "finerank"}]}],
        "backendRefs": [{"name": "shop-passthrough", "weight": 80}, {"name": "shop-r0001", "weight": 20}],
    }
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/n/httproutes/shop-rewrites"
    body = json.dumps({"metadata": {"annotations": {"rewriter.dev/withdrawn": "1"}}, "spec": {"rules": [rule]}})
    expected = "PATCH httproutes/shop-rewrites finerank=passthrough:80,r0001:20 withdrawn=1"
    assert signature_of("PATCH", path, body.encode()) == expected


def test_a_rule_for_buckets_of_users_goes_by_its_expression() -> None:
    rule = {
        "matches": [{"headers": [{"value": "finerank"}, {"value": "^(0[0-4])$"}]}],
        "backendRefs": [{"name": "shop-passthrough", "weight": 0}, {"name": "shop-r0001", "weight": 100}],
    }
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/n/httproutes/shop-rewrites"
    expected = "PATCH httproutes/shop-rewrites finerank~^(0[0-4])$=passthrough:0,r0001:100"
    assert signature_of("PATCH", path, json.dumps({"spec": {"rules": [rule]}}).encode()) == expected


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        ("PUT rewriterreleases/shop/status Training c1.1 p2:Syncing", "PUT rewriterreleases Training"),
        ("ORDER shop-c0001-sampler-0 /v1/weights r0001-p01", "ORDER weights"),
        ("PATCH httproutes/shop-rewrites finerank=passthrough:80,r0001:20", "PATCH httproutes share"),
        ("PATCH httproutes/shop-rewrites finerank=r0001:100,r0002:0", "PATCH httproutes"),
        ("PATCH httproutes/shop-rewrites finerank=passthrough:100,r0001:0 withdrawn=1", "PATCH httproutes withdrawn"),
        ("DELETE pods/shop-c0001-trainer-0", "DELETE pods"),
        ("PATCH httproutes/shop-rewrites metadata managedFields", "PATCH httproutes metadata"),
    ],
)
def test_a_kind_of_write_goes_by_verb_and_resource(signature: str, kind: str) -> None:
    assert kind_of(Write(signature)) == kind
