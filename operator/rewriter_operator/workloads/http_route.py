"""The HTTPRoute: one rule per stage by request header, and a catch-all that comes after them.

All defaults are written out, so that what is read back equals what was written. One object for all stages: taking a
candidate back everywhere is one write.

Behind a Gateway the route is one of many, and the catch-all takes what is asked of rewrites. Behind a Service it is all
that there is: a mesh answers 404 to whatever no rule matches, so there the catch-all matches everything. As it is in
the same object as the stages' rules, it comes with the first of them and goes with the last.

Rules for buckets of users (spec.traffic.assignment) come and go with a candidate's share, and stand behind all others:
a rule with two headers goes before one with one, wherever it stands, and a gateway that names what it has built after
a rule's place must not take one rule for another when they come.
"""

import math
from typing import Any, Final

from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.api.release import Assignment, Traffic
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.world import Release
from rewriter_operator.workloads import buckets, names
from rewriter_operator.workloads.pods import PORT
from rewriter_operator.workloads.router import (
    REWRITE_PATH,
    Verified,
    WithoutCandidate,
    by_bucket,
    mirror,
    mirrored,
    second_share,
    taken_back,
    timeout,
    weights,
)

MIRROR: Final = "RequestMirror"


class HttpRoute:
    """Gateway API: a Gateway or a Service as parent."""

    kind: Final = "HTTPRoute"
    api_version: Final = "gateway.networking.k8s.io/v1"
    tells_acceptance: Final = True
    has_defaults: Final = True

    def set_share(self, release: Release, wanted: WantedRoute) -> dict[str, Any]:
        """See Router."""
        traffic, shares, limit = release.spec.traffic, dict(wanted.shares), timeout(release.spec)
        rules = [
            _rule(_asked(stage), weights(release.name, incumbent, wanted, shares.get(stage, 0)), limit)
            | _copied(mirror(release.name, wanted, stage))
            for stage, incumbent in wanted.incumbents
        ]
        last = wanted.incumbents[-1][1] if wanted.incumbents else None
        everything = traffic.service is not None
        rules.append(_rule(_ANYTHING if everything else _asked(None), weights(release.name, last, wanted, 0), limit))
        rules += [
            _rule(_asked(stage, pattern, traffic.assignment), backends, limit)
            for stage, incumbent in wanted.incumbents
            for pattern, backends in by_bucket(release, incumbent, wanted, shares.get(stage, 0)).items()
        ]
        spec: dict[str, Any] = {"parentRefs": [_parent(traffic, release.namespace)], "rules": rules}
        if traffic.hostnames:
            spec["hostnames"] = list(traffic.hostnames)
        return spec

    def verify_share(self, live: dict[str, Any]) -> Verified:
        """See Router."""
        said = _said(live)
        accepted, message = _accepted(live, said)
        was_accepted = bool(said) and all(condition.get("status") == "True" for condition in said)
        mirrors = mirrored(_mirrors(rule) for rule in live["spec"].get("rules", []))
        return Verified(_shares(live), accepted, message, mirrors, was_accepted)

    def without_candidate(self, spec: dict[str, Any], release: str) -> WithoutCandidate | None:
        """See Router."""
        return taken_back(spec, "rules", spec.get("rules", []), lambda rule: _without_candidate(rule, release))


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


_REGULAR_EXPRESSION: Final = "RegularExpression"

_ANYTHING: Final = {"path": {"type": "PathPrefix", "value": "/"}}


def _asked(stage: str | None, pattern: str = "", assignment: Assignment | None = None) -> dict[str, Any]:
    """Requests for rewrites: of a stage, or of any; with an assignment, of the users in these buckets."""
    match: dict[str, Any] = {"path": {"type": "PathPrefix", "value": REWRITE_PATH}, "method": "POST"}
    if stage is not None:
        match["headers"] = [{"type": "Exact", "name": STAGE_HEADER, "value": stage}]
    if assignment is not None:
        match["headers"].append({"type": _REGULAR_EXPRESSION, "name": assignment.header, "value": pattern})
    return match


def _rule(match: dict[str, Any], backends: dict[str, int], limit: str) -> dict[str, Any]:
    references = [
        {"group": "", "kind": "Service", "name": service, "port": PORT, "weight": weight}
        for service, weight in backends.items()
    ]
    return {"matches": [match], "backendRefs": references, "timeouts": {"request": limit}}


def _shares(live: dict[str, Any]) -> dict[str, int]:
    """What each stage's second backend gets, and what the rules for buckets of users give to others than the first."""
    shares: dict[str, int] = {}
    split: dict[str, list[buckets.Rule]] = {}
    for rule in live["spec"].get("rules", []):
        headers = _headers(rule)
        if not headers:
            continue
        given = [int(backend.get("weight", 1)) for backend in rule.get("backendRefs", [])]
        stage = _stage(headers) or headers[0]
        others = [header for header in headers if header.get("name", "").lower() != stage.get("name", "").lower()]
        if others:
            found = buckets.Rule(_pattern(others), buckets.others_share(given))
            split.setdefault(stage["value"], []).append(found)
        else:
            shares[stage["value"]] = second_share(given)
    return buckets.together(shares, split)


