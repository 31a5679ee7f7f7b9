"""Cases that follow from the CRD's schema alone, by Acto's rules: every leaf at, below and above its bounds, of a wrong
type, empty, too long, null, unknown; every required field taken away. Nothing here knows what a field is for, but for
the few neighbours that must move with it.
"""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rewriter_operator.api.crd import release_crd
from tests.builders import spec_body, stage
from tests.integration.bad_input_rows import ABSENT

Path = tuple[str | int, ...]

SCHEMA: Final[dict[str, Any]] = release_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


@dataclass(frozen=True)
class Case:
    """One value at one place of the good spec."""

    path: Path
    what: str
    value: Any
    accepted: bool | None
    """What must happen; None where rules about several fields decide."""
    read_alike: bool = True
    """Whether the operator's models must give the same verdict on the very text: not for what the API server mends or
    prunes before it stores, nor for rules about several fields."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Fields that must move with it, by dotted path."""

    @property
    def name(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.what}"

    def spec(self) -> dict[str, Any]:
        """The good spec with this value."""
        body = good_spec()
        for path, value in self.beside.items():
            put(body, tuple(path.split(".")), value)
        put(body, self.path, self.value)
        return body


def good_spec() -> dict[str, Any]:
    """A spec in which every place exists, so that each value can be changed alone."""
    pods = {
        "image": "registry.test/trainer:1",
        "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}},
        "labels": {"zone": "a"},
        "annotations": {"zone": "a"},
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"key": "gpu", "operator": "Equal", "value": "x", "effect": "NoSchedule"}],
    }
    steps = (
        {"shadow": {"percent": 20, "duration": "1m"}},
        {"setShare": 50},
        {"pause": {"duration": "1m"}},
        {"analysis": {"minRequests": 10}},
        {"setShare": 100},
    )
    return spec_body(
        **{
            "schedule": {"cron": "0 3 * * 1", "timeZone": "UTC"},
            "data.validation": "data/validation.jsonl",
            "model.prompt": {"template": "q: {query}", "stop": ["\n"]},
            "training.sampling": {"queriesPerPhase": 64, "samplesPerQuery": 64, "maxTokens": 8},
            "training.trainer": copy.deepcopy(pods),
            "training.samplers": copy.deepcopy(pods) | {"replicas": 1},
            "serving": copy.deepcopy(pods) | {"replicas": 1, "maxTokens": 8},
            "traffic.hostnames": ["shop.example"],
            "traffic.assignment": {"header": "x-rewriter-bucket"},
            "gate.checks": [{"name": "LengthRatio", "min": 0, "max": 2}, {"name": "GoldNdcg", "margin": 0.1}],
            "rollout.windows": [{"days": ["Mon"], "from": "09:00", "to": "16:00", "timeZone": "UTC"}],
            "rollout.freezes": [{"from": "2026-12-20T00:00:00Z", "to": "2027-01-02T00:00:00Z"}],
            "rollout.verification": {"timeout": "8760h"},
            "rollout.metrics": [
                {
                    "name": "ctr",
                    "prometheus": {
                        "serviceName": "prometheus",
                        "query": "up",
                        "scheme": "HTTPS",
                        "serverName": "prometheus.monitoring.svc",
                        "caBundle": {"configMapKeyRef": {"name": "internal-ca", "key": "ca.crt"}},
                        "authorization": {"bearer": {"secretKeyRef": {"name": "thanos", "key": "token"}}},
                        "headers": [{"name": "X-Scope-OrgID", "value": "search"}],
                    },
                    "minimum": -1e9,
                    "maximum": 1e9,
                    "stages": ["finerank"],
                },
                {
                    "name": "ops",
                    "webhook": {
                        "serviceName": "checks",
                        "path": "/rollout",
                        "scheme": "HTTPS",
                        "serverName": "checks.example.com",
                        "caBundle": {"configMapKeyRef": {"name": "internal-ca", "key": "ca.crt"}},
                        "authorization": {
                            "basic": {
                                "username": {"secretKeyRef": {"name": "checks", "key": "username"}},
                                "password": {"secretKeyRef": {"name": "checks", "key": "password"}},
                            }
                        },
                        "headers": [{"name": "X-Team", "value": "search"}],
                    },
                },
            ],
            "rollout.stages": [
                stage("finerank", *copy.deepcopy(steps)),
                stage("rawrank", *copy.deepcopy(steps), depends_on=("finerank",)),
            ],
        }
    )


_INDEX: Final[Mapping[str, Mapping[str, int]]] = {
    "rollout.stages": {"": 1},
    "rollout.stages.1.steps": {"": 1, "shadow": 0, "pause": 2, "analysis": 3},
    "rollout.metrics": {"": 0, "webhook": 1},
    "gate.checks": {"": 0, "margin": 1},
}
"""List -> property -> the item of the good spec in which it is looked at."""

