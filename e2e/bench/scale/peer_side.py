"""The Argo Rollouts controller over as many canary rollouts, each with two Services and an Istio VirtualService.

Its pods are all kwok's: it asks a pod for nothing but its status. It trains and gates nothing, so a rollout is less
work for it than a release is for the operator; what is compared is what both do: take note, take back, rest.
"""

import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from e2e.bench.scale import rollouts
from e2e.bench.scale.ground import Ground
from e2e.bench.scale.kwok import NODES
from e2e.bench.scale.moments import Awaited, Moments
from e2e.bench.scale.side import Act, create_all
from e2e.bench.scale.subject import Subject
from e2e.bench.scale.waiting import Waiting
from e2e.cluster.build import Programs
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.ports import free_port

KIND: Final = "Rollout"
ROUTE: Final = "VirtualService"
NAMESPACE: Final = "peer"
SHARE: Final = 20
HELD: Final[tuple[dict[str, Any], ...]] = ({"setWeight": SHARE}, {"pause": {}}, {"setWeight": 100})
PROMOTED: Final[tuple[dict[str, Any], ...]] = (
    {"setWeight": SHARE},
    {"pause": {"duration": "1s"}},
    {"setWeight": 100},
)
FIRST, SECOND = "1", "2"


@dataclass
class PeerSide:
    """One controller and its namespace."""

    client: ClusterClient
    view: ClusterView
    moments: Moments
    subject: Subject
    service_account: str = rollouts.NAME
    namespace: str = NAMESPACE
    _nodes: Any = field(default_factory=lambda: itertools.cycle(NODES))

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.subject, self._tell)

    @classmethod
    async def set_up(cls, stack: AsyncExitStack, ground: Ground, programs: Programs) -> "PeerSide":
        """A namespace, and a controller that is not started yet, with its default flags over this namespace."""
        await ground.new_namespace(NAMESPACE)
        rollouts.install(ground, programs, NAMESPACE)
        view = ClusterView(ground.client, NAMESPACE, (KIND, ROUTE))
        moments = Moments(view)
        view.start()
        stack.push_async_callback(view.stop)
        command = (
            str(programs.path(rollouts.PROGRAM)),
            f"--kubeconfig={ground.kubeconfig_of(NAMESPACE, rollouts.NAME)}",
            "--namespaced",
            f"--namespace={NAMESPACE}",
            f"--metricsPort={free_port()}",
            f"--healthzPort={free_port()}",
        )
        environment = {**os.environ, "POD_NAMESPACE": NAMESPACE}
        subject = Subject(command, environment, ground.directory / "rollouts.log")
        stack.callback(subject.stop)
        return cls(ground.client, view, moments, subject)

    async def create(self, names: Sequence[str]) -> None:
        """See Side."""
        await create_all(names, lambda name: self._create(name, HELD))
        await self._waiting.until(names, self._rests, "Healthy")

    async def hold(self, names: Sequence[str]) -> None:
        """See Side: a new pod template, until the pause at its first weight."""
        for name in names:
            await self._patch(name, _template(SECOND))
        await self._waiting.until(names, self._is_held, f"held at a weight of {SHARE}")

    async def make_one_to_promote(self, name: str) -> None:
        """See Side."""
        await self._create(name, PROMOTED)
        await self._waiting.until([name], self._rests, "Healthy")

    async def promote(self, name: str) -> None:
        """See Side: to the end of its steps; the old pods are scaled down half a minute later, uncounted."""
        await self._patch(name, _template(SECOND))
        await self.promoted([name])

    def edit(self, name: str) -> Act:
        """See Side: spec.revisionHistoryLimit, which no rollout depends on."""
        live = self._live(name)
        generation = live["metadata"]["generation"]
        change = {"spec": {"revisionHistoryLimit": 11 if live["spec"].get("revisionHistoryLimit") == 10 else 10}}

        def noted(item: dict[str, Any]) -> bool:
            return bool(int(item.get("status", {}).get("observedGeneration") or 0) > generation)

        return Awaited(KIND, name, noted), lambda: self._patch(name, change)

    def abort(self, name: str) -> Act:
        """See Side: what `kubectl argo rollouts abort` writes."""
        return Awaited(ROUTE, name, lambda item: weights(item, name) == (100, 0)), self._later(name, {"abort": True})

    def approve(self, name: str) -> Act:
        """See Side: what `kubectl argo rollouts promote` writes of one that is paused."""
        return Awaited(ROUTE, name, lambda item: weights(item, name) == (0, 100)), self._later(
            name, {"pauseConditions": None}
        )

    async def promoted(self, names: Sequence[str]) -> None:
        """See Side."""
        await self._waiting.until(names, lambda name: self._is_at(name, SECOND) and self._rests(name), "promoted")

    async def rest(self, names: Sequence[str]) -> None:
        """See Side: the pod template from before, as its documentation has it; until Healthy."""
        for name in names:
            await self._patch(name, _template(FIRST))
        await self._waiting.until(names, lambda name: self._is_at(name, FIRST) and self._rests(name), "Healthy again")

    def _later(self, name: str, status: dict[str, Any]) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self.client.patch(KIND, self.namespace, name, {"status": status}, "status")

        return act

    async def _patch(self, name: str, change: dict[str, Any]) -> None:
        await self.client.patch(KIND, self.namespace, name, change)

    async def _create(self, name: str, steps: Sequence[dict[str, Any]]) -> None:
        for service in (f"{name}-stable", f"{name}-canary"):
            body = {"spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}}
            await self._post("v1", "Service", service, body)
        backends = [
            {"destination": {"host": f"{name}-stable"}, "weight": 100},
            {"destination": {"host": f"{name}-canary"}, "weight": 0},
        ]
        http = [{"name": "primary", "route": backends}]
        await self._post("networking.istio.io/v1alpha3", ROUTE, name, {"spec": {"hosts": [name], "http": http}})
        istio = {"virtualService": {"name": name, "routes": ["primary"]}}
        canary = {
            "stableService": f"{name}-stable",
            "canaryService": f"{name}-canary",
            "trafficRouting": {"istio": istio},
            "steps": list(steps),
        }
        pod = {
            "metadata": {"labels": {"app": name}},
            "spec": {"nodeName": next(self._nodes), "containers": [_container(FIRST)]},
        }
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": pod,
            "strategy": {"canary": canary},
        }
        await self._post("argoproj.io/v1alpha1", KIND, name, {"spec": spec})

    async def _post(self, version: str, kind: str, name: str, content: dict[str, Any]) -> None:
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}
        await self.client.create(kind, self.namespace, body)

    def _live(self, name: str) -> dict[str, Any]:
        return self.view.get(KIND, name) or {}

    def _rests(self, name: str) -> bool:
        live = self._live(name)
        status = live.get("status", {})
        seen = str(status.get("observedGeneration")) == str(live.get("metadata", {}).get("generation"))
        return seen and status.get("phase") == "Healthy"

    def _is_at(self, name: str, version: str) -> bool:
        """The controller fills containers out with defaults when it writes a rollout."""
        spec = self._live(name).get("spec", {})
        return bool(spec) and spec["template"]["spec"]["containers"][0]["env"] == _container(version)["env"]

    def _is_held(self, name: str) -> bool:
        status, route = self._live(name).get("status", {}), self.view.get(ROUTE, name)
        is_paused = status.get("phase") == "Paused" and status.get("currentStepIndex") == 1
        return bool(is_paused and route and weights(route, name) == (100 - SHARE, SHARE))

    def _tell(self, name: str) -> str:
        status = self._live(name).get("status", {})
        return f"{status.get('phase')}: {status.get('message')}"


def _container(version: str) -> dict[str, Any]:
    return {"name": "main", "image": "stand-in", "env": [{"name": "REVISION", "value": version}]}


def _template(version: str) -> dict[str, Any]:
    """The part of a rollout's spec that makes a new revision of it."""
    return {"spec": {"template": {"spec": {"containers": [_container(version)]}}}}


def weights(route: dict[str, Any], name: str) -> tuple[int, int]:
    """Of the stable Service and of the canary's."""
    (rule,) = route["spec"]["http"]
    by_host = {backend["destination"]["host"]: int(backend.get("weight", 0)) for backend in rule["route"]}
    return by_host[f"{name}-stable"], by_host[f"{name}-canary"]
