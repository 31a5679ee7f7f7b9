"""The Istio VirtualService: one rule per stage by request header, and a last one that takes everything else.

Istio takes the first rule that matches and answers 404 where none does, so the order is part of the meaning: rules for
buckets of users (spec.traffic.assignment) stand before the stages', and the last rule has no match. What Istio or the
mesh's own settings would fill in is written out, retries too: a request that is sent again is counted twice by the
pods, and hides the failure that a limit should see.

Istio writes no status by itself. Where its analysis or its distribution report is switched on, they are heard: an error
at this generation is a refusal, and a report that every proxy has it an acceptance. Else nobody can tell.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.api.release import Assignment
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

EVERYTHING: Final = "everything-else"
"""Name of the last rule."""

PERCENTAGES: Final = ("mirrorPercentage", "mirrorPercent", "mirror_percent")
"""How much a rule's one mirror copies: as Istio has it now, and as it had it before."""


class VirtualService:
    """Istio, for the sidecars and waypoints of the mesh, for its gateways, or for both."""

    kind: Final = "VirtualService"
    api_version: Final = "networking.istio.io/v1"
    tells_acceptance: Final = False
    has_defaults: Final = False

    def set_share(self, release: Release, wanted: WantedRoute) -> dict[str, Any]:
        """See Router."""
        traffic, shares, limit = release.spec.traffic.virtual_service, dict(wanted.shares), timeout(release.spec)
        if traffic is None:
            raise ValueError("spec.traffic.virtualService: got none; name the hosts that consumers call")
        rules = [
            _rule(stage, _asked(stage), weights(release.name, incumbent, wanted, shares.get(stage, 0)), limit)
            | _copied(mirror(release.name, wanted, stage))
            for stage, incumbent in wanted.incumbents
        ]
        rules[:0] = _of_buckets(release, wanted)
        last = wanted.incumbents[-1][1] if wanted.incumbents else None
        rules.append(_rule(EVERYTHING, None, weights(release.name, last, wanted, 0), limit))
        return {
            "hosts": list(traffic.hosts),
            "gateways": list(traffic.gateways),
            "exportTo": ["*"],
            "http": rules,
            "tcp": [],
            "tls": [],
        }

    def verify_share(self, live: dict[str, Any]) -> Verified:
        """See Router."""
        shares: dict[str, int] = {}
        split: dict[str, list[buckets.Rule]] = {}
        for rule in _dicts(live["spec"].get("http")):
            stage, given = _stage(rule), [_weight(rule, route) for route in _dicts(rule.get("route"))]
            if stage is None:
                continue
            pattern = _pattern(rule)
            if pattern is None:
                shares[stage] = second_share(given)
            else:
                split.setdefault(stage, []).append(buckets.Rule(pattern, buckets.others_share(given)))
        accepted, message = _accepted(live)
        mirrors = mirrored((_stage(rule), _percents(rule)) for rule in _dicts(live["spec"].get("http")))
        return Verified(buckets.together(shares, split), accepted, message, mirrors)

    def without_candidate(self, spec: dict[str, Any], release: str) -> WithoutCandidate | None:
        """See Router."""
        return taken_back(spec, "http", _dicts(spec.get("http")), lambda rule: _without_candidate(rule, release))


def _of_buckets(release: Release, wanted: WantedRoute) -> list[dict[str, Any]]:
    """The rules for buckets of users, two for each stage that tells them apart now."""
    assignment, shares, limit = release.spec.traffic.assignment, dict(wanted.shares), timeout(release.spec)
    return [
        _rule(f"{stage}-{side}", _asked(stage, pattern, assignment), backends, limit)
        for stage, incumbent in wanted.incumbents
        for side, (pattern, backends) in zip(
            ("incumbent", "candidate"),
            by_bucket(release, incumbent, wanted, shares.get(stage, 0)).items(),
            strict=False,
        )
    ]


def _asked(stage: str, pattern: str = "", assignment: Assignment | None = None) -> dict[str, Any]:
    """Requests for rewrites of a stage; with an assignment, of the users in these buckets."""
    headers: dict[str, Any] = {STAGE_HEADER: {"exact": stage}}
    if assignment is not None:
        headers[assignment.header] = {"regex": pattern}
    return {"uri": {"prefix": REWRITE_PATH}, "method": {"exact": "POST"}, "headers": headers}


def _rule(name: str, match: dict[str, Any] | None, backends: dict[str, int], limit: str) -> dict[str, Any]:
    """A short host name is one of the VirtualService's own namespace."""
    routes = [
        {"destination": {"host": service, "port": {"number": PORT}}, "weight": weight}
        for service, weight in backends.items()
    ]
    rule: dict[str, Any] = {"name": name, "route": routes, "timeout": limit, "retries": {"attempts": 0}}
    return rule if match is None else {**rule, "match": [match]}


def _dicts(found: Any) -> Iterator[dict[str, Any]]:
    """The objects of what should be a list of them."""
    return (item for item in found if isinstance(item, dict)) if isinstance(found, list) else iter(())


