"""A share that a person's change takes back goes before anything is read, and nothing else is ever written so."""

import asyncio
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.contests import Contests
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Conflict, Kube
from rewriter_operator.cluster.observe import Observation
from rewriter_operator.core.cycle import ABORT_ANNOTATION, APPROVE_ANNOTATION, ROLLBACK_ANNOTATION
from rewriter_operator.core.decision import Decision
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Release, World
from rewriter_operator.readings import Readings
from rewriter_operator.withdraw_first import WithdrawFirst
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_spec, stage
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed

PAUSED = [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]

Change = Callable[[Release], Release]


def annotated(key: str, value: str) -> Change:
    return lambda release: dataclasses.replace(release, annotations={**release.annotations, key: value})


def respecified(**changes: Any) -> Change:
    return lambda release: dataclasses.replace(
        release, spec=make_spec(**({"rollout.stages": PAUSED} | changes)), generation=release.generation + 1
    )


ABORT = annotated(ABORT_ANNOTATION, "2")
WITHDRAWS: dict[str, Change] = {
    "abort": ABORT,
    "rollback-to": annotated(ROLLBACK_ANNOTATION, "r0001/1"),
    "superseded": respecified(**{"training.phases": 7}),
}
HARMLESS: dict[str, Change] = {
    "nothing": lambda release: release,
    "another cycle's abort": annotated(ABORT_ANNOTATION, "1"),
    "approval": annotated(APPROVE_ANNOTATION, "r0002/finerank/1"),
    "kept revisions": respecified(historyLimit=7),
    "another annotation": annotated("team", "search"),
}


def paused() -> Simulator:
    """The candidate has 10 % of finerank, verified, and a person is waited for."""
    story = passed(make_spec(**{"rollout.stages": PAUSED}))
    return story.until(lambda it: it.status.stages[0].step == 1).wait(60)


@pytest.fixture(scope="module")
def held() -> World:
    return paused().world()


def live_route(world: World) -> dict[str, Any]:
    (manifest,) = [item for item in render(world.release, plan(world).wanted, INSTALLATION) if item.kind == "HTTPRoute"]
    metadata = {**manifest.body["metadata"], "resourceVersion": "1"}
    return {**manifest.body, "metadata": metadata}


