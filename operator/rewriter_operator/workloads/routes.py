"""The HTTPRoute: one rule per stage by request header, and a catch-all that comes last.

All defaults are written out, so that what is read back equals what was written. One object for all stages: taking a
candidate back everywhere is one write.

Behind a Gateway the route is one of many, and the catch-all takes what is asked of rewrites. Behind a Service it is all
that there is: a mesh answers 404 to whatever no rule matches, so there the catch-all matches everything. As it is in
the same object as the stages' rules, it comes with the first of them and goes with the last.
"""

import json
from typing import Any, Final

from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec, Traffic
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
        _rule(_asked(stage), _backends(release, incumbent, wanted, shares.get(stage, 0)), timeout)
        for stage, incumbent in wanted.incumbents
    ]
    last = wanted.incumbents[-1][1] if wanted.incumbents else None
    everything = traffic.service is not None
    rules.append(_rule(_ANYTHING if everything else _asked(None), _backends(release, last, wanted, 0), timeout))
    body: dict[str, Any] = {"parentRefs": [_parent(traffic, namespace)], "rules": rules}
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


def _parent(traffic: Traffic, namespace: str) -> dict[str, Any]:
    """What the route is attached to."""
    if traffic.service is not None:
        front = traffic.service
        return {"group": "", "kind": "Service", "name": front.name, "namespace": namespace, "port": front.port}
    if traffic.gateway is None:  # stored before there was a rule about it, or past the CRD
        raise ValueError("spec.traffic: got neither gateway nor service; name what consumers call")
    parent: dict[str, Any] = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": traffic.gateway.name,
        "namespace": traffic.gateway.namespace or namespace,
    }
    if traffic.gateway.section_name:
        parent["sectionName"] = traffic.gateway.section_name
    return parent


_ANYTHING: Final = {"path": {"type": "PathPrefix", "value": "/"}}


def _asked(stage: str | None) -> dict[str, Any]:
    """Requests for rewrites: of a stage, or of any."""
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": REWRITE_PATH}, "method": "POST"}
    if stage is not None:
        match["headers"] = [{"type": "Exact", "name": STAGE_HEADER, "value": stage}]
    return match


def _rule(match: dict[str, Any], backends: list[dict[str, Any]], timeout: str) -> dict[str, Any]:
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
