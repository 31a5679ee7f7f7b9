"""One story's stage: a namespace with operator and stand-ins, a Git repository, an Application over it."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from e2e.argocd.api import Api
from e2e.argocd.installation import COMPONENT, NAMESPACE
from e2e.argocd.looks import SYNCED, Looks
from e2e.argocd.programs import Programs
from e2e.argocd.repository import FOLDER, Repository
from e2e.bench.scale.gateway import ManyRoutes
from e2e.bench.scale.ground import Ground
from e2e.bench.scale.operator_side import operator_in
from e2e.bench.scale.subject import Subject
from e2e.cluster import ControlPlane
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import KINDS, ClusterView
from tests.faults.kubelet import Kubelet
from tests.faults.pod_programs import Behaviour
from tests.faults.weight_files import fill_volume
from tests.faults.workloads import API_VERSION, RELEASE, claim, fusion, spec

PATIENCE: Final = 300.0
"""Seconds for what takes some: Argo CD and the operator share two cores here, and nothing is measured."""
REFRESH: Final = "argocd.argoproj.io/refresh"
WAVE: Final = "argocd.argoproj.io/sync-wave"
SERVER_SIDE: Final = "ServerSideApply=true"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """What all stories share: a control plane with Argo CD, and a directory."""

    plane: ControlPlane
    programs: Programs
    directory: Path
    tell: Tell
    played: list[Looks] = field(default_factory=list)


@dataclass
class Scene:
    """What a user of the story has in hand, and what Argo CD says."""

    name: str
    stage: Stage
    client: ClusterClient
    view: ClusterView
    applications: ClusterView
    repository: Repository
    looks: Looks
    operator: Subject
    commit_name: str = ""
    """The newest."""
    operations: list[str] = field(default_factory=list)
    """Starts of Argo CD's syncs, each once."""

    # --- what a user does

    async def commit(self, *objects: dict[str, Any], file: str = "release.yaml") -> None:
        """Commit manifests; Argo CD is told, as by a webhook."""
        self.looks.disturbed("a commit")
        self.commit_name = self.repository.commit("A change", {file: objects})
        if self.application():
            await self.refresh()

    async def follow(self, *options: str, retries: int | None = None) -> None:
        """The shipped Application, over this story's repository; `options` in place of its sync options.

        Argo CD itself tries a sync that failed five times more, in two and a half minutes.
        """
        body = yaml.safe_load((COMPONENT / "application.yaml").read_text())
        body["metadata"]["name"] = self.name
        body["spec"]["source"] = {"repoURL": self.repository.url, "targetRevision": "main", "path": FOLDER}
        body["spec"]["destination"]["namespace"] = self.name
        body["spec"]["syncPolicy"]["syncOptions"] = list(options)
        if retries is not None:
            body["spec"]["syncPolicy"]["retry"] = {"limit": retries}
        await self.client.create("Application", NAMESPACE, body)

    async def refresh(self) -> None:
        """Ask Argo CD to look now."""
        change = {"metadata": {"annotations": {REFRESH: "normal"}}}
        await self.client.patch("Application", NAMESPACE, self.name, change)

    async def edit(self, change: dict[str, Any]) -> None:
        """A hand's merge patch of the release in the cluster."""
        self.looks.disturbed("a hand")
        await self.client.patch("RewriterRelease", self.name, RELEASE, change)

    async def delete_release(self) -> None:
        """A hand's deletion."""
        self.looks.disturbed("a deletion")
        await self.client.delete("RewriterRelease", self.name, RELEASE)

    async def actions(self) -> set[str]:
        """Names of the actions that Argo CD offers now."""
        offered = await asyncio.to_thread(self._api.actions, self.name, self.name, RELEASE)
        return {name for name, enabled in offered.items() if enabled}

    async def press(self, action: str) -> None:
        """An action of the release's menu."""
        await asyncio.to_thread(self._api.act, self.name, self.name, RELEASE, action)

    # --- what is there

    @property
    def _api(self) -> Api:
        return self.stage.programs.api

    def release(self) -> dict[str, Any]:
        """The live release; empty when there is none."""
        return self.view.get("RewriterRelease", RELEASE) or {}

    def status(self) -> dict[str, Any]:
        """Its status."""
        found: dict[str, Any] = self.release().get("status", {})
        return found

    def state(self) -> str:
        """Its state."""
        return str(self.status().get("state", ""))

    def outcome(self, number: int) -> str:
        """How a cycle ended; empty while it has not."""
        found = (item["outcome"] for item in self.status().get("history", []) if item["number"] == number)
        return next(found, "")

    def waits(self) -> bool:
        """A stage waits for a person at its first share."""
        stages = self.status().get("stages", [])
        return bool(stages) and stages[0].get("share") == 20 and stages[0].get("step") == 1

    def application(self) -> dict[str, Any]:
        """The live Application; empty when there is none."""
        return self.applications.get("Application", self.name) or {}

    def health(self) -> str:
        """Argo CD's word for the application."""
        return str(self.application().get("status", {}).get("health", {}).get("status", ""))

    def sync(self) -> str:
        """Argo CD's word for cluster and Git."""
        return str(self.application().get("status", {}).get("sync", {}).get("status", ""))

    def has_followed(self) -> bool:
        """Argo CD has applied the newest commit, and sees no difference."""
        status = self.application().get("status", {})
        seen = status.get("sync", {}).get("revision") == self.commit_name
        return seen and self.phase() == "Succeeded" and self.sync() == SYNCED

    def phase(self) -> str:
        """Of Argo CD's newest sync."""
        return str(self.application().get("status", {}).get("operationState", {}).get("phase", ""))

    def serving(self) -> dict[str, set[str]]:
        """Stage -> Services that the route gives requests to."""
        route = self.view.get("HTTPRoute", f"{RELEASE}-rewrites") or {"spec": {"rules": []}}
        found: dict[str, set[str]] = {}
        for rule in route["spec"]["rules"]:
            stages = [header["value"] for match in rule["matches"] for header in match.get("headers", [])]
            if stages:  # with more than a stage: of some buckets of its users
                named = {backend["name"] for backend in rule["backendRefs"] if backend.get("weight", 1)}
                found[stages[0]] = found.get(stages[0], set()) | named
        return found

    async def until(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for something.

        Raises:
            AssertionError: with the last looks, when it does not come.
        """
        end = time.monotonic() + PATIENCE
        if not await self.applications.until(is_so, lambda: time.monotonic() > end):
            self.stage.programs.must_live()
            self.operator.must_live()
            last = "\n".join(str(look) for look in self.looks.seen[-5:])
            conditions = json.dumps(self.application().get("status", {}).get("conditions", []))
            raise AssertionError(
                f"not within {PATIENCE:.0f} s: {what}; {self.state()}: {self.status().get('message')}\n{last}\n"
                f"{conditions}\n{self.application().get('status', {}).get('operationState', {}).get('message')}"
            )

    async def until_followed(self) -> None:
        """Wait until Git and the cluster agree again: from now on nobody may make them differ."""
        await self.until("Argo CD has applied what is in Git", self.has_followed)
        self.looks.settled()

    async def until_health(self, health: str) -> None:
        """Wait for Argo CD's word."""
        await self.until(f"Argo CD says {health}", lambda: self.health() == health)

    async def quiet(self, seconds: float) -> None:
        """Let time pass, looking."""
        end = time.monotonic() + seconds
        await self.applications.until(lambda: False, lambda: time.monotonic() > end)

    # --- what is written down

    def see(self, happened: str, item: dict[str, Any]) -> None:
        """Every change of the Application and of the release is a look."""
        if item["metadata"]["name"] not in (self.name, RELEASE) or item["kind"] not in _LOOKED_AT:
            return
        if item["kind"] == "Application":
            started = item.get("status", {}).get("operationState", {}).get("startedAt", "")
            if started and started not in self.operations:
                self.operations.append(started)
        if not self.sync():
            return
        before = self.looks.seen[-1:]
        look = self.looks.look(self.state(), self.health(), self.sync())
        if before != [look]:
            self.stage.tell(f"{self.name:20} {look.state:14} {look.health:12} {look.sync} {look.excused}")


_LOOKED_AT: Final = frozenset({"Application", "RewriterRelease"})


@asynccontextmanager
async def opened(stage: Stage, name: str, behaviour: Behaviour | None = None) -> AsyncIterator[Scene]:
    """A new namespace with everything but the release, which Git brings."""
    directory = stage.directory / name
    directory.mkdir()
    client = ClusterClient.of(stage.plane.kubeconfig)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        ground = Ground(stage.plane, client, directory)
        operator = await operator_in(ground, name)
        await client.create("PersistentVolumeClaim", name, claim())
        fill_volume(directory / "volume" / RELEASE)
        view = ClusterView(client, name, (*KINDS, "ConfigMap"))
        applications = ClusterView(client, NAMESPACE, ("Application",))
        kubelet = Kubelet(view, directory / "volume", behaviour or Behaviour(), 16 + os.getpid() % 200)
        for part in (kubelet, ManyRoutes(view, kubelet), applications, view):
            part.start()
            stack.push_async_callback(part.stop)
        operator.start()
        stack.callback(operator.stop)
        repository = Repository.create(directory / "deploy")
        scene = Scene(name, stage, client, view, applications, repository, Looks(name), operator)
        stage.played.append(scene.looks)
        view.listeners.append(scene.see)
        applications.listeners.append(scene.see)
        yield scene
        await client.delete("Application", NAMESPACE, name)
        await client.delete("Namespace", "", name)
        assert not kubelet.failures, kubelet.failures


def release(annotations: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """As it stands in Git."""
    metadata = {"name": RELEASE, "annotations": annotations or {}}
    values = {"training.phases": 1, **changes}
    return {"apiVersion": API_VERSION, "kind": "RewriterRelease", "metadata": metadata, "spec": spec(**values)}


def constants() -> dict[str, Any]:
    """What the reward's constants are read from; it stands beside the release in Git."""
    return fusion()


def config_map(name: str, **annotations: str) -> dict[str, Any]:
    """Something else of the team's."""
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"of": "the team"}}
