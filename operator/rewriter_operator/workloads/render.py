"""Turns wanted children into manifests that the cluster can be compared with.

Each manifest carries the digest of itself in an annotation, so that drift is one string comparison, and its owner, so
that deleting the release deletes it.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from rewriter_contract import wire
from rewriter_operator.api.model import API_VERSION
from rewriter_operator.core.begun_spec import in_force
from rewriter_operator.core.decision import (
    Wanted,
    WantedMeeting,
    WantedPod,
    WantedPool,
    WantedRevision,
    WantedRoute,
    WantedServing,
    WantedToken,
)
from rewriter_operator.core.world import Release, Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.installation import Installation
from rewriter_operator.workloads.pods import cycle_pod
from rewriter_operator.workloads.router import body as route_body
from rewriter_operator.workloads.routers import ROUTERS
from rewriter_operator.workloads.serving import deployment, disruption_budget, pool, pool_budget, service
from rewriter_operator.workloads.trainers import meeting

_COMPARED: Final = (*ROUTERS, "PodDisruptionBudget")


@dataclass(frozen=True)
class Manifest:
    """One object to apply."""

    body: dict[str, Any]
    update: bool
    """False: an object that exists is left as it is, whatever it says (pods and revisions never change)."""

    @property
    def kind(self) -> str:
        """E.g. Deployment."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """metadata.name"""
        return str(self.body["metadata"]["name"])

    @property
    def is_route(self) -> bool:
        """Whether it divides requests."""
        return self.kind in ROUTERS

    @property
    def has_defaults(self) -> bool:
        """Whether an API server adds to what it says."""
        return not self.is_route or ROUTERS[self.kind].has_defaults

    @property
    def replicas(self) -> int:
        """Of a Deployment; 0 for anything else."""
        return int(self.body["spec"]["replicas"]) if self.kind == "Deployment" else 0

    @property
    def compared(self) -> dict[str, Any] | None:
        """The spec of what is put right when a hand edits it: where requests go, and what a drain may take."""
        spec: dict[str, Any] | None = self.body["spec"] if self.kind in _COMPARED else None
        return spec

    @property
    def digest(self) -> str:
        """What the annotation says."""
        return str(self.body["metadata"]["annotations"][names.ANNOTATION_HASH])


def render(release: Release, wanted: tuple[Wanted, ...], installation: Installation) -> list[Manifest]:
    """All manifests, in order, by the spec that is in force."""
    release = replace(release, spec=in_force(release.spec, release.status))
    return [
        Manifest(_sized(item, _finished(release, body)), update)
        for item in wanted
        for body, update in _bodies(release, item, installation)
    ]


def _bodies(release: Release, item: Wanted, installation: Installation) -> list[tuple[dict[str, Any], bool]]:
    match item:
        case WantedPod():
            return [(cycle_pod(release.name, release.spec, item, installation), False)]
        case WantedMeeting():
            return [(meeting(release.name), True)]
        case WantedServing():
            if not item.has_deployment:
                return [(service(release.name, item), True)]
            budget = disruption_budget(release.name, release.spec, item)
            return [
                (deployment(release.name, release.spec, item, installation), True),
                (service(release.name, item), True),
                *([(budget, True)] if budget else []),
            ]
        case WantedPool():
            return [
                (pool(release.name, release.spec, installation), not item.held),
                (pool_budget(release.name, release.spec), True),
            ]
        case WantedRoute():
            return [(route_body(ROUTERS[release.spec.traffic.route_kind], release, item), True)]
        case WantedRevision():
            return [(_revision(release.name, item), False)]
        case WantedToken():
            return [(_token(release.name), False)]
        case _:
            assert_never(item)


def _revision(release: str, wanted: WantedRevision) -> dict[str, Any]:
    number = wanted.spec.revision
    return {
        "apiVersion": API_VERSION,
        "kind": "RewriterRevision",
        "metadata": {
            "name": names.revision(release, number),
            "labels": names.labels(release, Role.REVISION, number),
        },
        "spec": wanted.spec.to_api(),
    }


def _token(release: str) -> dict[str, Any]:
    """Without its value: cluster/act.py draws that when the Secret is created, so that no plan ever holds it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": names.token(release), "labels": names.labels(release, Role.AGENT_TOKEN)},
    }


def _finished(release: Release, body: dict[str, Any]) -> dict[str, Any]:
    digest = wire.digest(wire.dumps(body))[:16]
    owner = {
        "apiVersion": API_VERSION,
        "kind": "RewriterRelease",
        "name": release.name,
        "uid": release.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = dict(body["metadata"])
    metadata["namespace"] = release.namespace
    metadata["ownerReferences"] = [owner]
    metadata["annotations"] = {**metadata.get("annotations", {}), names.ANNOTATION_HASH: digest}
    return {**body, "metadata": metadata}


def _sized(item: Wanted, body: dict[str, Any]) -> dict[str, Any]:
    """With a candidate's own number of pods, which is not in the digest: too few are seen as such (core/diff.py).

    Were it in there, every rise would be written over an autoscaler's or a hand's larger number, and a lower one would
    take pods from under their requests.
    """
    if not isinstance(item, WantedServing) or item.replicas is None or body["kind"] != "Deployment":
        return body
    return {**body, "spec": {**body["spec"], "replicas": item.replicas}}
