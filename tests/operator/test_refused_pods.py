"""A quota that takes no pod of a cycle holds up the cycle, and nothing of what serves."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from rewriter_contract import wire
from rewriter_contract.messages import LoadState, ServingStats
from rewriter_operator.api.states import State
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Forbidden, Kube
from rewriter_operator.core.children import orders
from rewriter_operator.errors import Retry
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.workloads import names
from tests.builders import (
    INSTALLATION,
    TERMS,
    make_cycle,
    make_spec,
    make_status,
    make_world,
    serving,
    stage_status,
)
from tests.operator.test_whom_it_asks import Answering

QUOTA = 'POST pods: 403 pods "shop-c0002-prepare-0" is forbidden: exceeded quota: gpus'
SPEC = make_spec(**{"serving.replicas": 2, "serving.capacity": {"mode": "InPlace"}})
STATUS = make_status(
    SPEC,
    state=State.PREPARING,
    cycle=make_cycle(SPEC),
    last_cycle_number=2,
    stages=[stage_status(incumbent=serving(1))],
)
ORDER = orders(make_world(SPEC, STATUS))[1]


class OverQuota(Kube):
    """Keeps what it is given, but for pods."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.marks: list[tuple[str, str | None]] = []
        self.full = True
        fusion = {term.stage: {key: value for key, value in asdict(term).items() if key != "stage"} for term in TERMS}
        self._keep({"kind": "ConfigMap", "data": {SPEC.reward.fusion.key: json.dumps({"stages": fusion})}}, "fusion")
        claim = {"kind": "PersistentVolumeClaim", "spec": {"accessModes": ["ReadWriteMany"]}}
        self._keep({**claim, "status": {"phase": "Bound"}}, "rewriter")
        self._keep({"kind": "RewriterRelease", "spec": SPEC.to_api(), "status": STATUS.to_api()}, "shop")
        for index, cycle in enumerate(({names.LABEL_CYCLE: "1"}, {})):
            told = {names.ANNOTATION_SERVING: wire.dumps(ORDER)}
            labels = names.pool_labels("shop") | cycle
            state = {
                "phase": "Running",
                "podIP": f"10.0.0.{index}",
                "conditions": [{"type": "Ready", "status": "True"}],
            }
            body = {"kind": "Pod", "metadata": {"labels": labels, "annotations": told}, "spec": {}, "status": state}
            self._keep(body, f"shop-serving-{index}")

    def _keep(self, body: dict[str, Any], name: str) -> dict[str, Any]:
        made = {"name": name, "namespace": "search", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
        metadata = {**made, "creationTimestamp": "2025-11-24T15:00:00Z", **body.get("metadata", {})}
        self.objects[body["kind"], name] = {**body, "metadata": metadata}
        return copy.deepcopy(self.objects[body["kind"], name])

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list(self, kind: str, selector: str = "") -> "list[dict[str, Any]]":
        return [copy.deepcopy(body) for (found, _), body in self.objects.items() if found == kind]

    async def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        if body["kind"] == "Pod" and self.full:
            raise Forbidden(QUOTA)
        return self._keep(body, body["metadata"]["name"])

    async def mark(
        self, live: dict[str, Any], labels: dict[str, str | None], annotations: dict[str, str | None]
    ) -> None:
        name = live["metadata"]["name"]
        self.marks.append((name, labels[names.LABEL_CYCLE]))
        self.objects["Pod", name]["metadata"]["labels"] |= labels

    async def put_status(self, body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        self.objects["RewriterRelease", "shop"]["status"] = copy.deepcopy(body["status"])
        return copy.deepcopy(self.objects["RewriterRelease", "shop"])

    async def event(self, body: dict[str, Any]) -> None:
        pass

    def stalled(self) -> str:
        """Status and message of the condition."""
        conditions = self.objects["RewriterRelease", "shop"]["status"]["conditions"]
        return next(f"{item['status']} {item['message']}" for item in conditions if item["type"] == "Stalled")


def operated(kube: OverQuota) -> Reconciler:
    """Pods of the pool say that they have loaded r0001."""
    ready = ServingStats("boot", "r0001", LoadState.READY, ORDER.serving.weights, {})
    agents = Answering({f"10.0.0.{index}": ready for index in range(2)})
    return Reconciler(Hands(kube, agents, Term(epoch=1, until=float("inf"), grace=1.0)), INSTALLATION)


def passes(kube: OverQuota, reconciler: Reconciler, times: int = 12) -> list[str]:
    """What the condition says after each of them."""

    async def said() -> AsyncIterator[str]:
        for _ in range(times):
            try:
                await reconciler("shop")
            except Retry as error:
                assert str(error) == QUOTA
            yield kube.stalled()

    async def all_of_it() -> list[str]:
        return [text async for text in said()]

    return asyncio.run(all_of_it())


def test_a_pod_of_the_pool_gets_its_label_though_the_cycles_pods_are_refused() -> None:
    kube = OverQuota()
    assert passes(kube, operated(kube))[-1] == f"True {QUOTA}"
    assert kube.marks == [("shop-serving-1", "1")]


def test_what_is_refused_is_told_on_while_pods_of_the_pool_change() -> None:
    kube = OverQuota()
    reconciler = operated(kube)
    passes(kube, reconciler)
    del kube.objects["Pod", "shop-serving-1"]["metadata"]["labels"][names.LABEL_CYCLE]
    assert set(passes(kube, reconciler)) == {f"True {QUOTA}"}
    assert kube.marks == [("shop-serving-1", "1")] * 2


def test_the_cycle_goes_on_with_the_quota() -> None:
    kube = OverQuota()
    reconciler = operated(kube)
    passes(kube, reconciler)
    kube.full = False
    assert passes(kube, reconciler)[-1].startswith("False")
    assert any(kind == "Pod" and "prepare" in name for kind, name in kube.objects)
