"""A release that cannot be planned: its candidate is taken off the route once that lasts, told once, nothing else."""

import asyncio
import copy
from typing import Any

import pytest

from rewriter_operator.api.conditions import Reason
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Invalid, Kube
from rewriter_operator.cluster.unwatched import LASTING_SECONDS, TAKEN_BACK, Trouble, Unwatched, withdrawal
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_spec, make_world

UNREADABLE = Trouble(Reason.INVALID_SPEC, "spec.model: got '': too short; mend it")
BUG = Trouble(Reason.PLAN_FAILED, "this operator cannot plan the release (KeyError: 'x')")
RELEASE = {
    "kind": "RewriterRelease",
    "metadata": {"name": "shop", "namespace": "search", "uid": "uid-shop", "generation": 4, "resourceVersion": "1"},
    "status": {"state": "RollingOut", "stages": "hand-edited", "conditions": [{"type": "odd"}]},
}


def route(share: int, **changes: Any) -> dict[str, Any]:
    """The release's route as the operator writes it: r0001 serves, r0002 has a share of finerank."""
    stages = (("finerank", 1), ("recall", 1))
    wanted = WantedRoute(stages, candidate=2, shares=(("finerank", share),) if share else (), idle=(-1, 1, 2))
    (manifest,) = render(make_world().release, (wanted,), INSTALLATION)
    return {**manifest.body, "kind": "HTTPRoute"} | changes


def weights(body: dict[str, Any]) -> list[dict[str, int]]:
    return [{item["name"]: item["weight"] for item in rule["backendRefs"]} for rule in body["spec"]["rules"]]


