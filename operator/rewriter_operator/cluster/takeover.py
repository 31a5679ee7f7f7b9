"""What a new leader does before it acts on a release: mark everything that may be changed with its epoch.

Marking gives each object a new version, so whatever an earlier leader still has under way names an old one and is
refused by the API server. What it managed to write before the mark is seen by the first pass, which reads after it.
Only new objects cannot be guarded this way; docs/decisions/0007 says what remains.
"""

import asyncio
import logging
from typing import Any, Final

from rewriter_operator.cluster.fence import ANNOTATION_EPOCH, check_epoch, epoch_of, release_epoch
from rewriter_operator.cluster.kube import Invalid, Kube
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.routers import router_of

MARKED: Final = ("Pod", "Deployment", "Service", "PodDisruptionBudget", "RewriterRevision")
"""Kinds that the operator changes or removes, beside that of the release's route. A Secret is only ever created."""

log = logging.getLogger(__name__)


async def take_over(kube: Kube, release: str, epoch: int) -> None:
    """Mark the release, then its children; in this order, because an old leader's pass begins with the release.

    Raises:
        Superseded: when a still later leader was here.
        Retry: when something wrote in between; nothing is lost by doing it again.
    """
    live = await kube.get("RewriterRelease", release)
    if live is None:
        return
    live["kind"] = "RewriterRelease"
    check_epoch(live, epoch)
    if release_epoch(live) < epoch:
        await _mark_release(kube, live, epoch)
    kinds = (*MARKED, router_of(live).kind)
    lists = await asyncio.gather(*(kube.list(kind, f"{names.LABEL_RELEASE}={release}") for kind in kinds))
    await asyncio.gather(*(_mark(kube, item, epoch) for items in lists for item in items if not _is_spared(item)))


async def _mark_release(kube: Kube, live: dict[str, Any], epoch: int) -> None:
    name = live["metadata"]["name"]
    try:
        written = await kube.put_status({**live, "status": {**live.get("status", {}), "operatorEpoch": epoch}})
    except Invalid as error:  # then no earlier leader can write it either, and its route must not wait for a person
        log.warning("%s: its status cannot be marked: %s", name, error)
        return
    if release_epoch(written) != epoch:
        log.warning("%s: the CRD has no status.operatorEpoch; apply this version's crds/", name)


async def _mark(kube: Kube, live: dict[str, Any], epoch: int) -> None:
    check_epoch(live, epoch)
    if epoch_of(live) < epoch:
        await kube.annotate(live, {ANNOTATION_EPOCH: str(epoch)})


def _is_spared(live: dict[str, Any]) -> bool:
    """Pods of a Deployment are the Deployment's, but for those whose label we change; what is on its way out needs no
    mark."""
    labels = live["metadata"].get("labels", {})
    role = labels.get(names.LABEL_ROLE)
    of_deployment = (
        live["kind"] == "Pod" and role in (Role.SERVING, Role.PASSTHROUGH) and names.LABEL_POOL not in labels
    )
    return of_deployment or "deletionTimestamp" in live["metadata"]
