"""What a run has come to, without what differs between any two runs: uids, times, counters, messages with numbers."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.cluster_view import ClusterView

_MASKED = frozenset(
    {
        "baseline", "boot_id", "createdAt", "findings", "finishedAt", "lastTransitionTime", "lookedAt", "message",
        "metrics", "observedShare", "phaseSeconds", "progress", "requests", "seconds", "shareAt", "startedAt", "stepAt",
        "summary", "busy", "countingSince", "lastRunToken", "operatorEpoch", "order",
        "watch",
    }
)  # fmt: skip


def end_state(view: ClusterView, volume: Path) -> dict[str, Any]:
    """Objects and files, by name."""
    found: dict[str, Any] = {}
    for (kind, name), item in view.objects.items():
        if kind == "Event":
            continue
        if kind == "Pod":
            key = object_key(item)
            found[key] = found.get(key, 0) + 1
        else:
            found[f"{kind} {name}"] = _content(kind, item)
    for path in sorted(volume.rglob("*")):
        if path.is_file():
            found[f"file {path.relative_to(volume)}"] = _file(path)
    return found


def object_key(item: dict[str, Any]) -> str:
    """A name that is the same in every run: pods of a Deployment go by its labels."""
    kind, metadata = item["kind"], item["metadata"]
    owners = metadata.get("ownerReferences", [{}])
    if kind == "Pod" and owners[0].get("kind") == "ReplicaSet":
        labels = metadata["labels"]
        return f"Pod of {labels['rewriter.dev/role']} {labels['rewriter.dev/cycle']}"
    return f"{kind} {metadata['name']}"


def differences(reference: Any, found: Any, place: str = "") -> list[str]:
    """One line for each place at which something is not as in the reference."""
    if isinstance(reference, dict) and isinstance(found, dict):
        keys = sorted(reference.keys() | found.keys())
        return [
            line
            for key in keys
            for line in differences(reference.get(key), found.get(key), f"{place}.{key}".strip("."))
        ]
    if isinstance(reference, list) and isinstance(found, list) and len(reference) == len(found):
        pairs = enumerate(zip(reference, found, strict=True))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{place}[{index}]")]
    return [] if reference == found else [f"{place}: {_short(found)} instead of {_short(reference)}"]


def _content(kind: str, item: dict[str, Any]) -> Any:
    match kind:
        case "RewriterRelease":
            return masked(item.get("status", {}))
        case "RewriterRevision":
            return masked({"spec": item["spec"], "status": item.get("status", {})})
        case "HTTPRoute":
            annotations = item["metadata"].get("annotations", {})
            intent = {key: annotations.get(key) for key in ("rewriter.dev/shares", "rewriter.dev/withdrawn")}
            return {"rules": item["spec"]["rules"], **intent}
        case "VirtualService":
            return {"spec": item["spec"], "shares": item["metadata"]["annotations"].get("rewriter.dev/shares")}
        case "Deployment":
            template = item["spec"]["template"]["spec"]["containers"][0]
            return {"replicas": item["spec"]["replicas"], "env": template["env"], "image": template["image"]}
        case "PodDisruptionBudget":
            return item["spec"]
        case _:
            return "there"


def masked(value: Any) -> Any:
    """`value` without what differs between runs."""
    if isinstance(value, dict):
        return {
            key: masked(item) for key, item in value.items() if key not in _MASKED and not key.endswith(("At", "Since"))
        }
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def _file(path: Path) -> str:
    """Weights, samples and promoted.json are compared by content; a spec or report names its namespace."""
    if path.suffix in (".safetensors", ".jsonl") or path.name in ("manifest.json", "promoted.json"):
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return "there"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) < 700 else text[:700] + "..."


class Counts:
    """How often each object was created and deleted."""

    def __init__(self) -> None:
        self.created: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self._seen: set[str] = set()

    def see(self, happened: str, item: dict[str, Any]) -> None:
        """A listener of the view."""
        if item["kind"] == "Event":
            return
        uid = item["metadata"]["uid"]
        if uid not in self._seen:
            self._seen.add(uid)
            self.created[object_key(item)] += 1
        if happened == "DELETED":
            self.deleted[object_key(item)] += 1

    def table(self) -> dict[str, tuple[int, int]]:
        """Object -> (created, deleted)."""
        return {key: (self.created[key], self.deleted[key]) for key in self.created}