def _headers(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """What a rule asks of a request's headers."""
    return [header for match in rule.get("matches", []) for header in match.get("headers", [])]


def _stage(headers: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((header for header in headers if header.get("name", "").lower() == STAGE_HEADER), None)


def _pattern(headers: list[dict[str, Any]]) -> str:
    """What these headers ask beside the stage, where that is one regular expression."""
    alone = len(headers) == 1 and headers[0].get("type") == _REGULAR_EXPRESSION
    return str(headers[0]["value"]) if alone else ""


def _accepted(live: dict[str, Any], said: list[dict[str, Any]]) -> tuple[bool | None, str]:
    """What is said of the route's own generation."""
    generation = live["metadata"]["generation"]
    now = [condition for condition in said if condition.get("observedGeneration") == generation]
    for condition in now:
        if condition["status"] != "True":
            return False, f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return (True if said and len(now) == len(said) else None), ""


def _said(live: dict[str, Any]) -> list[dict[str, Any]]:
    """Accepted and ResolvedRefs of every parent that has said anything; empty for one of them that it has not said.

    What an earlier parent left there says nothing: not every gateway takes its words back when a route turns to a mesh.
    """
    asked = {_named(reference) for reference in live["spec"].get("parentRefs", [])}
    found: list[dict[str, Any]] = []
    for parent in live.get("status", {}).get("parents", []):
        if "parentRef" in parent and _named(parent["parentRef"]) not in asked:
            continue
        conditions = {condition["type"]: condition for condition in parent.get("conditions", [])}
        found += [conditions.get("Accepted", {}), conditions.get("ResolvedRefs", {})]
    return found


def _named(parent: dict[str, Any]) -> tuple[str, str]:
    return parent.get("kind", "Gateway"), parent["name"]


def _copied(to: tuple[str, int] | None) -> dict[str, Any]:
    """What a rule has beside, while its requests are copied to a Service: a filter, and none otherwise."""
    if to is None:
        return {}
    service, percent = to
    reference = {"group": "", "kind": "Service", "name": service, "port": PORT}
    copies = {"type": MIRROR, "requestMirror": {"backendRef": reference, "percent": percent}}
    return {"filters": [copies]}


def _mirrors(rule: dict[str, Any]) -> tuple[str | None, list[int]]:
    """The rule's stage, and the percent of each of its mirrors."""
    stage = _stage(_headers(rule))
    percents = [_percent(item["requestMirror"]) for item in rule.get("filters", []) if item.get("type") == MIRROR]
    return stage["value"] if stage else None, percents


def _percent(copies: dict[str, Any]) -> int:
    """Of all requests, where nothing is said."""
    if "fraction" in copies:
        part = copies["fraction"]
        return math.ceil(100 * int(part["numerator"]) / int(part.get("denominator", 100)))
    return int(copies.get("percent", 100))


def _without_candidate(rule: dict[str, Any], release: str) -> tuple[dict[str, Any], int | None]:
    """The rule without a candidate's share and without copies for it, and the candidate that had either."""
    uncopied, copied = _without_copies(rule, release)
    backends = uncopied.get("backendRefs", [])
    carried = {
        place: revision
        for place, backend in enumerate(backends)
        if place and backend.get("weight", 1) and (revision := names.revision_of(backend["name"], release)) is not None
    }
    if not carried:
        return uncopied, copied
    share = sum(backends[place].get("weight", 1) for place in carried)
    given = {0: backends[0].get("weight", 1) + share} | dict.fromkeys(carried, 0)
    changed = [
        {**backend, "weight": given.get(place, backend.get("weight", 1))} for place, backend in enumerate(backends)
    ]
    return {**uncopied, "backendRefs": changed}, max(carried.values())


def _without_copies(rule: dict[str, Any], release: str) -> tuple[dict[str, Any], int | None]:
    """A filter that copies to a revision of the release is the candidate's; all others stay."""
    copies = {place: names.revision_of(_target(item), release) for place, item in enumerate(rule.get("filters", []))}
    ours = {place: revision for place, revision in copies.items() if revision is not None}
    if not ours:
        return rule, None
    kept = [item for place, item in enumerate(rule["filters"]) if place not in ours]
    rest = {key: value for key, value in rule.items() if key != "filters"}
    return rest | ({"filters": kept} if kept else {}), max(ours.values())


def _target(item: dict[str, Any]) -> str:
    return str(item["requestMirror"]["backendRef"]["name"]) if item.get("type") == MIRROR else ""
