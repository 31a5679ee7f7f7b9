"""Seven stories of a release, each told by its user's actions and by how it ends."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.builders import spec_body, stage
from tests.faults.clock import Clock
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.faults.kubelet import Kubelet
from tests.faults.pod_programs import Behaviour
from tests.faults.poison import NO_POISON, Poison

RELEASE = "shop"
WORLD_SECONDS = 900.0
"""Of the world's clock, for a chapter: the end of what hangs."""
API_VERSION = "rewriter.dev/v1alpha1"
ANALYSED = ({"setShare": 20}, {"analysis": {"minRequests": 40}}, {"setShare": 100})
HELD: tuple[dict[str, Any], ...] = ({"setShare": 20}, {"pause": {}}, {"setShare": 100})


class TooLate(Exception):
    """The story did not get where it should have."""


@dataclass
class Teller:
    """What a user has in hand."""

    client: ClusterClient
    view: ClusterView
    clock: Clock
    limit: float
    """Seconds of the operator's clock that a chapter may take."""
    begin: Callable[[], None]
    """From here on writes count for plans: what came before is another workload's."""
    kubelet: Kubelet
    kill: Callable[[], None]
    """The operator; it is started again."""
    poison: Poison = NO_POISON
    name: str = RELEASE
    """The release that it is about."""
    notes: dict[str, float] = field(default_factory=dict)
    """What is to be known of the story when it is over."""

    @property
    def namespace(self) -> str:
        return self.view.namespace

    def release(self) -> dict[str, Any]:
        """The live release; empty when there is none."""
        return self.view.get("RewriterRelease", self.name) or {}

    def status(self) -> dict[str, Any]:
        """Its status."""
        found: dict[str, Any] = self.release().get("status", {})
        return found

    async def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for something.

        Raises:
            TooLate: with the status as it is then.
        """
        end, world_end = self.clock.time() + self.limit, time.monotonic() + WORLD_SECONDS
        if not await self.view.until(is_so, lambda: self.clock.time() > end or time.monotonic() > world_end):
            status = self.status()
            raise TooLate(f"not within {self.limit:.0f} s: {what}; {status.get('state')}: {status.get('message')}")

    async def create(self, **changes: Any) -> None:
        """A claim, the fusion constants and a release over them."""
        await self.create_inputs()
        await self.create_release(**changes)

    async def create_inputs(self) -> None:
        """A claim and the fusion constants, of all releases."""
        await self.client.create("PersistentVolumeClaim", self.namespace, claim())
        await self.client.create("ConfigMap", self.namespace, fusion())

    async def create_release(self, **changes: Any) -> None:
        """A release with a directory of its own on the volume."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "RewriterRelease",
            "metadata": {"name": self.name},
            "spec": spec(**{"volume.subPath": self.name, **changes}),
        }
        await self.client.create("RewriterRelease", self.namespace, body)

    async def change(self, body: dict[str, Any]) -> None:
        """A merge patch of the release."""
        await self.client.patch("RewriterRelease", self.namespace, self.name, body)

    def has_ended(self, number: int, outcome: str) -> bool:
        """Cycle `number` is over, and everything that follows from it is done."""
        status = self.status()
        history = status.get("history", [])
        if not history or history[0]["number"] != number or status.get("state") != "Idle" or "cycle" in status:
            return False
        if history[0]["outcome"] != outcome:
            raise TooLate(f"cycle {number} is {history[0]['outcome']}: {history[0].get('message')}")
        revisions = {
            item["spec"]["revision"]: item.get("status", {})
            for item in self.view.of("RewriterRevision")
            if item["spec"]["releaseName"] == self.name
        }
        told = all(item["number"] not in revisions or revisions[item["number"]].get("outcome") for item in history)
        return told and not status.get("drainingSince")

    def holds(self) -> bool:
        """The candidate has its first share, verified, and waits for approval."""
        stages = self.status().get("stages", [])
        return bool(stages) and stages[0].get("share") == 20 and stages[0].get("step") == 1

    def was_deleted(self) -> bool:
        """There was a release, and there is none."""
        return ("RewriterRelease", self.name) in self.view.known and not self.release()

    def is_gone(self) -> bool:
        """Neither the release nor anything that it owned."""
        return not any(self.view.of(kind) for kind in self.view.kinds if kind != "Event")