_JOINT: Final = (
    "rollout.stages.1.steps.1.setShare",
    "rollout.stages.1.name",
    "rollout.stages.1.dependsOn",
    "gate.checks.0.name",
    "gate.checks.1.name",
    "rollout.freezes.0",
    "rollout.metrics.0.prometheus.authorization.basic",
    "rollout.metrics.0.prometheus.scheme",
    "rollout.metrics.1.webhook.authorization.bearer",
    "rollout.metrics.1.webhook.scheme",
)
"""Places whose values other items of their list, or their neighbours, restrict."""

_BESIDE: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("training.optimizer.zeroStage", "minimum"): {"model.dtype": "float32"},
    ("model.maxLength", "minimum"): {"serving.maxTokens": 1, "training.sampling.maxTokens": 1},
    ("serving.capacity.mode", "InPlace"): {"serving.replicas": 2},
    ("serving.maxTokens", "maximum"): {"model.maxLength": 2048},
    ("training.sampling.maxTokens", "maximum"): {"model.maxLength": 2048},
    ("training.sampling.samplesPerQuery", "minimum"): {"training.pairs": {"topK": 1}},
    ("retention.samples", "maximum"): {"retention": {"reports": 1000}},
    ("retention.reports", "minimum"): {"retention": {"samples": 1}},
    ("gate.checks.0.min", "maximum"): {"gate.checks": [{"name": "LengthRatio", "max": 1000}]},
    ("gate.checks.0.max", "minimum"): {"gate.checks": [{"name": "LengthRatio", "min": -1000}]},
}


_OTHERWISE: Final[Mapping[str, Any]] = {
    "traffic.service": {"name": "rewrites", "port": 80},
    "traffic.virtualService": {"hosts": ["rewrites"], "gateways": ["mesh"]},
}


def _called_otherwise(place: str) -> Mapping[str, Any]:
    """What a place needs that belongs to another way to call the release than the good spec's Gateway."""
    named = next((name for name in _OTHERWISE if place.startswith(name)), None)
    if named is None:
        return {}
    return {"traffic.gateway": ABSENT, "traffic.hostnames": ABSENT, named: copy.deepcopy(_OTHERWISE[named])}


def put(body: Any, path: Path, value: Any) -> None:
    """Set, or with ABSENT take away, what is at a path; objects on the way are made."""
    *parents, last = path
    place = body
    for parent in parents:
        place = place[parent] if isinstance(place, list) else place.setdefault(parent, {})
    if value is not ABSENT:
        place[last] = value
    elif isinstance(place, list) or last in place:
        del place[last]


def cases() -> list[Case]:
    """All of them, and sequences of five accepted changes."""
    single = list(_once_each(_walk(SCHEMA, ())))
    return single + list(_sequences([case for case in single if case.accepted]))


_EVERYWHERE: Final = ("minimum", "maximum", "below", "above", "taken away")
"""Cases that each place gets; of the others, places of the same schema share one."""


_FORM: Final = ("enum", "minLength", "maxLength", "maxItems", "items", "required", "x-kubernetes-validations")


def _once_each(found: Iterator[tuple[Case, Mapping[str, Any]]]) -> Iterator[Case]:
    seen: set[tuple[str, str]] = set()
    for case, node in found:
        of_type = case.what.startswith(("null", "wrong type", "unknown"))
        parts = ("type", "enum", "pattern") if of_type else ("type", *_FORM)
        key = (json.dumps([node.get(part) for part in parts] + ["default" in node]), case.what)
        if case.what in _EVERYWHERE or key not in seen:
            seen.add(key)
            yield case


def _walk(node: Mapping[str, Any], path: Path) -> Iterator[tuple[Case, Mapping[str, Any]]]:
    place = ".".join(map(str, path))
    joint = place.startswith(_JOINT)
    for case in _here(node, path) if path else ():
        beside = _BESIDE.get((place, case.what), _called_otherwise(place))
        of_a_rule = node["type"] == "object" and ("steps" in path or path[-1:] in (("traffic",), ("authorization",)))
        loose = joint or (of_a_rule and case.what == "empty")
        known = None if loose else case.accepted
        yield Case(case.path, case.what, case.value, known, case.read_alike and not loose, beside), node
    if "properties" in node:
        for name, child in node["properties"].items():
            yield from _walk(child, _item(path, name))
            required = name in node.get("required", ())
            beside = _called_otherwise(place)
            yield from ((replace(case, beside=beside), child) for case in _taken_away(_item(path, name), required))
    elif isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], (*path, "cpu" if path[-1] in ("requests", "limits") else "zone"))
    elif node["type"] == "array":
        yield from _walk(node["items"], (*path, _INDEX.get(place, {"": 0})[""]))


def _item(path: Path, name: str) -> Path:
    """The place of a property; in a list of alternatives, that of the item which has it."""
    if path and isinstance(path[-1], int):
        wanted = _INDEX.get(".".join(map(str, path[:-1])), {})
        return (*path[:-1], wanted.get(name, path[-1]), name)
    return (*path, name)


def _taken_away(path: Path, required: bool) -> Iterator[Case]:
    if required:
        yield Case(path, "taken away", ABSENT, False)
    elif path[-1] in ("setShare", "pause", "analysis", "shadow", "prometheus", "webhook", "gateway", "scheme") or (
        path[-3:] in (("prometheus", "authorization", "bearer"), ("webhook", "authorization", "basic"))
    ):
        yield Case(path, "taken away", ABSENT, False, read_alike=False)
    elif path[-2:] != ("tolerations", 0) and path[-1] != "key":
        yield Case(path, "taken away", ABSENT, True)


