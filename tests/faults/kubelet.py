"""Scheduler and kubelet of a node that has no containers: binds pods, runs their stand-ins, tells their status.

Deployments, ReplicaSets and garbage collection are the real controller manager's. A pod that is deleted goes the real
way: a deletion timestamp first, and then the kubelet's word that it is gone.
"""

import asyncio
import base64
import contextlib
import errno
import itertools
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp

from rewriter_contract import agent, env
from rewriter_contract.agent import Route
from tests.faults.cluster_client import Refused
from tests.faults.cluster_view import ClusterView
from tests.faults.pod_programs import Behaviour, Program, Server, health, program_of, ran_once
from tests.faults.silence import Silence

NODE = "loopback"
PORT = 8080
HEARTBEAT_SECONDS = 5.0
ENDED = ("Succeeded", "Failed")


@dataclass
class RunningPod:
    """A pod's stand-in."""

    name: str
    labels: dict[str, str]
    address: str
    program: Program
    http: ThreadingHTTPServer | None
    """None of one that hangs."""


@dataclass
class Kubelet:
    """Of one namespace. `block` is the second number of its loopback addresses, so that two never meet."""

    view: ClusterView
    volume: Path
    behaviour: Behaviour
    block: int
    on_order: Callable[[str, Route], Route] = lambda pod, route: route
    silence: Silence | None = None
    running: dict[str, RunningPod] = field(default_factory=dict)
    """uid -> what runs."""
    _begun: set[str] = field(default_factory=set)
    _ending: set[str] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _addresses: Any = field(default_factory=lambda: itertools.count(256))
    failures: list[str] = field(default_factory=list)
    _moving: int = 0
    """Pods that are being started or ended."""

    @property
    def busy(self) -> bool:
        """Whether a pod is being started or ended, or works."""
        return self._moving > 0 or any(pod.http and pod.program.is_working() for pod in self.running.values())

    def start(self) -> None:
        """Begin to look at pods."""
        self.view.listeners.append(self._see)
        task = asyncio.create_task(self._heartbeat())
        self._tasks.add(task)

    async def stop(self) -> None:
        """End everything."""
        self.view.listeners.remove(self._see)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for uid in list(self.running):
            await self._end(uid)

    async def fall_silent(self) -> None:
        """From now on the pods that are to hang do; those that begin later do from their first moment on."""
        assert self.silence is not None
        for pod in list(self.running.values()):
            if pod.http and self.silence.hangs(pod.name):
                http, pod.http = pod.http, None
                await asyncio.to_thread(_shut, http)
                await self.silence.begin(pod.address, PORT)

    def servers(self, service: str) -> list[Server]:
        """The ready serving stand-ins behind a Service (its selector is its Deployment's labels)."""
        found = self.view.get("Service", service)
        selector = found["spec"]["selector"] if found else None
        return [
            pod.program
            for pod in self.running.values()
            if selector is not None and isinstance(pod.program, Server) and selector.items() <= pod.labels.items()
        ]

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        if item["kind"] != "Pod":
            return
        uid = item["metadata"]["uid"]
        if happened == "DELETED":
            self._ending.add(uid)
            self._spawn(self._end(uid))
        elif "deletionTimestamp" in item["metadata"]:
            if uid not in self._ending:
                self._ending.add(uid)
                self._spawn(self._finish(item))
        elif uid not in self._begun:
            self._begun.add(uid)
            self._spawn(self._begin(item))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Any) -> None:
        self._moving += 1
        try:
            await work
        except Refused as error:
            if error.status not in (404, 409):  # the pod went, or somebody was quicker
                self.failures.append(f"kubelet: {error}")
        except Exception as error:
            self.failures.append(f"kubelet: {type(error).__name__}: {error}")
        finally:
            self._moving -= 1

    async def _heartbeat(self) -> None:
        """Without it the controller manager takes the node for dead, and its pods with it."""
        client = self.view.client
        while True:
            now = datetime.now(UTC)
            lease = {"holderIdentity": NODE, "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
            second = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "reason": "StandIn", "message": "", "lastHeartbeatTime": second}
            with contextlib.suppress(Refused, aiohttp.ClientError, TimeoutError):  # one that is missed is no death
                await client.patch("Lease", "kube-node-lease", NODE, {"spec": lease})
                await client.patch("Node", "", NODE, {"status": {"conditions": [ready]}}, "status")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _begin(self, pod: dict[str, Any]) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        client, namespace = self.view.client, self.view.namespace
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        try:
            await client.call("POST", client.path("Pod", namespace, name, "binding"), binding)
        except Refused as error:
            if error.status != 409:  # bound by a call of ours whose answer was lost
                raise
        container = pod["spec"]["containers"][0]
        environment = await self._environment(container, uid)
        root, module = self._root(container), container["command"][-1]
        if pod["spec"]["restartPolicy"] == "Never":
            code, message = await asyncio.to_thread(ran_once, root, environment, uid)
            await self._tell(name, _ended(code, message))
            return
        program = await asyncio.to_thread(program_of, module, root, environment, uid, self.behaviour)
        routes = [self.on_order(name, route) for route in program.routes()] + health()
        if self.silence:
            routes = [self.silence.at(name, route) for route in routes]
        address, http = await asyncio.to_thread(self._listen, environment[env.AGENT_TOKEN], routes)
        if uid in self._ending:
            await asyncio.to_thread(_shut, http)
            return
        self.running[uid] = RunningPod(name, pod["metadata"]["labels"], address, program, http)
        if self.silence:
            await self.fall_silent()
        await self._tell(name, _running(address))

    def _listen(self, token: str, routes: list[Route]) -> tuple[str, ThreadingHTTPServer]:
        """The contract's port on a loopback address of the pod's own."""
        while True:
            number = next(self._addresses)
            address = f"127.{self.block}.{number // 250}.{number % 250 + 1}"
            try:
                return address, agent.serve(PORT, token, routes, address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise

    async def _environment(self, container: dict[str, Any], uid: str) -> dict[str, str]:
        found = {}
        for entry in container["env"]:
            source = entry.get("valueFrom", {})
            if "secretKeyRef" in source:
                found[entry["name"]] = await self._secret(uid, **source["secretKeyRef"])
            elif "fieldRef" in source:
                found[entry["name"]] = uid
            else:
                found[entry["name"]] = entry["value"]
        return found

    async def _secret(self, uid: str, name: str, key: str) -> str:
        """As a kubelet: a container whose Secret is missing waits for it, as long as its pod is to be there."""
        while (secret := await self.view.client.get("Secret", self.view.namespace, name)) is None:
            if uid in self._ending:
                raise Refused(404, f"pod {uid} goes before its Secret {name} came")
            await asyncio.sleep(0.05)
        return base64.b64decode(secret["data"][key]).decode()

    def _root(self, container: dict[str, Any]) -> Path:
        mounts = {mount["name"]: mount.get("subPath", "") for mount in container["volumeMounts"]}
        return self.volume / str(mounts.get("volume", ""))

    async def _tell(self, name: str, status: dict[str, Any]) -> None:
        await self.view.client.patch("Pod", self.view.namespace, name, {"status": status}, "status")

    async def _finish(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        await self._end(uid)
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        await self.view.client.delete("Pod", self.view.namespace, pod["metadata"]["name"], **options)

    async def _end(self, uid: str) -> None:
        found = self.running.pop(uid, None)
        if found and found.http:
            await asyncio.to_thread(_shut, found.http)
        elif found and self.silence:
            self.silence.end(found.address)


def _shut(server: ThreadingHTTPServer) -> None:
    """At once: a server looks only twice a second whether it should end, or when somebody calls."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    with contextlib.suppress(OSError):
        socket.create_connection(server.server_address[:2], 1).close()  # type: ignore[arg-type]
    ending.join()
    server.server_close()


def _ended(code: int, message: str) -> dict[str, Any]:
    state = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error"}
    return {
        "phase": "Succeeded" if code == 0 else "Failed",
        "containerStatuses": [_container({"terminated": state}, ready=False)],
    }


def _running(address: str) -> dict[str, Any]:
    """Ready for a while already: minReadySeconds is a wait of the world's clock, which this harness has no time for."""
    since = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": since}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": conditions,
        "containerStatuses": [_container({"running": {"startedAt": since}}, ready=True)],
    }


def _container(state: dict[str, Any], ready: bool) -> dict[str, Any]:
    return {"name": "main", "state": state, "ready": ready, "restartCount": 0, "image": "stand-in", "imageID": ""}
