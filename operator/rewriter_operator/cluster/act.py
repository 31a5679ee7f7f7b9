"""One function per kind of write. Each is harmless when it is done twice, and refused when another leader was there.

Every object that is changed or removed is read right before, its epoch is compared, and the write names that version.
"""

import base64
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rewriter_operator import metrics
from rewriter_operator.api.model import API_VERSION
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import ANNOTATION_EPOCH, Term, check_epoch, marked
from rewriter_operator.cluster.kube import Kube, is_owned_by
from rewriter_operator.core.decision import Note, OrderToPod, PodChange, Removal, RevisionOutcome
from rewriter_operator.core.world import World
from rewriter_operator.errors import Retry
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest

log = logging.getLogger(__name__)


class Foreign(Retry):
    """An object that has the name of one of our children belongs to somebody else; it is left alone."""


@dataclass(frozen=True)
class Applied:
    """A child that was made or put right."""

    before: dict[str, Any] | None
    """As it was found; None where there was none."""
    after: dict[str, Any] | None
    """As the API server answered; None where somebody else had made it meanwhile."""


@dataclass
class Hands:
    """Everything that writes, during one term."""

    kube: Kube
    agents: Agents
    term: Term

    async def apply(self, manifest: Manifest) -> Applied:
        """Create or update one child.

        Raises:
            Foreign: when its name is taken.
            Forbidden, Invalid: with the API server's words, when it does not want the child.
        """
        log.info("apply %s %s", manifest.kind, manifest.name)
        metrics.WRITES.labels("apply", manifest.kind).inc()
        body = marked(manifest.body, self.term.epoch)
        if manifest.kind == "Secret":
            return await self._create(_with_token(body))
        return await self._update(body) if manifest.update else await self._create(body)

    async def remove(self, removal: Removal) -> None:
        """Delete one child, by uid and version."""
        live = await self._standing(removal.kind, removal.name)
        if live is None or live["metadata"]["uid"] != removal.uid:
            return
        check_epoch({**live, "kind": removal.kind}, self.term.epoch)
        log.info("delete %s %s: %s", removal.kind, removal.name, removal.why)
        metrics.WRITES.labels("delete", removal.kind).inc()
        await self.kube.delete(removal.kind, removal.name, removal.uid, live["metadata"]["resourceVersion"])

    async def release_status(
        self, live: dict[str, Any], status: dict[str, Any], dry_run: bool = False
    ) -> dict[str, Any]:
        """Write a release's status on the version that was read, with our epoch in it; the release as it is stored."""
        live = {**live, "kind": "RewriterRelease"}
        check_epoch(live, self.term.epoch)
        metrics.WRITES.labels("status", "RewriterRelease").inc()
        body = {**live, "status": {**status, "operatorEpoch": self.term.epoch}}
        return {**await self.kube.put_status(body, dry_run), "kind": "RewriterRelease"}

    async def _create(self, body: dict[str, Any]) -> Applied:
        made = await self.kube.create(body)
        if made is None:
            live = await self._standing(body["kind"], body["metadata"]["name"])
            if live is not None:
                check_owner(live, body)
        return Applied(None, made and {**made, "kind": body["kind"]})

    async def _standing(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object that has this name. Secrets are found in a list: the operator's Role has no more."""
        if kind != "Secret":
            return await self.kube.get(kind, name)
        return next((item for item in await self.kube.list(kind) if item["metadata"]["name"] == name), None)

    async def _update(self, body: dict[str, Any]) -> Applied:
        kind, name = body["kind"], body["metadata"]["name"]
        live = await self.kube.get(kind, name)
        if live is None:
            return await self._create(body)
        live = found = {**live, "kind": kind}
        if not _is_left_behind(live, body):
            check_owner(live, body)
        check_epoch(live, self.term.epoch)
        live = await self.kube.own_by_apply(live)  # once in the object's life
        after = await self.kube.apply(body, live["metadata"]["resourceVersion"])
        return Applied(found, {**after, "kind": kind})

    async def assign(self, change: PodChange) -> None:
        """Take the next step of a pod of the pool from one revision to another, in one write."""
        live = await self.kube.get("Pod", change.pod)
        if live is None or live["metadata"]["uid"] != change.uid:
            return
        live = {**live, "kind": "Pod"}
        check_epoch(live, self.term.epoch)
        log.info("pod %s: %s: %s", change.pod, "unlabelled" if change.label is None else change.label, change.why)
        metrics.WRITES.labels("assign", "Pod").inc()
        moment = datetime.fromtimestamp(change.at, UTC).isoformat()
        told = names.ANNOTATION_RELEASED if change.label is None else names.ANNOTATION_ASSIGNED
        annotations: dict[str, str | None] = {ANNOTATION_EPOCH: str(self.term.epoch), told: moment}
        if change.order is not None:
            annotations[names.ANNOTATION_SERVING] = change.order
        label = None if change.label is None else str(change.label)
        await self.kube.mark(live, {names.LABEL_CYCLE: label}, annotations)

    async def order(self, world: World, token: str, order: OrderToPod) -> None:
        """PUT an order to a cycle's pod. What became of it is read in the next reconcile."""
        cycle = world.status.cycle
        pod = world.pod(order.role, cycle.number if cycle else 0, order.number)
        if pod is None or not pod.ip:
            raise Retry(f"{order.role} {order.number} is not there to be given {order.path}")
        metrics.WRITES.labels("order", order.role.value).inc()
        with self.term.writing() as left:
            answer = await self.agents.put(pod.ip, token, order.path, order.body, left)
        if answer is None:
            raise Retry(f"{pod.name} did not answer {order.path}")
        log.info("PUT %s %s: %s", pod.name, order.path, answer.status)
        if answer.status >= 400:
            raise Retry(
                f"{pod.name} refused {order.path}: {answer.status} {answer.body[:600].decode(errors='replace')}"
            )

    async def revision_status(self, release: str, outcome: RevisionOutcome) -> dict[str, Any] | None:
        """Write what became of a revision; the revision as it is then, None where there is none any more."""
        name = names.revision(release, outcome.revision)
        live = await self.kube.get("RewriterRevision", name)
        if live is None:
            return None
        live = {**live, "kind": "RewriterRevision"}
        check_epoch(live, self.term.epoch)
        metrics.WRITES.labels("status", "RewriterRevision").inc()
        return {**live, **await self.kube.put_status({**live, "status": outcome.status.to_api()})}

    async def tell(self, live: dict[str, Any], note: Note) -> None:
        """Post a Kubernetes Event about the release."""
        release = live["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        reference = {
            "apiVersion": API_VERSION,
            "kind": "RewriterRelease",
            "name": release["name"],
            "namespace": release["namespace"],
            "uid": release["uid"],
        }
        await self.kube.event(
            {
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"name": f"{release['name']}.{secrets.token_hex(8)}", "namespace": release["namespace"]},
                "eventTime": now,
                "reportingController": "rewriter.dev/operator",
                "reportingInstance": names.MANAGER,
                "action": note.reason[:128],
                "reason": note.reason[:128],
                "note": note.message[:1024],
                "type": "Warning" if note.warning else "Normal",
                "regarding": reference,
            }
        )


def check_owner(live: dict[str, Any], body: dict[str, Any]) -> None:
    """
    Raises:
        Foreign: when the object with a child's name is not of the child's release.
    """
    release = body["metadata"]["ownerReferences"][0]
    if is_owned_by(live, release["uid"]):
        return
    owners = live["metadata"].get("ownerReferences", [])
    theirs = ", ".join(f"{owner['kind']} {owner['name']} ({owner['uid']})" for owner in owners) or "no owner"
    raise Foreign(
        f"{body['kind']} {body['metadata']['name']} is there already and is not of RewriterRelease {release['name']} "
        f"({release['uid']}): it has {theirs}; delete or rename it"
    )


def _is_left_behind(live: dict[str, Any], body: dict[str, Any]) -> bool:
    """Nobody's since its release was deleted with `--cascade=orphan`: an update makes it a child again."""
    labels = live["metadata"].get("labels", {})
    ours = body["metadata"]["labels"][names.LABEL_RELEASE]
    return not live["metadata"].get("ownerReferences") and labels.get(names.LABEL_RELEASE) == ours


def _with_token(body: dict[str, Any]) -> dict[str, Any]:
    token = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
    return {**body, "data": {"token": token}}
