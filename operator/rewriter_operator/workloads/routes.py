"""The HTTPRoute: one rule per stage by request header, and a catch-all that comes last.

All defaults are written out, so that what is read back equals what was written. One object for all stages: taking a
candidate back everywhere is one write.
"""

import json
from typing import Any

from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names
from rewriter_operator.workloads.pods import PORT

REWRITE_PATH = "/v1/rewrite"

ROUTE_SLACK_SECONDS = 2


def http_route(release: str, namespace: str, spec: RewriterReleaseSpec, wanted: WantedRoute) -> dict[str, Any]:
    """The route that gives each stage's requests to its incumbent, but for the candidate's share."""
    traffic, shares = spec.traffic, dict(wanted.shares)
    # Beyond the pods' own limit: a request that takes too long is counted by the pod that was slow.
    timeout = f"{seconds(spec.serving.request_timeout) + ROUTE_SLACK_SECONDS}s"
    rules = [
        _rule(stage, _backends(release, incumbent, wanted, shares.get(stage, 0)), timeout)
        for stage, incumbent in wanted.incumbents
    ]
    last = wanted.incumbents[-1][1] if wanted.incumbents else None
    rules.append(_rule(None, _backends(release, last, wanted, 0), timeout))
    parent: dict[str, Any] = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": traffic.gateway.name,
        "namespace": traffic.gateway.namespace or namespace,
    }
    if traffic.gateway.section_name:
        parent["sectionName"] = traffic.gateway.section_name
    body: dict[str, Any] = {"parentRefs": [parent], "rules": rules}
    if traffic.hostnames:
        body["hostnames"] = list(traffic.hostnames)
    annotations = {names.ANNOTATION_SHARES: json.dumps(shares, sort_keys=True)}
    if wanted.withdrawn is not None:
        annotations[names.ANNOTATION_WITHDRAWN] = str(wanted.withdrawn)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": names.route(release),
            "labels": names.labels(release, Role.ROUTE),
            "annotations": annotations,
        },
        "spec": body,
    }


def _rule(stage: str | None, backends: list[dict[str, Any]], timeout: str) -> dict[str, Any]:
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": REWRITE_PATH}, "method": "POST"}
    if stage is not None:
        match["headers"] = [{"type": "Exact", "name": STAGE_HEADER, "value": stage}]
    return {"matches": [match], "backendRefs": backends, "timeouts": {"request": timeout}}


def _backends(release: str, incumbent: int | None, wanted: WantedRoute, share: int) -> list[dict[str, Any]]:
    """The incumbent first, then the candidate if it has a share, then what is listed at weight 0."""
    first = -1 if incumbent is None else incumbent
    weights = {first: 100 - share}
    if wanted.candidate is not None and share:
        weights[wanted.candidate] = share
    for revision in wanted.idle:
        weights.setdefault(revision, 0)
    return [_backend(names.serving(release, revision), weight) for revision, weight in weights.items()]


def _backend(service: str, weight: int) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": service, "port": PORT, "weight": weight}
