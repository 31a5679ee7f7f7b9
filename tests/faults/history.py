"""What happened to a namespace's objects, in the order of etcd: what the rules of the monitor are asked about."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One change of one object."""

    version: int
    happened: str
    item: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.item["kind"])

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])


def releases(history: list[Change]) -> Iterator[tuple[Change, dict[str, Any]]]:
    """Changes of releases with the status before, by uid: a release that was made again has none."""
    before: dict[str, dict[str, Any]] = {}
    for change in history:
        if change.kind == "RewriterRelease":
            uid = change.item["metadata"]["uid"]
            yield change, before.get(uid, {})
            before[uid] = change.item.get("status", {})


def release_of(change: Change) -> str:
    """Name of the release that a change is about; empty for what belongs to none."""
    return change.name if change.kind == "RewriterRelease" else release_name(change.item)


def release_name(child: dict[str, Any]) -> str:
    """Name of the release that a child belongs to."""
    return str(child["metadata"].get("labels", {}).get("rewriter.dev/release", ""))


def release_uid(change: Change) -> str:
    """Uid of the release that a change is about; empty for what belongs to none."""
    if change.kind == "RewriterRelease":
        return str(change.item["metadata"]["uid"])
    owners = change.item["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner["kind"] == "RewriterRelease"), "")


def is_going(change: Change) -> bool:
    """Whether the object is gone, or its deletion was asked for."""
    return change.happened == "DELETED" or "deletionTimestamp" in change.item["metadata"]
