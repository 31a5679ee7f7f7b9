"""Every kopf decorator: each only puts a key into the queue. No decision, no call, no state."""

import asyncio
import time
from typing import Any

import aiohttp
import kopf

from rewriter_operator.api.model import GROUP, VERSION
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.kube import connect
from rewriter_operator.queue import RESYNC_SECONDS, WorkQueue
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.settings import Settings
from rewriter_operator.workloads import names

ALIVE_SECONDS = 180
"""A queue that finished nothing for this long is dead, whatever its process says."""

_CHILDREN = (("", "v1", "pods"), ("apps", "v1", "deployments"), ("gateway.networking.k8s.io", "v1", "httproutes"))


class NullDiffBase(kopf.DiffBaseStorage):
    """Stores nothing: kopf's annotation with the last spec can be broken by any editor, and then blinds it."""

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def register(registry: kopf.OperatorRegistry, settings: Settings) -> None:
    """Register all handlers."""
    queues: dict[str, WorkQueue] = {}
    tasks: set[asyncio.Task[None]] = set()

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)
        queue = await _queue(own)
        queues["releases"] = queue
        tasks.add(asyncio.create_task(queue.run(), name="queue"))
        tasks.add(asyncio.create_task(_resync(queue), name="resync"))

    own = settings

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.cleanup(registry=registry)
    async def stop(**_: Any) -> None:
        for task in tasks:
            task.cancel()

    @kopf.on.probe(registry=registry, id="queue")
    def alive(**_: Any) -> str:
        age = time.monotonic() - queues["releases"].last_pass
        if age > ALIVE_SECONDS or any(task.done() for task in tasks):
            raise kopf.PermanentError(f"no reconcile finished for {age:.0f} s")
        return f"{age:.1f} s"

    @kopf.on.event(GROUP, VERSION, "rewriterreleases", registry=registry)
    def release_changed(name: str | None, type: str | None, **_: Any) -> None:
        if name and type == "DELETED":
            queues["releases"].forget(name)
        elif name:
            queues["releases"].wake(name)

    for group, version, plural in _CHILDREN:

        @kopf.on.event(
            group,
            version,
            plural,
            registry=registry,
            id=plural,
            labels={names.LABEL_MANAGED: names.MANAGER, names.LABEL_RELEASE: kopf.PRESENT},
        )
        def child_changed(labels: kopf.Labels, **_: Any) -> None:
            queues["releases"].wake(labels[names.LABEL_RELEASE])


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf as a watcher only: no peering, no annotations of its own, no Events, deadlines on every connection."""
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NullDiffBase()
    settings.persistence.finalizer = f"{GROUP}/kopf-unused"
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.process.ultimate_exiting_timeout = 20


async def _queue(settings: Settings) -> WorkQueue:
    kube = await connect(settings.namespace)
    agents = Agents(aiohttp.ClientSession())
    return WorkQueue(Reconciler(Hands(kube, agents), settings.installation), settings.workers)


async def _resync(queue: WorkQueue) -> None:
    """Wake every release now and then: what no event told of is repaired."""
    reconciler = queue.reconcile
    assert isinstance(reconciler, Reconciler)
    while True:
        await asyncio.sleep(RESYNC_SECONDS)
        for item in await reconciler.hands.kube.list("RewriterRelease"):
            queue.wake(item["metadata"]["name"])
