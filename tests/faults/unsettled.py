"""What others than the operator have still to do, told from the objects alone: time does not fly before it is done.

Controllers, the garbage collector, the watches and the stand-ins live by the world's time, and are slow on a busy
machine; a release must not run out of its own time for that. What never gets done is waited for only for a while.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.cluster_client import plural_of
from tests.faults.cluster_view import ClusterView
from tests.faults.gateway_controller import is_accepted
from tests.faults.kubelet import ENDED

PATIENCE_SECONDS = 60.0
"""Of the world: what is not done by then waits for the operator, whose time must go on."""

_OWNERS = ("RewriterRelease", "Deployment")
_OF_DEPLOYMENTS = ("serving", "passthrough")


@dataclass
class Unsettled:
    """Of one namespace."""

    view: ClusterView
    written: Mapping[str, int]
    """Plural -> newest version that the operator's writes were answered with."""
    _since: dict[str, float] = field(default_factory=dict)

    def remains(self) -> bool:
        """Whether anything is to be waited for."""
        now = time.monotonic()
        self._since = {what: self._since.get(what, now) for what in self.things()}
        return any(now - since < PATIENCE_SECONDS for since in self._since.values())

    def things(self) -> Iterator[str]:
        """What is still to be done, and by whom."""
        for kind in self.view.kinds:
            if self.view.seen.get(kind, 0) < self.written.get(plural_of(kind), 0):
                yield f"the watch of {kind} is behind"
        owners = {item["metadata"]["uid"] for kind in _OWNERS for item in self.view.of(kind)}
        for (kind, name), item in self.view.objects.items():
            if any(owner["kind"] in _OWNERS and owner["uid"] not in owners for owner in _owners(item)):
                yield f"garbage collector: {kind} {name}"
        for pod in self.view.of("Pod"):
            if self._is_on_its_way(pod):
                yield f"kubelet, or garbage collector: {pod['metadata']['uid']}"
        for deployment in self.view.of("Deployment"):
            if not _is_complete(deployment):
                yield f"controllers: {deployment['metadata']['name']} at {deployment['metadata']['generation']}"
        for route in self.view.of("HTTPRoute"):
            if not is_accepted(route):
                yield f"gateway: {route['metadata']['name']} at {route['metadata']['generation']}"

    def _is_on_its_way(self, pod: dict[str, Any]) -> bool:
        """Being started, being ended, or of a Deployment that is gone."""
        metadata, phase = pod["metadata"], pod.get("status", {}).get("phase", "Pending")
        if "deletionTimestamp" in metadata or phase not in ("Running", *ENDED):
            return True
        labels = metadata.get("labels", {})
        if labels.get("rewriter.dev/role") not in _OF_DEPLOYMENTS:
            return False
        place = ("rewriter.dev/role", "rewriter.dev/cycle")
        deployments = [item["metadata"].get("labels", {}) for item in self.view.of("Deployment")]
        return all(any(labels.get(key) != found.get(key) for key in place) for found in deployments)


def _owners(item: dict[str, Any]) -> list[dict[str, Any]]:
    owners: list[dict[str, Any]] = item["metadata"].get("ownerReferences", [])
    return owners


def _is_complete(deployment: dict[str, Any]) -> bool:
    """Its controller has seen it, and all of its pods are available and of its newest template."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    if status.get("observedGeneration") != deployment["metadata"]["generation"]:
        return False
    return all(status.get(key, 0) == wanted for key in ("replicas", "updatedReplicas", "availableReplicas"))