def _stage(rule: dict[str, Any]) -> str | None:
    """The stage whose requests a rule takes."""
    for match in _dicts(rule.get("match")):
        headers = match.get("headers")
        wanted = headers.get(STAGE_HEADER) if isinstance(headers, dict) else None
        if isinstance(wanted, dict) and isinstance(wanted.get("exact"), str):
            return str(wanted["exact"])
    return None


def _pattern(rule: dict[str, Any]) -> str | None:
    """What a stage's rule asks beside the stage: a regular expression, or anything else (empty); None for nothing."""
    asked = [match.get("headers") for match in _dicts(rule.get("match"))]
    headers = [item for found in asked if isinstance(found, dict) for item in found.items() if item[0] != STAGE_HEADER]
    if not headers:
        return None
    _, wanted = headers[0]
    pattern = wanted.get("regex") if len(headers) == 1 and isinstance(wanted, dict) else None
    return pattern if isinstance(pattern, str) else ""


def _weight(rule: dict[str, Any], route: dict[str, Any]) -> int:
    """Without a weight: all, where there is nobody else, and none where there is."""
    weight = route.get("weight")
    alone = len(rule["route"]) == 1
    return weight if isinstance(weight, int) and weight > 0 else 100 * alone


def _accepted(live: dict[str, Any]) -> tuple[bool | None, str]:
    """An error of the analysis that is not of an earlier generation; else what the distribution report says of this."""
    status, generation = live.get("status") or {}, live["metadata"]["generation"]
    observed = status.get("observedGeneration")
    is_old = observed is not None and str(observed) != str(generation)
    messages = [] if is_old else list(_dicts(status.get("validationMessages")))
    for message in messages:
        if str(message.get("level", "")).lower() == "error":
            return False, _words(message)
    for condition in _dicts(status.get("conditions")):
        if condition.get("type") == "Reconciled":
            told = condition.get("observedGeneration", observed)
            reached = condition.get("status") == "True" and str(told) == str(generation)
            return (True, "") if reached else (None, "")
    return None, ""


def _words(message: dict[str, Any]) -> str:
    """Of the analysis: flat in some versions, with a type of its own in others."""
    kind = message.get("type")
    code = message.get("code") or (kind.get("code") if isinstance(kind, dict) else None) or "Error"
    text = message.get("message") or message.get("documentationUrl") or "see istioctl analyze"
    return f"{code}: {text}"


def _copied(to: tuple[str, int] | None) -> dict[str, Any]:
    """What a rule has beside, while its requests are copied to a Service."""
    if to is None:
        return {}
    service, percent = to
    return {"mirror": {"host": service, "port": {"number": PORT}}, "mirrorPercentage": {"value": percent}}


def _percents(rule: dict[str, Any]) -> Iterator[int]:
    """Of each mirror, in either of the two ways to write one; all requests, where nothing is said."""
    if isinstance(rule.get("mirror"), dict):
        yield _percent(rule.get("mirrorPercentage"))
    for item in _dicts(rule.get("mirrors")):
        yield _percent(item.get("percentage"))


def _percent(told: Any) -> int:
    value = told.get("value") if isinstance(told, dict) else None
    return math.ceil(min(100.0, max(0.0, value))) if isinstance(value, int | float) else 100


def _without_candidate(rule: dict[str, Any], release: str) -> tuple[dict[str, Any], int | None]:
    uncopied, copied = _without_copies(rule, release)
    routes = list(_dicts(uncopied.get("route")))
    given = [_weight(uncopied, route) for route in routes]
    carried = {
        place: revision
        for place, route in enumerate(routes)
        if place and given[place] and (revision := names.revision_of(_service(route), release)) is not None
    }
    if not carried:
        return uncopied, copied
    given[0] += sum(given[place] for place in carried)
    changed = [{**route, "weight": 0 if place in carried else given[place]} for place, route in enumerate(routes)]
    return {**uncopied, "route": changed}, max(carried.values())


def _without_copies(rule: dict[str, Any], release: str) -> tuple[dict[str, Any], int | None]:
    """A mirror to a revision of the release is the candidate's; all others stay."""
    rest, found = dict(rule), list[int]()
    alone = names.revision_of(_service({"destination": rule.get("mirror")}), release)
    if alone is not None:
        found.append(alone)
        rest = {key: value for key, value in rest.items() if key not in ("mirror", *PERCENTAGES)}
    several = list(_dicts(rule.get("mirrors")))
    ours = {place: names.revision_of(_service(item), release) for place, item in enumerate(several)}
    found += [revision for revision in ours.values() if revision is not None]
    if any(revision is not None for revision in ours.values()):
        kept = [item for place, item in enumerate(several) if ours[place] is None]
        rest = {key: value for key, value in rest.items() if key != "mirrors"} | ({"mirrors": kept} if kept else {})
    return (rest, max(found)) if found else (rule, None)


def _service(route: dict[str, Any]) -> str:
    """Also of a name that somebody has written in full."""
    destination = route.get("destination")
    host = destination.get("host") if isinstance(destination, dict) else None
    return str(host or "").split(".", 1)[0]