@dataclass(frozen=True)
class Workload:
    """A story."""

    name: str
    tell: Callable[[Teller], Awaitable[None]]
    behaviour: Callable[[], Behaviour] = Behaviour
    gone: bool = False
    """It ends without a release."""
    releases: tuple[str, ...] = (RELEASE,)
    workers: int = 2
    """Of the operator: few, so that passes wait for each other."""
    poison: Poison = NO_POISON


async def _promote(teller: Teller) -> None:
    teller.begin()
    await teller.create()
    await teller.until("cycle 1 is promoted", lambda: teller.has_ended(1, "Promoted"))


async def _refuse(teller: Teller) -> None:
    teller.begin()
    await teller.create(**{"data.validation": "data/validation.jsonl"})
    await teller.until("cycle 1 is rejected", lambda: teller.has_ended(1, "Rejected"))


async def _roll_back(teller: Teller) -> None:
    teller.begin()
    await teller.create()
    await teller.until("cycle 1 is rolled back", lambda: teller.has_ended(1, "RolledBack"))


async def _edit(teller: Teller) -> None:
    await teller.create(**{"rollout.stages": stages(HELD)})
    await teller.until("the candidate is held at its first share", teller.holds)
    teller.begin()
    change = {"training": {"seed": 7}, "rollout": {"stages": stages(ANALYSED)}}
    await teller.change({"spec": change})
    await teller.until("cycle 2 is promoted", lambda: teller.has_ended(2, "Promoted"))


async def _delete(teller: Teller) -> None:
    teller.begin()
    await teller.create(**{"rollout.stages": stages(HELD)})
    await teller.until("it is held at its first share, or deleted", lambda: teller.holds() or teller.was_deleted())
    await teller.client.delete("RewriterRelease", teller.namespace, teller.name)
    await teller.until("nothing of it is left", teller.is_gone)


async def _again(teller: Teller) -> None:
    """Both sides of the second cycle's gate have weights, and each weight set gets samplers of its own."""
    await teller.create(**{"training.sync": {"method": "Restart"}})
    await teller.until("cycle 1 is promoted", lambda: teller.has_ended(1, "Promoted"))
    teller.begin()
    await teller.change({"metadata": {"annotations": {"rewriter.dev/run": "again"}}})
    await teller.until("cycle 2 is promoted", lambda: teller.has_ended(2, "Promoted"))


async def _silently(teller: Teller) -> None:
    """Nobody accepts its route: a promotion, and a way back, on what the pods count."""
    teller.begin()
    await teller.create(traffic={"virtualService": {"hosts": ["rewrites"]}})
    await teller.until("cycle 1 is promoted", lambda: teller.has_ended(1, "Promoted"))
    await teller.change({"metadata": {"annotations": {"rewriter.dev/run": "again"}}})
    await teller.until("cycle 2 is rolled back", lambda: teller.has_ended(2, "RolledBack"))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("promote", _promote),
        Workload("gate-refuses", _refuse, lambda: Behaviour(gold_gain=-0.2)),  # and phases are measured
        Workload("rolled-back", _roll_back, lambda: Behaviour(candidate_errors=0.5, bad_revision="r0001")),
        Workload("edited", _edit),
        Workload("deleted", _delete, gone=True),
        Workload("second-cycle", _again),
        Workload("istio", _silently, lambda: Behaviour(candidate_errors=0.5, bad_revision="r0002")),
    )
}


def stages(finerank: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Two stages, the second after the first."""
    return [stage("finerank", *finerank), stage("rawrank", {"setShare": 100}, depends_on=("finerank",))]


def spec(**changes: Any) -> dict[str, Any]:
    """Short, but with everything in it: two phases, two stages, an analysis, a bake time."""
    values: dict[str, Any] = {
        "rollout.stages": stages(ANALYSED),
        "rollout.verification": {"minRequests": 30, "timeout": "15m"},
        "rollout.bake": "5s",
        "model.dtype": "float32",
    }
    return spec_body(**{**values, **changes})


def claim() -> dict[str, Any]:
    size = {"requests": {"storage": "1Gi"}}
    body = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": size}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "rewriter"}, "spec": body}


def fusion() -> dict[str, Any]:
    data = {"fusion.json": json.dumps({"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fusion"}, "data": data}