class Cluster(Kube):
    """The release as it is now and its route; nothing else may be read, and a list is an error."""

    def __init__(self, world: World, change: Change) -> None:
        self.release = change(world.release)
        self.route = live_route(world)
        self.reads: list[str] = []
        self.written: list[dict[str, Any]] = []
        self.deleting = False

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self.reads.append(kind)
        return self._live() if kind == "RewriterRelease" else copy.deepcopy(self.route)

    def _live(self) -> dict[str, Any]:
        release = self.release
        metadata: dict[str, Any] = {
            "name": release.name,
            "namespace": release.namespace,
            "uid": release.uid,
            "generation": release.generation,
            "creationTimestamp": "2026-11-23T10:00:00Z",
            "annotations": dict(release.annotations),
        }
        if self.deleting:
            metadata["deletionTimestamp"] = "2026-11-23T11:00:00Z"
        return {
            "kind": "RewriterRelease",
            "metadata": metadata,
            "spec": release.spec.to_api(),
            "status": release.status.to_api(),
        }

    async def own_by_apply(self, live: dict[str, Any]) -> dict[str, Any]:
        return live

    async def apply(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        self.written.append(body)
        return body


def first(cluster: Cluster, known: World, overtaken: bool = True) -> tuple[bool, WithdrawFirst]:
    readings = Readings()
    readings.keep("shop", Observation(known, token="t"), readings.begin("shop"))
    if overtaken:
        readings.wished("shop")
    hands = Hands(cluster, Agents.__new__(Agents), Term(epoch=1, until=float("inf"), grace=1.0))
    it = WithdrawFirst(hands, INSTALLATION, readings, Contests())
    return asyncio.run(it("shop")), it


@pytest.mark.parametrize("change", WITHDRAWS.values(), ids=WITHDRAWS)
def test_a_mirror_goes_first_too(change: Change) -> None:
    """In a shadow nobody is answered by the candidate, but its copies are taken away as fast."""
    steps = ({"shadow": {"percent": 20, "duration": "1h"}}, {"setShare": 100})
    story = passed(make_spec(**{"rollout.stages": [stage("finerank", *steps)]})).until(State.ROLLING_OUT)
    story.now = time.time() - 600  # a shadow has a time, and what withdraws first has a clock
    world = story.until(lambda it: bool(it.mirrors)).wait(60).world()
    cluster = Cluster(world, change)
    assert cluster.route["spec"]["rules"][0]["filters"]
    assert first(cluster, world)[0]
    (written,) = cluster.written
    assert not any("filters" in rule for rule in written["spec"]["rules"])


def weights_of(route: dict[str, Any], service: str) -> set[int]:
    rules = route["spec"]["rules"]
    return {item["weight"] for rule in rules for item in rule["backendRefs"] if item["name"] == service}


@pytest.mark.parametrize("change", WITHDRAWS.values(), ids=WITHDRAWS)
def test_the_share_is_back_after_two_reads_and_one_write(held: World, change: Change) -> None:
    cluster = Cluster(held, change)
    assert weights_of(cluster.route, "shop-r0002") == {0, 10}
    done, _ = first(cluster, held)
    assert done
    assert cluster.reads == ["RewriterRelease", "HTTPRoute"]
    (written,) = cluster.written
    assert weights_of(written, "shop-r0002") == {0}
    assert weights_of(written, "shop-r0001") == {100}


@pytest.mark.parametrize("change", WITHDRAWS.values(), ids=WITHDRAWS)
def test_it_is_the_route_that_the_pass_after_it_wants(held: World, change: Change) -> None:
    """That pass finds nothing of the route to do: the status is its first write."""
    cluster = Cluster(held, change)
    first(cluster, held)
    world = dataclasses.replace(held, release=change(held.release))
    decision = plan(world)
    decided = dataclasses.replace(world.release, status=decision.status)
    (wanted,) = [item for item in render(decided, decision.wanted, INSTALLATION) if item.kind == "HTTPRoute"]
    assert cluster.written[0]["spec"] == wanted.body["spec"]


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_what_takes_no_share_back_writes_nothing(held: World, change: Change) -> None:
    cluster = Cluster(held, change)
    done, _ = first(cluster, held)
    assert not done
    assert cluster.written == []


def test_without_a_persons_change_nothing_is_even_read(held: World) -> None:
    cluster = Cluster(held, ABORT)
    done, _ = first(cluster, held, overtaken=False)
    assert not done
    assert cluster.reads == []


def test_of_a_release_whose_candidate_has_no_share_nothing_is_read(held: World) -> None:
    assert held.route is not None
    none = dataclasses.replace(held.route, shares={"finerank": 0})
    others = tuple(child for child in held.children if child.kind != "HTTPRoute")
    world = dataclasses.replace(held, children=(*others, none))
    cluster = Cluster(held, ABORT)
    done, _ = first(cluster, world)
    assert not done
    assert cluster.reads == []


def test_a_status_that_is_another_than_what_was_read_is_left_to_a_pass(held: World) -> None:
    """The candidate may have been promoted since: its pods are then the only ones."""
    cluster = Cluster(held, ABORT)
    cluster.release = dataclasses.replace(
        cluster.release, status=cluster.release.status.model_copy(update={"message": "another"})
    )
    done, _ = first(cluster, held)
    assert not done
    assert cluster.written == []


def test_a_release_that_was_made_anew_is_left_to_a_pass(held: World) -> None:
    cluster = Cluster(held, ABORT)
    cluster.release = dataclasses.replace(cluster.release, uid="another")
    done, _ = first(cluster, held)
    assert not done
    assert cluster.written == []


def test_a_release_that_is_being_deleted_is_left_to_a_pass(held: World) -> None:
    cluster = Cluster(held, ABORT)
    cluster.deleting = True
    done, _ = first(cluster, held)
    assert not done
    assert cluster.written == []


def test_what_the_plan_takes_back_for_a_reason_of_its_own_is_left_to_a_pass(
    held: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time that is over, of which the pods may know better: they were not asked here."""
    monkeypatch.setattr(
        "rewriter_operator.withdraw_first.plan", lambda world: Decision(world.status, urgent_route=True)
    )
    cluster = Cluster(held, ABORT)
    done, _ = first(cluster, held)
    assert not done
    assert cluster.written == []


def test_a_reading_is_good_for_one_look(held: World) -> None:
    cluster = Cluster(held, HARMLESS["nothing"])
    _, it = first(cluster, held)
    reads = list(cluster.reads)
    assert not asyncio.run(it("shop"))
    assert cluster.reads == reads


def test_a_write_that_fails_is_left_to_a_pass(held: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any) -> None:
        raise Conflict("somebody else was there")

    monkeypatch.setattr(Cluster, "apply", silent)
    done, _ = first(Cluster(held, ABORT), held)
    assert not done


def test_whatever_happened_to_children_since_it_only_takes_away(held: World) -> None:
    """Their events may be late, or come in another order: then what was read of them is not what is there."""
    for child in held.children:
        if child.kind == "HTTPRoute":
            continue
        known = dataclasses.replace(held, children=tuple(other for other in held.children if other is not child))
        cluster = Cluster(held, ABORT)
        done, _ = first(cluster, known)
        for written in cluster.written:
            assert done and weights_of(written, "shop-r0002") <= {0}, f"without {child.kind} {child.name}"
            assert weights_of(written, "shop-r0001") == {100}


def moments() -> Iterator[Simulator]:
    """Every moment of a cycle's rollout at which an operator may have read everything."""
    story = passed(make_spec())
    while story.status.state is not State.IDLE:
        if not story.reconcile():
            yield story
            story.pass_time(3.0)


def test_at_every_moment_of_a_rollout_it_takes_back_or_does_nothing() -> None:
    taken = looks = 0
    for story in moments():
        world = story.world()
        route = world.route
        carried = {stage for stage, share in (route.shares if route else {}).items() if share}
        for name, change in (WITHDRAWS | {key: HARMLESS[key] for key in ("nothing", "another cycle's abort")}).items():
            looks += 1
            cluster = Cluster(world, change)
            done, _ = first(cluster, world)
            assert not done or carried, f"{name} in {story.status.state}"
            assert not (done and name in HARMLESS)
            if done:
                taken += 1
                assert weights_of(cluster.written[0], "shop-r0002") == {0}
    assert looks >= 100
    assert taken > 20
