"""What a write is, in words that are the same in every run: verb, object, and what the write changes.

Two runs of a workload never agree in uids, times and random suffixes; they agree in these. Progress that is only for
readers is left out, so that a write which says nothing new repeats the signature of the one before it.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

_PATH = re.compile(
    r"^/(?:api|apis)/(?:[^/]+/)*?namespaces/[^/]+/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)

_PART = re.compile(r":[1-9][0-9]?\b(?!0)")
"""A weight from 1 to 99."""


@dataclass(frozen=True, order=True)
class Write:
    """The `ordinal`-th write with this signature in a run."""

    signature: str
    ordinal: int = 1

    def __str__(self) -> str:
        return self.signature if self.ordinal == 1 else f"{self.signature} ({self.ordinal})"


@dataclass(frozen=True)
class Target:
    """What a path of the API names."""

    plural: str
    name: str
    sub: str


def target_of(path: str) -> Target | None:
    """The object or collection; None for what is not namespaced."""
    match = _PATH.match(path)
    return Target(match["plural"], match["name"] or "", match["sub"] or "") if match else None


def signature_of(method: str, path: str, body: bytes) -> str:
    """E.g. `PATCH httproutes/shop-rewrites finerank=10`."""
    target = target_of(path)
    if target is None:
        return f"{method} {path}"
    content: dict[str, Any] = json.loads(body) if body else {}
    name = target.name or content.get("metadata", {}).get("name", "")
    place = "/".join(part for part in (target.plural, name, target.sub) if part)
    if method == "PATCH" and content.keys() <= {"metadata"}:
        return f"{method} {place} metadata {' '.join(sorted(content['metadata'].keys() - {'resourceVersion'}))}"
    match (target.plural, target.sub):
        case ("events", _):
            return f"{method} events {content.get('reason', '')}"
        case ("rewriterreleases", "status"):
            return f"{method} {place} {_release(content.get('status', {}))}"
        case ("rewriterrevisions", "status"):
            status = content.get("status", {})
            return f"{method} {place} {status.get('outcome', '')} serving={','.join(status.get('serving', []))}"
        case ("httproutes" | "virtualservices", _):
            return f"{method} {place} {_route(content)}"
        case _:
            return f"{method} {place}"


def kind_of(write: Write) -> str:
    """Verb and resource, for a release's status its state, for an order to a pod its call: `ORDER weights`.

    A route is told by what it does: it gives a candidate a part of the requests, takes it back, or does neither. Marks
    (epochs, ownership of fields) are a kind of their own: they move nothing.
    """
    verb, place, *rest = write.signature.split(" ")
    if verb == "ORDER":
        return f"{verb} {rest[0].split('/')[2]}"
    plural, *_ = place.split("/")
    if rest[:1] == ["metadata"]:
        return f"{verb} {plural} metadata"
    if plural in ("httproutes", "virtualservices") and verb == "PATCH":
        does = "withdrawn" if "withdrawn=" in write.signature else "share" if _PART.search(write.signature) else ""
        return f"{verb} {plural} {does}".rstrip()
    return f"{verb} {plural} {rest[0]}" if plural == "rewriterreleases" and rest else f"{verb} {plural}"


def _release(status: dict[str, Any]) -> str:
    cycle = status.get("cycle") or {}
    phase = cycle.get("phase") or {}
    words = [status.get("state", "mark")]
    if cycle:
        words.append(f"c{cycle['number']}.{cycle.get('attempt', 1)}")
    if phase:
        words.append(f"p{phase['number']}:{phase['step']}")
    if cycle.get("gate"):
        words.append(f"gate={cycle['gate']['verdict']}")
    elif cycle.get("gateSide"):
        words.append(f"side={cycle['gateSide']}")
    if cycle.get("outcome"):
        words.append(str(cycle["outcome"]))
    words += [_stage(stage) for stage in status.get("stages", [])]
    if status.get("drainingSince"):
        words.append("draining")
    return " ".join(words)


def _stage(stage: dict[str, Any]) -> str:
    incumbent = (stage.get("incumbent") or {}).get("revision", "-")
    counting = "c" if stage.get("countingSince") else ""
    verified = "v" if stage.get("verified") else ""
    turn = "t" if stage.get("stepAt") else ""
    return f"{stage['name']}[{incumbent} {stage.get('share', 0)}% {stage.get('step', 0)}{turn}{counting}{verified}]"


def _route(body: dict[str, Any]) -> str:
    rules = []
    for rule in body.get("spec", {}).get("rules", []):
        headers = [header["value"] for match in rule.get("matches", []) for header in match.get("headers", [])]
        backends = [f"{item['name'].rsplit('-', 1)[1]}:{item['weight']}" for item in rule.get("backendRefs", [])]
        rules.append(f"{'~'.join(headers) or '*'}={','.join(backends)}")
    for rule in body.get("spec", {}).get("http", []):
        stages = [match["headers"]["x-rewriter-stage"]["exact"] for match in rule.get("match", [])]
        asked = [of["regex"] for match in rule.get("match", []) for of in match["headers"].values() if "regex" in of]
        backends = [f"{item['destination']['host'].rsplit('-', 1)[1]}:{item['weight']}" for item in rule["route"]]
        rules.append(f"{'~'.join(stages + asked) or '*'}={','.join(backends)}")
    withdrawn = body.get("metadata", {}).get("annotations", {}).get("rewriter.dev/withdrawn")
    return " ".join(rules) + (f" withdrawn={withdrawn}" if withdrawn else "")
