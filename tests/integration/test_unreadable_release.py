"""A candidate with a share whose release became unreadable: off the route, told, and rolled back once it can be read.

Real API server; the reconciler runs inside the test, where a minute is what the test says.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import aiohttp
import pytest
from kubernetes.aio import client, config
from pydantic import Field

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Kube
from rewriter_operator.cluster.observe import read
from rewriter_operator.core.children import route
from rewriter_operator.core.world import Release
from rewriter_operator.errors import Stalled
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_cycle, make_status, serving, stage_status
from tests.core.test_rollout import PASSED
from tests.integration.conftest import Space, release

pytestmark = pytest.mark.integration


class StricterSpec(RewriterReleaseSpec):
    """The spec as an operator after an upgrade reads it: what was allowed is not any more."""

    history_limit: Annotated[int, Field(ge=100)] = 100


@dataclass
class Clock:
    """Seconds, as the test says."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def in_reconciler(space: Space, told: Callable[[Reconciler], Awaitable[None]]) -> None:
    """Runs `told` with a reconciler over the test's namespace."""

    async def run() -> None:
        configuration = client.Configuration()
        await config.load_kube_config(str(space.api.kubeconfig), client_configuration=configuration)
        term = Term(epoch=1, until=float("inf"), grace=1.0, alarm=lambda _: None)
        kube = Kube(client.ApiClient(configuration), space.name)
        try:
            async with aiohttp.ClientSession() as session:
                await told(Reconciler(Hands(kube, Agents(session, 1), term), INSTALLATION))
        finally:
            await kube.close()
            await asyncio.sleep(0.5)  # aiohttp closes connections with TLS a moment later

    asyncio.run(run())


def rolling_out(space: Space) -> RewriterReleaseStatus:
    """A release whose candidate r0002 has 10 % of finerank, in status; r0001 serves."""
    space.inputs()
    space.create(release())
    live = space.get("rr", "shop")
    spec = RewriterReleaseSpec.model_validate(live["spec"])
    status = make_status(
        spec,
        state=State.ROLLING_OUT,
        cycle=make_cycle(spec, 2, candidate=serving(2), compared_with=serving(1), gate=PASSED),
        stages=[stage_status(item.name, incumbent=serving(1), share=10) for item in spec.rollout.stages],
        last_cycle_number=2,
    )
    space.write_status(status.to_api())
    return status


async def with_its_route(space: Space, reconciler: Reconciler, status: RewriterReleaseStatus) -> None:
    live = space.get("rr", "shop")
    spec, metadata = RewriterReleaseSpec.model_validate(live["spec"]), live["metadata"]
    it = Release(space.name, "shop", metadata["uid"], 1, 0.0, {}, spec, status)
    world = (await read(reconciler.hands.kube, it)).world
    (manifest,) = render(it, (route(world),), INSTALLATION)
    await reconciler.hands.apply(manifest)


def shares(space: Space) -> dict[str, int]:
    first = space.get("httproute", "shop-rewrites")["spec"]["rules"][0]
    return {item["name"]: item["weight"] for item in first["backendRefs"] if item["weight"]}


def test_the_candidate_of_an_unreadable_release_is_taken_back_and_rolled_back_once_it_can_be_read(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = rolling_out(space)

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.unwatched.clock = Clock()
        await with_its_route(space, reconciler, status)
        assert shares(space) == {"shop-r0001": 90, "shop-r0002": 10}
        monkeypatch.setattr("rewriter_operator.cluster.release.RewriterReleaseSpec", StricterSpec)
        for clock.now in (0.0, 30.0):
            with pytest.raises(Stalled, match=r"spec\.historyLimit: got \'5\'"):
                await reconciler("shop")
        assert shares(space) == {"shop-r0001": 90, "shop-r0002": 10}, "not yet"
        assert space.condition("Stalled")[:2] == ("True", "InvalidSpec")
        clock.now = 60.0
        with pytest.raises(Stalled):
            await reconciler("shop")
        assert shares(space) == {"shop-r0001": 100}
        assert "candidate r0002 is off the route" in space.condition("Stalled")[2]
        before = versions(space)
        with pytest.raises(Stalled):
            await reconciler("shop")
        assert versions(space) == before, "nothing is written twice"
        assert [item["reason"] for item in space.events()].count("CandidateWithdrawn") == 1
        monkeypatch.undo()
        await reconciler("shop")
        after = space.get("rr", "shop")["status"]
        assert (after["state"], after["cycle"]["outcome"]) == ("Withdrawing", "RolledBack")
        assert after["cycle"]["reason"] == "Withdrawn"
        assert space.condition("Stalled")[0] == "False"
        await reconciler("shop")
        assert shares(space) == {"shop-r0001": 100}

    in_reconciler(space, story)


def test_the_candidate_of_a_release_that_cannot_be_planned_is_taken_back(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = rolling_out(space)

    def bug(_: object) -> None:
        raise KeyError("a bug of this version")

    async def story(reconciler: Reconciler) -> None:
        clock = reconciler.unwatched.clock = Clock()
        await with_its_route(space, reconciler, status)
        with monkeypatch.context() as patched:
            patched.setattr("rewriter_operator.reconcile.plan", bug)
            for clock.now in (0.0, 30.0, 61.0):
                with pytest.raises(KeyError):
                    await reconciler("shop")
        assert shares(space) == {"shop-r0001": 100}
        assert space.condition("Stalled")[:2] == ("True", "PlanFailed")
        assert "KeyError: 'a bug of this version'" in space.condition("Stalled")[2]
        await reconciler("shop")
        assert space.get("rr", "shop")["status"]["state"] == "Withdrawing"

    in_reconciler(space, story)


def versions(space: Space) -> str:
    return space.kubectl("get", "rr,httproutes", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
