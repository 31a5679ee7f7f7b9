"""The operator, as the program that ships, over releases whose pods are stand-ins with real files and real HTTP."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from e2e.bench.scale.gateway import ManyRoutes, serves_a_revision, serving
from e2e.bench.scale.ground import Ground
from e2e.bench.scale.moments import Awaited, Moments
from e2e.bench.scale.pod_split import PodSplit
from e2e.bench.scale.side import Act, create_all
from e2e.bench.scale.subject import Subject
from e2e.bench.scale.waiting import Waiting
from rewriter_operator.core.cycle import ABORT_ANNOTATION, APPROVE_ANNOTATION
from rewriter_operator.core.decision import revision_name
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.faults.gateway_controller import shares_of
from tests.faults.kubelet import Kubelet
from tests.faults.operator_process import environment
from tests.faults.pod_programs import Behaviour
from tests.faults.weight_files import fill_volume
from tests.faults.workloads import ANALYSED, API_VERSION, HELD, spec

KIND: Final = "RewriterRelease"
NAMESPACE: Final = "scale"
SERVICE_ACCOUNT: Final = "rewriter-operator"
SHARE: Final = 20


async def operator_in(ground: Ground, namespace: str) -> Subject:
    """The program that ships, with its own Role, in a namespace that is made for it; not started yet."""
    await ground.new_namespace(namespace)
    ground.plane.kubectl("-n", namespace, "apply", "-f", str(ground.repository / "manifests/base/role.yaml"))
    settings = environment(ground.kubeconfig_of(namespace, SERVICE_ACCOUNT), namespace)
    command = (sys.executable, "-m", "rewriter_operator")
    return Subject(command, {**os.environ, **settings}, ground.directory / "operator.log")


@dataclass
class OperatorSide:
    """One operator and its namespace."""

    client: ClusterClient
    view: ClusterView
    moments: Moments
    subject: Subject
    volume: Path
    service_account: str = SERVICE_ACCOUNT
    namespace: str = NAMESPACE

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.subject, self._tell)

    @classmethod
    async def set_up(cls, stack: AsyncExitStack, ground: Ground, idle: frozenset[str]) -> "OperatorSide":
        """A namespace, stand-ins, and an operator that is not started yet. Pods of `idle` releases are kwok's."""
        client = ground.client
        subject = await operator_in(ground, NAMESPACE)
        volume = ground.directory / "volume"
        view = ClusterView(client, NAMESPACE, ("RewriterRelease", "Pod", "Service", "HTTPRoute"))
        stand_ins = ClusterView(client, NAMESPACE)
        kubelet = Kubelet(stand_ins, volume, Behaviour(), 16 + os.getpid() % 200)
        moments, routes = Moments(view), ManyRoutes(view, kubelet)
        split = PodSplit(view, lambda pod: _is_passthrough_of(pod, idle), stand_ins)
        for part in (kubelet, split, routes, view):
            part.start()
            stack.push_async_callback(part.stop)
        stack.callback(subject.stop)
        side = cls(client, view, moments, subject, volume)
        await side._make_inputs()
        return side

    async def create(self, names: Sequence[str]) -> None:
        """See Side: suspended releases, until each is Idle."""
        await create_all(names, lambda name: self._create(name, HELD))
        await self._waiting.until(names, self._rests, "Idle")

    async def hold(self, names: Sequence[str]) -> None:
        """See Side: the cycle that was held back runs, until its pause."""
        for name in names:
            await self._patch(name, {"spec": {"suspend": False}})
        await self._waiting.until(names, self._is_held, f"held at a share of {SHARE}")

    async def make_one_to_promote(self, name: str) -> None:
        """See Side."""
        await self._create(name, ANALYSED)
        await self._waiting.until([name], self._rests, "Idle")

    async def promote(self, name: str) -> None:
        """See Side: a cycle of one phase, to the end of what it supersedes."""
        await self._patch(name, {"spec": {"suspend": False}})
        await self.promoted([name])

    def edit(self, name: str) -> Act:
        """See Side: spec.historyLimit, which no cycle depends on."""
        live = self._live(name)
        generation = live["metadata"]["generation"]
        change = {"spec": {"historyLimit": 11 if live["spec"].get("historyLimit") == 10 else 10}}

        def noted(item: dict[str, Any]) -> bool:
            return bool(item.get("status", {}).get("observedGeneration", 0) > generation)

        return Awaited(KIND, name, noted), self._later(name, change)

    def abort(self, name: str) -> Act:
        """See Side: the annotation that kubectl writes."""
        number = self._status(name)["cycle"]["number"]
        change = {"metadata": {"annotations": {ABORT_ANNOTATION: str(number)}}}

        def taken_back(item: dict[str, Any]) -> bool:
            return all(len(backends) == 1 for backends in serving(shares_of(item)).values())

        return Awaited("HTTPRoute", names.route(name), taken_back), self._later(name, change)

    def approve(self, name: str) -> Act:
        """See Side: the annotation that kubectl writes."""
        number = self._status(name)["cycle"]["number"]
        change = {"metadata": {"annotations": {APPROVE_ANNOTATION: f"{revision_name(number)}/finerank/1"}}}

        def has_all(item: dict[str, Any]) -> bool:
            backends = serving(shares_of(item))
            return len(backends["finerank"]) == 1 and serves_a_revision(backends)

        return Awaited("HTTPRoute", names.route(name), has_all), self._later(name, change)

    async def promoted(self, names: Sequence[str]) -> None:
        """See Side."""
        await self._waiting.until(names, self._was_promoted, "promoted")

    async def rest(self, names: Sequence[str]) -> None:
        """See Side."""
        await self._waiting.until(names, self._rests, "Idle again")

    def _later(self, name: str, change: dict[str, Any]) -> Callable[[], Awaitable[None]]:
        return lambda: self._patch(name, change)

    async def _patch(self, name: str, change: dict[str, Any]) -> None:
        await self.client.patch(KIND, NAMESPACE, name, change)

    async def _make_inputs(self) -> None:
        claim = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        }
        data = {"fusion.json": json.dumps({"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}})}
        for kind, name, content in (
            ("PersistentVolumeClaim", "rewriter", {"spec": claim}),
            ("ConfigMap", "fusion", {"data": data}),
        ):
            body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content}
            await self.client.create(kind, NAMESPACE, body)

    async def _create(self, name: str, steps: tuple[dict[str, Any], ...]) -> None:
        await asyncio.to_thread(fill_volume, self.volume / name)
        stages = [{"name": "finerank", "dependsOn": [], "steps": list(steps)}]
        changes = {"rollout.stages": stages, "volume.subPath": name, "training.phases": 1, "suspend": True}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec(**changes)}
        await self.client.create(KIND, NAMESPACE, body)

    def _live(self, name: str) -> dict[str, Any]:
        return self.view.get(KIND, name) or {}

    def _status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._live(name).get("status", {})
        return found

    def _rests(self, name: str) -> bool:
        status = self._status(name)
        return status.get("state") == "Idle" and "cycle" not in status and not status.get("drainingSince")

    def _is_held(self, name: str) -> bool:
        stages = self._status(name).get("stages", [])
        return bool(stages) and stages[0].get("share") == SHARE and stages[0].get("step") == 1

    def _was_promoted(self, name: str) -> bool:
        history = self._status(name).get("history", [])
        return bool(history) and history[0]["outcome"] == "Promoted" and self._rests(name)

    def _tell(self, name: str) -> str:
        status = self._status(name)
        return f"{status.get('state')}: {status.get('message')}"


def _is_passthrough_of(pod: dict[str, Any], releases: frozenset[str]) -> bool:
    """All that an idle release has; what it needs before is run once, and answers."""
    labels = pod["metadata"].get("labels", {})
    return labels.get(names.LABEL_RELEASE) in releases and labels.get(names.LABEL_ROLE) == Role.PASSTHROUGH
