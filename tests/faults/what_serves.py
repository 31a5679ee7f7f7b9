"""I4, as far as the API shows it: what serves is never deleted, given up or changed.

The files themselves are compared in the end state (end_state.py). Here it is what the operator says and orders on the
way: a revision means the same weight set wherever it is named, its object and its Deployment stay while it is a
stage's incumbent, and no prepare pod is told that its weights may go.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from rewriter_contract import env
from tests.faults.history import Change, is_going, release_uid

BASE_MODEL = 0
"""Revision number of an imported base model, whose weights are those of whatever spec.model names."""
PROMOTED = "what was promoted"


def what_a_revision_is_never_changes(history: list[Change]) -> list[str]:
    """A RewriterRevision's spec is that of its creation; a revision has one weight set in all places that name it."""
    found, specs, sets = [], dict[str, Any](), dict[tuple[str, int], tuple[Any, str]]()
    for change in history:
        if change.kind == "RewriterRevision" and change.happened != "DELETED":
            spec = change.item["spec"]
            if specs.setdefault(change.item["metadata"]["uid"], spec) != spec:
                found.append(f"I4: the spec of RewriterRevision {change.name} was changed after its creation")
        for place, revision, weights in _named(change):
            first, where = sets.setdefault((release_uid(change), revision), (weights, place))
            if weights != first:
                found.append(f"I4: r{revision:04d} is {weights} in {place} and {first} in {where}")
    return list(dict.fromkeys(found))


def what_serves_is_never_deleted(history: list[Change]) -> list[str]:
    """While a revision is a stage's incumbent, its object, Deployment and Service stay; the object also while it is
    the candidate, or what people may roll back to."""
    found, live = [], dict[str, dict[str, Any]]()
    for change in history:
        uid = release_uid(change)
        if change.kind == "RewriterRelease":
            live[uid] = {} if is_going(change) else change.item
        elif change.happened == "DELETED" and change.kind in ("RewriterRevision", "Deployment", "Service"):
            release = live.get(uid, {})
            needed = _incumbents(release.get("status", {}))
            if change.kind == "RewriterRevision":
                needed |= _candidate(release.get("status", {})) | _rollback_targets(release)
            if _number(change.name) in needed:
                state = release["status"].get("state")
                found.append(f"I4: {change.kind} {change.name} was deleted while it serves, or may ({state})")
    return found


def what_serves_is_never_given_up(history: list[Change]) -> list[str]:
    """What the prepare pod is told to keep has the weights of every incumbent, and of the candidate."""
    found = []
    for change in history:
        status = change.item.get("status", {}) if change.kind == "RewriterRelease" else {}
        for place, revision, weights in _servings(status):
            if place != PROMOTED and not _is_kept(status, revision, weights):
                found.append(
                    f"I4: cycle {status['retention']['cycle']} gives up {weights['version']}: needed by {place}"
                )
    return list(dict.fromkeys(found))


def _named(change: Change) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every place in which an object says which weights a revision is."""
    if change.kind == "RewriterRelease":
        found = _servings(change.item.get("status", {}))
    elif change.kind == "RewriterRevision":
        spec = change.item["spec"]
        found = iter([(f"RewriterRevision {change.name}", int(spec["revision"]), spec["weights"])])
    elif change.kind == "Deployment":
        found = _deployed(change)
    else:
        found = iter([])
    return (item for item in found if item[1] != BASE_MODEL)


def _servings(status: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for stage in status.get("stages", []):
        yield from _serving(f"the incumbent of {stage['name']}", stage.get("incumbent"))
    yield from _serving("the candidate", (status.get("cycle") or {}).get("candidate"))
    yield from _serving("what is compared with", (status.get("cycle") or {}).get("comparedWith"))
    for item in status.get("promoted", []):
        yield from _serving(PROMOTED, item)


def _serving(place: str, item: dict[str, Any] | None) -> Iterator[tuple[str, int, dict[str, Any]]]:
    if item:
        yield place, int(item["revision"]), item["weights"]


def _deployed(change: Change) -> Iterator[tuple[str, int, dict[str, Any]]]:
    number = _number(change.name)
    for container in change.item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
        texts = [entry.get("value") for entry in container.get("env", []) if entry["name"] == env.SERVING]
        for text in filter(None, texts):
            weights = json.loads(text).get("weights")
            if weights and number is not None:
                yield f"Deployment {change.name}", number, weights


def _incumbents(status: dict[str, Any]) -> set[int]:
    return {int(stage["incumbent"]["revision"]) for stage in status.get("stages", []) if stage.get("incumbent")}


def _candidate(status: dict[str, Any]) -> set[int]:
    candidate = (status.get("cycle") or {}).get("candidate")
    return {int(candidate["revision"])} if candidate else set()


def _rollback_targets(release: dict[str, Any]) -> set[int]:
    """Promoted revisions that are no incumbent any more: the newest of which the weights were never given up."""
    status, current = release.get("status", {}), _incumbents(release.get("status", {}))
    kept = [
        int(item["revision"])
        for item in status.get("promoted", [])
        if item["revision"] not in (BASE_MODEL, *current) and _is_kept(status, item["revision"], item["weights"])
    ]
    return set(kept[: release.get("spec", {}).get("retention", {}).get("weights", 0)])


def _is_kept(status: dict[str, Any], revision: int, weights: dict[str, Any]) -> bool:
    """Whether no prepare pod was told that these weights may go."""
    told, version = status.get("retention"), str(weights["version"])
    return not told or revision >= told["cycle"] or version.startswith("base-") or version in told.get("kept", [])


def _number(name: str) -> int | None:
    """7 of `shop-r0007`; None for the passthrough."""
    found = re.search(r"-r([0-9]{4,9})$", name)
    return int(found[1]) if found else None
