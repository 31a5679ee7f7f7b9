"""Who answers a request, or gets a copy of it, by a route's rules alone: read as a data plane does, not the operator.

Gateway API: of the rules that match, the one with most headers. Istio: the first one. Expressions match as a whole.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rewriter_contract.buckets import BUCKET_HEADER, BUCKETS
from rewriter_contract.messages import STAGE_HEADER

BUCKET_NAMES = [f"{number:02d}" for number in range(BUCKETS)]


def answering(spec: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, int]:
    """Service -> weight, for a POST of /v1/rewrite with these headers."""
    if "http" in spec:
        return next(_hosts(rule) for rule in spec["http"] if _istio_takes(rule, headers))
    found = [(_headers(rule), _services(rule)) for rule in spec["rules"]]
    matching = [(len(asked), backends) for asked, backends in found if all(_holds(one, headers) for one in asked)]
    most = max(count for count, _ in matching)
    return next(backends for count, backends in matching if count == most)


def of_bucket(spec: Mapping[str, Any], stage: str, bucket: str, header: str = BUCKET_HEADER) -> str:
    """The only Service that answers this bucket; an empty text where several do."""
    found = [name for name, weight in answering(spec, {STAGE_HEADER: stage, header: bucket}).items() if weight]
    return found[0] if len(found) == 1 else ""


def of_all_buckets(spec: Mapping[str, Any], stage: str) -> dict[str, int]:
    """Service -> percent, rounded, where each bucket has as many requests."""
    total: Counter[str] = Counter()
    for bucket in BUCKET_NAMES:
        weights = answering(spec, {STAGE_HEADER: stage, BUCKET_HEADER: bucket})
        total.update({name: 100 * weight // (sum(weights.values()) or 1) for name, weight in weights.items()})
    return {name: round(percents / BUCKETS) for name, percents in total.items()}


def stages(spec: Mapping[str, Any]) -> list[str]:
    """Stages that have a rule."""
    if "http" in spec:
        asked = [match["headers"][STAGE_HEADER]["exact"] for rule in spec["http"] for match in rule.get("match", [])]
    else:
        headers = [header for rule in spec["rules"] for header in _headers(rule)]
        asked = [header["value"] for header in headers if header["name"] == STAGE_HEADER]
    return list(dict.fromkeys(asked))


def copied(spec: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Stage -> the Service that gets copies of its requests, and the percent of them."""
    found = {}
    for key in ("rules", "http"):
        for rule in spec.get(key, []):
            copies = _copies(rule)
            found.update({stage: copies for stage in stages({key: [rule]}) if copies})
    return found


def divided_by_bucket(spec: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Stage -> Service -> percent, where every request has a bucket; empty where users are not told apart."""
    return {stage: of_all_buckets(spec, stage) for stage in stages(spec)} if tells_buckets_apart(spec) else {}


def tells_buckets_apart(spec: Mapping[str, Any]) -> bool:
    """Whether any rule asks for more than the stage."""
    if "http" in spec:
        return any(len(match["headers"]) > 1 for rule in spec["http"] for match in rule.get("match", []))
    return any(len(_headers(rule)) > 1 for rule in spec["rules"])


def _copies(rule: Mapping[str, Any]) -> tuple[str, int] | None:
    if "mirror" in rule:
        return rule["mirror"]["host"], rule["mirrorPercentage"]["value"]
    return next(
        (
            (one["requestMirror"]["backendRef"]["name"], one["requestMirror"]["percent"])
            for one in rule.get("filters", [])
        ),
        None,
    )


def _headers(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [header for match in rule.get("matches", []) for header in match.get("headers", [])]


def _holds(asked: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    given = headers.get(asked["name"])
    if asked.get("type") == "RegularExpression":
        return given is not None and re.fullmatch(asked["value"], given, re.ASCII) is not None
    return bool(given == asked["value"])


def _istio_takes(rule: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    return all(
        _holds(_as_gateway_api(name, asked), headers)
        for match in rule.get("match", [])
        for name, asked in match["headers"].items()
    )


def _as_gateway_api(name: str, asked: Mapping[str, str]) -> dict[str, str]:
    regular = "regex" in asked
    return {
        "name": name,
        "type": "RegularExpression" if regular else "Exact",
        "value": asked["regex" if regular else "exact"],
    }


def _services(rule: Mapping[str, Any]) -> dict[str, int]:
    return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def _hosts(rule: Mapping[str, Any]) -> dict[str, int]:
    return {route["destination"]["host"]: route["weight"] for route in rule["route"]}
