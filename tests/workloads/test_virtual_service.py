"""The VirtualService: its shape, what is read from a live one, and what it is without a candidate."""

import copy
from typing import Any

import pytest

from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest, render
from rewriter_operator.workloads.routers import ROUTERS, router_of
from tests.builders import INSTALLATION, make_spec, make_world

ROUTER = ROUTERS["VirtualService"]
TRAFFIC = {"virtualService": {"hosts": ["rewrites"]}}
STAGES = (("finerank", 1), ("recall", None))


def made(share: int = 0, traffic: dict[str, Any] = TRAFFIC, **changes: Any) -> Manifest:
    """r0001 serves finerank, the passthrough recall; r0002 has this share of finerank."""
    wanted = WantedRoute(
        STAGES, candidate=2, shares=(("finerank", share),) if share else (), idle=(-1, 1, 2), **changes
    )
    return render(make_world(make_spec(traffic=traffic)).release, (wanted,), INSTALLATION)[0]


def live(share: int = 25, **status: Any) -> dict[str, Any]:
    body = copy.deepcopy(made(share).body)
    body["metadata"]["generation"] = 7
    return body | ({"status": status} if status else {})


def weighted(rule: dict[str, Any]) -> dict[str, int]:
    return {item["destination"]["host"]: item["weight"] for item in rule["route"]}


def test_each_stage_has_its_rule_and_the_last_one_takes_everything_else() -> None:
    """Istio takes the first rule that matches, and answers 404 where none does."""
    first, second, last = made(25).body["spec"]["http"]
    assert [rule["name"] for rule in (first, second, last)] == ["finerank", "recall", "everything-else"]
    for rule, stage in ((first, "finerank"), (second, "recall")):
        (match,) = rule["match"]
        assert match["headers"] == {STAGE_HEADER: {"exact": stage}}
        assert (match["uri"], match["method"]) == ({"prefix": "/v1/rewrite"}, {"exact": "POST"})
    assert "match" not in last
    assert weighted(first) == {"shop-r0001": 75, "shop-r0002": 25, "shop-passthrough": 0}
    assert weighted(last) == {"shop-passthrough": 100, "shop-r0001": 0, "shop-r0002": 0}


@pytest.mark.parametrize("share", [0, 1, 50, 100])
def test_the_weights_of_a_rule_are_a_hundred(share: int) -> None:
    assert {sum(weighted(rule).values()) for rule in made(share).body["spec"]["http"]} == {100}


def test_what_the_mesh_would_fill_in_is_written_out() -> None:
    spec = made().body["spec"]
    assert (spec["hosts"], spec["gateways"], spec["exportTo"]) == (["rewrites"], ["mesh"], ["*"])
    assert (spec["tcp"], spec["tls"]) == ([], []), "ours, so that what a hand adds is taken away again"
    assert all(rule["retries"] == {"attempts": 0} and rule["timeout"] == "7s" for rule in spec["http"])


def test_gateways_of_istio_take_the_place_of_the_mesh() -> None:
    spec = made(traffic={"virtualService": {"hosts": ["a.example"], "gateways": ["gateways/internal", "mesh"]}}).body
    assert (spec["spec"]["hosts"], spec["spec"]["gateways"]) == (["a.example"], ["gateways/internal", "mesh"])


def test_it_has_the_marks_and_the_name_that_every_route_has() -> None:
    body = made(25, withdrawn=2).body
    assert (body["apiVersion"], body["kind"]) == ("networking.istio.io/v1", "VirtualService")
    assert body["metadata"]["name"] == names.route("shop")
    assert body["metadata"]["annotations"][names.ANNOTATION_SHARES] == '{"finerank": 25}'
    assert body["metadata"]["annotations"][names.ANNOTATION_WITHDRAWN] == "2"
    assert made().update and made().is_route and made().compared == made().body["spec"]


@pytest.mark.parametrize("share", [0, 1, 25, 100])
def test_what_was_written_is_what_is_read(share: int) -> None:
    found = ROUTER.verify_share(live(share))
    assert (found.shares, found.accepted) == ({"finerank": share, "recall": 0}, None)


@pytest.mark.parametrize(
    ("weights", "share"),
    [([90, 10], 10), ([900, 101], 11), ([0, 1], 100), ([None, 10], 100), ([1, None], 0), ([0, 0], 0), ([5, -5], 0)],
)
def test_shares_are_read_from_the_weights_as_a_hand_has_left_them(weights: list[int | None], share: int) -> None:
    body = live()
    routes = body["spec"]["http"][0]["route"] = body["spec"]["http"][0]["route"][:2]
    for route, weight in zip(routes, weights, strict=True):
        route["weight"] = weight
    assert ROUTER.verify_share(body).shares["finerank"] == share