def _here(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    yield Case(path, "null", None, None, read_alike=False)
    if "enum" in node:
        yield from _enum(node, path)
        return
    match node["type"]:
        case "integer" | "number":
            yield from _number(node, path)
        case "boolean":
            yield from (Case(path, f"{value}", value, True) for value in (True, False))
            yield from (Case(path, f"wrong type {value!r}", value, False) for value in ("yes", 1))
        case "string":
            yield from _text(node, path)
        case "array":
            yield from _list(node, path)
        case _:
            yield from _object(node, path)


def _enum(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    decided = None if path[-1] == "operator" else True  # a toleration's value must fit its operator
    yield from (Case(path, f"{value}", value, decided) for value in node["enum"])
    yield from (Case(path, f"unknown {value!r}", value, False) for value in ("unheard-of", "", 7))


def _number(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    whole = node["type"] == "integer"
    low, high = node["minimum"], node["maximum"] if "maximum" in node else _cap(node)
    step = 1 if whole else 0.001
    yield Case(path, "minimum", low, "exclusiveMinimum" not in node)
    yield Case(path, "maximum", high, True)
    yield Case(path, "below", low - step, False)
    yield Case(path, "above", high + step, False)
    yield from (Case(path, f"wrong type {value!r}", value, False) for value in ("1", True, [1]))
    if whole:
        yield Case(path, "a fraction", low + 0.5, False)
    elif "exclusiveMinimum" in node:
        yield Case(path, "just above", low + 1e-6, True)


def _cap(node: Mapping[str, Any]) -> float:
    (rule,) = (entry["rule"] for entry in node["x-kubernetes-validations"] if entry["rule"].startswith("self <= "))
    return float(rule.removeprefix("self <= "))


_TEXTS: Final = (
    *("", " ", "a", "A", "7", "a b", "a.b", "a/b", "a:1", "-a", "a-", "a_b", ".", "..", "/", "/a", "a\n", "*", "*.a"),
    *("ä", "\u202ea", "\U0001f600", "{query}", "1s", "1h", "9999h", "0s", "01s", "1", "1.5", "1m", "1Gi", "@"),
    "a@sha256:" + "0" * 64,
)


def _text(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    longest = node["maxLength"]
    yield Case(path, "too long", "a" * (longest + 1), False)
    yield Case(path, "too long in characters, not in bytes", "ä" * longest, None)
    yield Case(path, "as long as it may be", "a" * longest, None)
    yield from (Case(path, f"wrong type {value!r}", value, False) for value in (7, True, ["a"]))
    if len(path) > 0 and path[-1] not in _LONG_WORDS:
        yield from (Case(path, f"text {text!r}", text, None) for text in _chosen(path))


_LONG_WORDS: Final = ("corpus", "train", "gate")
"""Places whose text other places restrict."""


def _chosen(path: Path) -> list[str]:
    """Some of the texts, others at each place, the same in every run."""
    return random.Random(".".join(map(str, path))).sample(_TEXTS, 6)


def _list(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    yield Case(path, "empty", [], node.get("minItems", 0) == 0)
    yield Case(path, "wrong type", "a", False)
    good: Any = good_spec()
    for part in path:
        good = good.get(part, []) if isinstance(good, dict) else good and good[part]
    item = good[0] if good else "a"
    keyed = "x-kubernetes-list-type" in node
    yield Case(path, "too many", [item] * (node["maxItems"] + 1), False)
    if keyed:
        yield Case(path, "twice the same", [item, item], False, read_alike=False)


def _object(node: Mapping[str, Any], path: Path) -> Iterator[Case]:
    yield from (Case(path, f"wrong type {value!r}", value, False) for value in ("a", 7, []))
    if "properties" in node:
        yield Case((*path, "unheardOf"), "unknown field", 1, False, read_alike=False)
        if path:
            yield Case(path, "empty", {}, None if node.get("required") is None else False)
    else:
        many = {f"example.com/d{number}": "1" for number in range(node["maxProperties"] + 1)}
        yield Case(path, "too many", many, False)
        yield Case(path, "empty", {}, True)


def _sequences(accepted: list[Case], count: int = 30) -> Iterator[Case]:
    """Five accepted changes one after the other; whether they get on with each other is not said here."""
    chance = random.Random(2026)
    for number in range(count):
        spec, chosen = good_spec(), chance.sample(accepted, 5)
        for case in chosen:
            try:
                put(spec, case.path, case.value if case.value is ABSENT else copy.deepcopy(case.value))
            except (KeyError, IndexError, TypeError, AttributeError):
                continue  # an earlier change took the place away
        yield Sequence((), f"sequence {number}", spec, None, read_alike=False)


class Sequence(Case):
    """A whole spec."""

    def spec(self) -> dict[str, Any]:
        return copy.deepcopy(self.value)  # type: ignore[no-any-return]
