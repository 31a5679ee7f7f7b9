"""Every kopf decorator: each only tells whoever leads that a key changed. No decision, no call, no state."""

from typing import Any

import kopf

from rewriter_operator.api.model import GROUP, VERSION
from rewriter_operator.leading import Leading, NotAlive, Version, Wish
from rewriter_operator.workloads import names

_CHILDREN = (("", "v1", "pods"), ("apps", "v1", "deployments"), ("gateway.networking.k8s.io", "v1", "httproutes"))

_OF_ISTIO = (("networking.istio.io", "v1", "virtualservices"),)
"""Watched where they can be listed: kopf would end every watch over one that is forbidden. Elsewhere they are seen when
a release is looked at."""


class NullDiffBase(kopf.DiffBaseStorage):
    """Stores nothing: kopf's annotation with the last spec can be broken by any editor, and then blinds it."""

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def register(registry: kopf.OperatorRegistry, leading: Leading, has_istio: bool) -> None:
    """Register all handlers; those of Istio's objects only where the cluster has them and lets them be read."""

    @kopf.on.startup(registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure(settings)

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.probe(registry=registry, id="queue")
    def alive(**_: Any) -> str:
        try:
            return leading.alive()
        except NotAlive as problem:
            raise kopf.PermanentError(str(problem)) from problem

    @kopf.on.event(GROUP, VERSION, "rewriterreleases", registry=registry)
    def release_changed(name: str | None, type: str | None, meta: kopf.Meta, **_: Any) -> None:
        if name and type == "DELETED":
            leading.release_is_gone(name)
        elif name:
            leading.release_changed(name, Wish(meta.get("generation", 0), dict(meta.annotations)), _version(meta))

    for group, version, plural in _CHILDREN + _OF_ISTIO * has_istio:

        @kopf.on.event(
            group,
            version,
            plural,
            registry=registry,
            id=plural,
            labels={names.LABEL_MANAGED: names.MANAGER, names.LABEL_RELEASE: kopf.PRESENT},
        )
        def child_changed(labels: kopf.Labels, type: str | None, meta: kopf.Meta, **_: Any) -> None:
            release = labels[names.LABEL_RELEASE]
            if type == "DELETED":
                leading.child_is_gone(release)
            else:
                leading.child_changed(release, _version(meta))


def _version(meta: kopf.Meta) -> Version:
    return Version(meta.get("uid", ""), meta.get("resourceVersion", ""))


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
    # kopf would kill the process so many seconds after any failure of its watches, also when they run again by then.
    settings.process.ultimate_exiting_timeout = None