NONSENSE: list[Any] = [None, 7, "x", [], {}, [7], [{}], [{"route": 7}], [{"match": 7}], [{"match": [{"headers": 7}]}]]


@pytest.mark.parametrize("http", NONSENSE, ids=str)
def test_nonsense_is_read_without_a_failure(http: Any) -> None:
    body = live()
    body["spec"]["http"] = http
    assert ROUTER.verify_share(body).shares == {}
    assert ROUTER.without_candidate(body["spec"], "shop") is None


RECONCILED = {"type": "Reconciled", "status": "True"}
ERROR = {"code": "IST0101", "level": "Error", "message": "gateway not found"}
ERROR_OF_NOW = {"type": {"name": "ReferencedResourceNotFound", "code": "IST0101"}, "level": "ERROR"}


@pytest.mark.parametrize(
    ("status", "accepted"),
    [
        ({}, None),
        ({"conditions": []}, None),
        ({"observedGeneration": 7}, None),
        ({"observedGeneration": 7, "conditions": [RECONCILED]}, True),
        ({"observedGeneration": "7", "conditions": [RECONCILED]}, True),
        ({"conditions": [RECONCILED | {"observedGeneration": 7}]}, True),
        ({"conditions": [RECONCILED]}, None),
        ({"observedGeneration": 6, "conditions": [RECONCILED]}, None),
        ({"observedGeneration": 7, "conditions": [RECONCILED | {"observedGeneration": 6}]}, None),
        ({"observedGeneration": 7, "conditions": [RECONCILED | {"status": "False"}]}, None),
        ({"validationMessages": [ERROR]}, False),
        ({"validationMessages": [ERROR_OF_NOW]}, False),
        ({"observedGeneration": 7, "conditions": [RECONCILED], "validationMessages": [ERROR]}, False),
        ({"observedGeneration": 6, "validationMessages": [ERROR]}, None),
        ({"validationMessages": [ERROR | {"level": "Warn"}]}, None),
        ({"validationMessages": "x", "conditions": 7}, None),
    ],
    ids=str,
)
def test_what_istio_says_of_it_counts_at_its_own_generation_and_silence_is_no_yes(
    status: dict[str, Any], accepted: bool | None
) -> None:
    found = ROUTER.verify_share(live(**status))
    assert found.accepted is accepted
    assert ("IST0101" in found.message) is (accepted is False)


@pytest.mark.parametrize("share", [1, 50, 100])
def test_without_the_candidate_its_incumbent_has_everything(share: int) -> None:
    body = live(share)
    found = ROUTER.without_candidate(body["spec"], "shop")
    assert found is not None and found.revision == 2
    first, *others = found.spec["http"]
    assert weighted(first) == {"shop-r0001": 100, "shop-r0002": 0, "shop-passthrough": 0}
    assert others == body["spec"]["http"][1:], "nothing else is touched"
    assert {key: value for key, value in found.spec.items() if key != "http"} == {
        key: value for key, value in body["spec"].items() if key != "http"
    }
    assert ROUTER.without_candidate(found.spec, "shop") is None


def test_a_candidate_whose_name_a_hand_wrote_in_full_is_one_too() -> None:
    body = live(30)
    body["spec"]["http"][0]["route"][1]["destination"]["host"] = "shop-r0002.search.svc.cluster.local"
    found = ROUTER.without_candidate(body["spec"], "shop")
    assert found is not None and found.revision == 2


def test_a_backend_that_is_somebody_elses_is_left_alone() -> None:
    body = live(30)
    body["spec"]["http"][0]["route"][1]["destination"]["host"] = "somebody-elses"
    assert ROUTER.without_candidate(body["spec"], "shop") is None


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ({}, "HTTPRoute"),
        ({"spec": 7}, "HTTPRoute"),
        ({"spec": {"traffic": []}}, "HTTPRoute"),
        ({"spec": {"traffic": {"gateway": {"name": "x"}}}}, "HTTPRoute"),
        ({"spec": {"traffic": {"service": {}}}}, "HTTPRoute"),
        ({"spec": {"traffic": {"virtualService": {}}}}, "VirtualService"),
        ({"spec": {"traffic": {"virtualService": "of a later version"}}}, "VirtualService"),
    ],
    ids=str,
)
def test_the_router_of_a_release_is_found_although_nobody_can_read_it(stored: dict[str, Any], kind: str) -> None:
    assert router_of(stored).kind == kind
