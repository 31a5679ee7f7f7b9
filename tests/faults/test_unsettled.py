"""What the control plane has still to do is told from objects; no time flies before it is done, or taken for never."""

from typing import Any, cast

import pytest

from tests.faults import unsettled
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.faults.unsettled import Unsettled

LABELS = {"rewriter.dev/role": "serving", "rewriter.dev/cycle": "1"}


def item(kind: str, name: str, owner: tuple[str, str] | None = None, **content: Any) -> dict[str, Any]:
    """An object as a watch gives it; `owner` is kind and uid."""
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "generation": 2, "labels": LABELS}
    metadata |= {"ownerReferences": [{"kind": owner[0], "uid": owner[1]}]} if owner else {}
    return {"kind": kind, "metadata": metadata | content.pop("metadata", {}), **content}


def deployment(available: int = 1, seen: int = 2) -> dict[str, Any]:
    status = {"observedGeneration": seen, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
    return item("Deployment", "shop-r0001", spec={"replicas": 1}, status=status)


def pod(phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return item("Pod", "shop-r0001-abc", ("ReplicaSet", "uid-rs"), status={"phase": phase}, metadata=metadata)


def route(accepted: int) -> dict[str, Any]:
    conditions = [{"type": "Accepted", "observedGeneration": accepted}]
    return item("HTTPRoute", "shop-rewrites", status={"parents": [{"conditions": conditions}]})


def over(*items: dict[str, Any], **written: int) -> Unsettled:
    view = ClusterView(cast(ClusterClient, None), "n")
    view.objects = {(found["kind"], found["metadata"]["name"]): found for found in items}
    return Unsettled(view, written)


def test_a_namespace_where_all_is_done_is_settled() -> None:
    assert not over(deployment(), pod(), route(accepted=2)).remains()


@pytest.mark.parametrize(
    "items",
    [
        [deployment(available=0), pod()],
        [deployment(seen=1), pod()],
        [deployment(), pod("Pending")],
        [deployment(), pod(deletionTimestamp="2026-01-01T00:00:00Z")],
        [pod()],
        [route(accepted=1)],
        [item("Service", "shop-r0001", ("RewriterRelease", "uid-gone"))],
    ],
    ids=[
        "a Deployment without all its pods",
        "a Deployment that its controller has not seen",
        "a pod that starts",
        "a pod that ends",
        "a pod whose Deployment is gone",
        "a route that was not taken over",
        "a child whose owner is gone",
    ],
)
def test_what_is_still_to_be_done_is_seen(items: list[dict[str, Any]]) -> None:
    assert over(*items).remains()


def test_a_write_that_the_watch_has_not_told_of_is_waited_for() -> None:
    found = over(pods=7)
    assert found.remains()
    found.view.seen["Pod"] = 7
    assert not found.remains()


def test_what_never_gets_done_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsettled, "PATIENCE_SECONDS", 0.0)
    assert not over(deployment(available=0), pod()).remains()
