"""Copies of requests for a candidate, by both routers: how they are written, read, taken back, and put right."""

import copy
from typing import Any

import pytest

from rewriter_operator.cluster.unwatched import withdrawal
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.diff import Want, first_difference
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest, render
from rewriter_operator.workloads.routers import ROUTERS
from tests.builders import INSTALLATION, make_route, make_spec, make_world

SPECS = {
    "HTTPRoute": make_spec(),
    "VirtualService": make_spec(traffic={"virtualService": {"hosts": ["rewrites"]}}),
}
STAGES = (("finerank", 1), ("recall", None))
KINDS = pytest.mark.parametrize("kind", sorted(SPECS))


def made(kind: str, percent: int = 20, share: int = 0, candidate: int | None = 2) -> Manifest:
    """r0001 serves finerank, the passthrough recall; r0002 gets copies of this percent of finerank."""
    wanted = WantedRoute(
        STAGES,
        candidate=candidate,
        shares=(("finerank", share),) if share else (),
        idle=(-1, 1, 2),
        mirrors=(("finerank", percent),) if percent else (),
    )
    return render(make_world(SPECS[kind]).release, (wanted,), INSTALLATION)[0]


def live(kind: str, percent: int = 20, share: int = 0) -> dict[str, Any]:
    body = copy.deepcopy(made(kind, percent, share).body)
    body["metadata"] |= {"generation": 7, "namespace": "search"}
    return body


def rules(body: dict[str, Any]) -> list[dict[str, Any]]:
    spec: dict[str, Any] = body["spec"]
    found: list[dict[str, Any]] = spec.get("rules") or spec["http"]
    return found


@pytest.mark.parametrize(
    ("kind", "share", "digest"),
    [
        ("HTTPRoute", 0, "a5cf6c09c1e89c41"),
        ("HTTPRoute", 25, "b21f3fdd73e20a96"),
        ("VirtualService", 0, "98d10f77641c6b92"),
        ("VirtualService", 25, "15276017d864372e"),
    ],
)
def test_a_route_without_a_mirror_is_the_one_that_it_was_before_there_were_any(
    kind: str, share: int, digest: str
) -> None:
    """An upgrade of the operator writes no route anew."""
    assert made(kind, 0, share).digest == digest


def test_an_http_route_copies_by_a_filter_of_the_stages_rule_alone() -> None:
    first, *others = rules(made("HTTPRoute").body)
    reference = {"group": "", "kind": "Service", "name": "shop-r0002", "port": 8080}
    assert first["filters"] == [
        {"type": "RequestMirror", "requestMirror": {"backendRef": reference, "percent": 20}},
    ]
    assert not any("filters" in rule for rule in others)


def test_a_virtual_service_copies_by_the_mirror_of_the_stages_rule_alone() -> None:
    first, *others = rules(made("VirtualService").body)
    assert first["mirror"] == {"host": "shop-r0002", "port": {"number": 8080}}
    assert first["mirrorPercentage"] == {"value": 20}
    assert not any("mirror" in rule for rule in others)


@KINDS
def test_a_mirror_changes_nothing_of_who_answers(kind: str) -> None:
    with_copies, without = rules(made(kind).body), rules(made(kind, 0).body)
    for ours, theirs in zip(with_copies, without, strict=True):
        assert {key: ours[key] for key in theirs} == theirs


@KINDS
def test_without_a_candidate_nothing_is_copied(kind: str) -> None:
    assert rules(made(kind, candidate=None).body) == rules(made(kind, 0, candidate=None).body)


@KINDS
@pytest.mark.parametrize("percent", [0, 1, 100])
def test_what_was_written_is_what_is_read(kind: str, percent: int) -> None:
    found = ROUTERS[kind].verify_share(live(kind, percent))
    assert found.mirrors == ({"finerank": percent} if percent else {})
    assert found.shares == {"finerank": 0, "recall": 0}, "copies are no share"


def filtered(**copies: Any) -> dict[str, Any]:
    return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "somebody-elses"}, **copies}}