class Cluster(Kube):
    """One route and one release; remembers what is written, in order."""

    def __init__(self, live: dict[str, Any] | None, refuses_status: bool = False) -> None:
        self.live, self.refuses_status = live, refuses_status
        self.kind = "HTTPRoute"
        self.writes: list[str] = []
        self.release: dict[str, Any] = copy.deepcopy(RELEASE)
        self.now = 0.0

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        assert (kind, name) == (self.kind, "shop-rewrites")
        return copy.deepcopy(self.live)

    async def own_by_apply(self, live: dict[str, Any]) -> dict[str, Any]:
        return {**live, "metadata": {**live["metadata"], "resourceVersion": "7"}}

    async def apply(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        self.live = {**body, "metadata": {**body["metadata"], "uid": "uid-route"}}
        self.writes.append("route")
        return self.live

    async def put_status(self, body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        if self.refuses_status:
            raise Invalid('status.stages: Invalid value: "string": must be of type array')
        self.release = {**self.release, "status": body["status"]}
        self.writes.append("status")
        return self.release

    async def event(self, body: dict[str, Any]) -> None:
        self.writes.append(f"event {body['reason']} {body['type']}")

    def unwatched(self) -> Unwatched:
        hands = Hands(self, Agents.__new__(Agents), Term(epoch=1, until=float("inf"), grace=1.0))
        return Unwatched(hands, lambda: self.now)

    def condition(self, kind: str) -> dict[str, Any]:
        return next((item for item in self.release["status"]["conditions"] if item["type"] == kind), {})


def fail(cluster: Cluster, trouble: Trouble, *seconds: float, unwatched: Unwatched | None = None) -> Unwatched:
    """A failing pass at each of these times."""
    unwatched = unwatched or cluster.unwatched()
    for cluster.now in seconds:
        asyncio.run(unwatched.failed(cluster.release, trouble))
    return unwatched


def test_the_candidates_share_goes_back_to_the_incumbents_and_says_whose_it_was() -> None:
    live = route(30)
    found = withdrawal(live, "shop")
    assert found is not None and found.revision == 2
    assert weights(live)[0] == {"shop-r0001": 70, "shop-r0002": 30, "shop-passthrough": 0}
    assert weights(found.body)[0] == {"shop-r0001": 100, "shop-r0002": 0, "shop-passthrough": 0}
    assert weights(found.body)[1:] == weights(live)[1:], "nothing else of the route is touched"
    marks = found.body["metadata"]["annotations"]
    assert marks[names.ANNOTATION_WITHDRAWN] == "2"
    assert marks[names.ANNOTATION_HASH] not in (live["metadata"]["annotations"][names.ANNOTATION_HASH], "")
    assert withdrawal(found.body, "shop") is None


@pytest.mark.parametrize("share", [1, 50, 100])
def test_every_share_can_be_taken_back(share: int) -> None:
    found = withdrawal(route(share), "shop")
    assert found is not None
    assert weights(found.body)[0] == {"shop-r0001": 100, "shop-r0002": 0, "shop-passthrough": 0}


@pytest.mark.parametrize("share", [0, 40])
def test_a_route_without_a_candidate_of_ours_is_left_alone(share: int) -> None:
    live = route(share)
    for rule in live["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            backend["name"] = backend["name"].replace("shop-r0002", "somebody-elses")
    assert withdrawal(live, "shop") is None


@pytest.mark.parametrize("trouble", [UNREADABLE, BUG], ids=["unreadable", "bug"])
def test_a_lasting_failure_writes_the_route_then_the_condition_then_one_event(trouble: Trouble) -> None:
    it = Cluster(route(30))
    unwatched = fail(it, trouble, 0, 20, 40)
    assert "route" not in it.writes
    before = list(it.writes)
    fail(it, trouble, LASTING_SECONDS, unwatched=unwatched)
    assert it.writes[len(before) :] == ["route", "status", "event CandidateWithdrawn Warning"]
    stalled = it.condition("Stalled")
    assert (stalled["status"], stalled["reason"], stalled["observedGeneration"]) == ("True", trouble.reason, 4)
    assert stalled["message"].startswith(trouble.message)
    assert "candidate r0002 is off the route" in stalled["message"]
    assert it.release["status"]["stages"] == "hand-edited", "the rest of the status is not ours to mend"
    told = list(it.writes)
    fail(it, trouble, 100, 200, 300, unwatched=unwatched)
    fail(it, trouble, 400, 500)  # another life of the operator
    assert it.writes == told, "told once"


def test_an_unreadable_object_is_told_at_once_and_a_failing_plan_only_when_it_lasts() -> None:
    unreadable, bug = Cluster(route(30)), Cluster(route(30))
    fail(unreadable, UNREADABLE, 0)
    fail(bug, BUG, 0, 20)
    assert unreadable.writes == ["status"] and unreadable.condition("Accepted")["status"] == "False"
    assert bug.writes == [], "what is over soon flaps nothing"


@pytest.mark.parametrize("times", [(0, 59, 59.9), (0, 3600)], ids=["too short", "too few"])
def test_neither_a_short_failure_nor_two_passes_touch_the_route(times: tuple[float, ...]) -> None:
    it = Cluster(route(30))
    fail(it, UNREADABLE, *times)
    assert "route" not in it.writes


def test_a_pass_that_succeeds_in_between_begins_the_count_anew() -> None:
    it = Cluster(route(30))
    unwatched = fail(it, BUG, 0, 20, 40)
    unwatched.forget("shop")
    fail(it, BUG, 61, 80, 100, unwatched=unwatched)
    assert it.writes == []


@pytest.mark.parametrize("live", [None, route(0), route(30)], ids=["no route", "no share", "foreign"])
def test_a_failure_without_a_candidate_in_traffic_writes_no_route(live: dict[str, Any] | None) -> None:
    if live and withdrawal(live, "shop"):
        live["metadata"]["ownerReferences"][0]["uid"] = "somebody-elses"
    it = Cluster(live)
    fail(it, UNREADABLE, 0, 30, 60, 90)
    assert it.writes == ["status"]
    assert it.condition("Stalled")["message"] == UNREADABLE.message


def test_a_status_that_cannot_be_written_holds_up_neither_route_nor_event() -> None:
    it = Cluster(route(30), refuses_status=True)
    fail(it, UNREADABLE, 0, 30, 60)
    assert it.writes == ["route", "event CandidateWithdrawn Warning"]
    assert it.live is not None and it.live["metadata"]["annotations"][names.ANNOTATION_HASH] == TAKEN_BACK


def test_the_candidate_of_a_virtual_service_is_taken_back_too() -> None:
    spec = make_spec(traffic={"virtualService": {"hosts": ["rewrites"]}})
    wanted = WantedRoute((("finerank", 1),), candidate=2, shares=(("finerank", 30),), idle=(-1, 1, 2))
    (manifest,) = render(make_world(spec).release, (wanted,), INSTALLATION)
    it = Cluster(manifest.body)
    it.kind = "VirtualService"
    it.release = {**copy.deepcopy(RELEASE), "spec": {"traffic": {"virtualService": "nobody can read this"}}}
    fail(it, UNREADABLE, 0, 20, 40, LASTING_SECONDS)
    assert it.live is not None and it.live["kind"] == "VirtualService"
    assert [item["weight"] for item in it.live["spec"]["http"][0]["route"]] == [100, 0, 0]
    assert it.live["metadata"]["annotations"][names.ANNOTATION_WITHDRAWN] == "2"
    assert "candidate r0002 is off the route" in it.condition("Stalled")["message"]