@pytest.mark.parametrize(
    ("kind", "edit", "percent"),
    [
        ("HTTPRoute", {"filters": [filtered()]}, 100),
        ("HTTPRoute", {"filters": [filtered(percent=7)]}, 7),
        ("HTTPRoute", {"filters": [filtered(fraction={"numerator": 1, "denominator": 1000})]}, 1),
        ("HTTPRoute", {"filters": [filtered(fraction={"numerator": 5})]}, 5),
        ("HTTPRoute", {"filters": [filtered(percent=70), filtered(percent=70)]}, 100),
        ("HTTPRoute", {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {}}]}, 0),
        ("VirtualService", {"mirror": {"host": "x"}}, 100),
        ("VirtualService", {"mirror": {"host": "x"}, "mirrorPercentage": {"value": 0.5}}, 1),
        ("VirtualService", {"mirrors": [{"destination": {"host": "x"}, "percentage": {"value": 9}}]}, 9),
        ("VirtualService", {"mirrors": [{"destination": {"host": "x"}}, {"percentage": 7}]}, 100),
        ("VirtualService", {"mirror": 7, "mirrors": 7}, 0),
    ],
)
def test_a_mirror_is_read_as_a_hand_has_left_it(kind: str, edit: dict[str, Any], percent: int) -> None:
    body = live(kind, 0)
    rules(body)[0].update(edit)
    assert ROUTERS[kind].verify_share(body).mirrors.get("finerank", 0) == percent


@KINDS
def test_of_several_rules_of_a_stage_the_one_that_copies_most_counts(kind: str) -> None:
    body = live(kind, 20)
    more, less = (copy.deepcopy(rules(live(kind, percent))[0]) for percent in (50, 0))
    rules(body)[:0] = [less, more]
    rules(body).append(less)
    assert ROUTERS[kind].verify_share(body).mirrors == {"finerank": 50}


@KINDS
@pytest.mark.parametrize("share", [0, 30])
def test_a_candidate_that_nothing_watches_gets_neither_requests_nor_copies(kind: str, share: int) -> None:
    found = withdrawal(live(kind, 20, share), "shop")
    assert found is not None and found.revision == 2
    alone = withdrawal(live(kind, 0, share), "shop")
    meant = alone.body if alone else made(kind, 0).body
    assert rules(found.body) == rules(meant), "and nothing else is touched"
    assert found.body["metadata"]["annotations"][names.ANNOTATION_WITHDRAWN] == "2"


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        ("HTTPRoute", {"filters": [filtered(percent=7)]}),
        ("VirtualService", {"mirror": {"host": "somebody-elses"}, "mirrorPercentage": {"value": 7}}),
        ("VirtualService", {"mirrors": [{"destination": {"host": "somebody-elses"}}]}),
    ],
)
def test_where_nothing_watches_copies_for_somebody_else_are_left_alone(kind: str, edit: dict[str, Any]) -> None:
    body = live(kind, 0)
    rules(body)[0].update(edit)
    assert withdrawal(body, "shop") is None


def test_each_filter_of_an_http_route_is_looked_at() -> None:
    body, theirs = live("HTTPRoute"), filtered(percent=7)
    rules(body)[0]["filters"].append(theirs)
    found = withdrawal(body, "shop")
    assert found is not None and rules(found.body)[0]["filters"] == [theirs]


def test_each_of_several_mirrors_of_a_virtual_service_is_looked_at() -> None:
    theirs = {"destination": {"host": "somebody-elses"}}
    body = live("VirtualService", 0)
    rules(body)[1]["mirrors"] = [{"destination": {"host": "shop-r0002.search.svc.cluster.local"}}, theirs]
    found = withdrawal(body, "shop")
    assert found is not None and rules(found.body)[1]["mirrors"] == [theirs]
    rules(body)[1]["mirrors"] = [{"destination": {"host": "shop-r0002"}}]
    found = withdrawal(body, "shop")
    assert found is not None and "mirrors" not in rules(found.body)[1]


@KINDS
@pytest.mark.parametrize(("meant", "stands"), [(20, 0), (0, 20), (20, 60)], ids=["removed", "added", "raised"])
def test_a_mirror_that_a_hand_changed_is_an_edit(kind: str, meant: int, stands: int) -> None:
    manifest = made(kind, meant)
    defaults = ROUTERS[kind].has_defaults
    want = Want(kind, "shop-rewrites", "as", True, Role.ROUTE, spec=manifest.compared, has_defaults=defaults)
    child = make_route(kind=kind, spec_hash="as", spec=live(kind, stands)["spec"])
    assert first_difference([want], [child]) is want
    same = make_route(kind=kind, spec_hash="as", spec=live(kind, meant)["spec"])
    assert first_difference([want], [same]) is None
