"""Whose an object is that has the name of a child: ours, left behind by an orphaning delete, or somebody else's."""

import asyncio
from typing import Any

import pytest

from rewriter_operator.cluster.act import Foreign, Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Kube
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest

LABELS = {names.LABEL_RELEASE: "shop"}


class Namespace(Kube):
    """One object that is there already; remembers what is applied over it."""

    def __init__(self, live: dict[str, Any]) -> None:
        self.live, self.applied = live, False

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.live

    async def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        return None  # the API server's 409

    async def own_by_apply(self, live: dict[str, Any]) -> dict[str, Any]:
        return live

    async def apply(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        self.applied = True
        return body


def given(owner: str | None, labels: dict[str, str]) -> Namespace:
    owners = [{"kind": "RewriterRelease", "name": "shop", "uid": owner}] if owner else []
    metadata = {"name": "shop-x", "resourceVersion": "1", "labels": labels, "ownerReferences": owners}
    return Namespace({"metadata": metadata})


def apply(namespace: Namespace, kind: str, update: bool) -> None:
    owner = {"kind": "RewriterRelease", "name": "shop", "uid": "ours"}
    body = {"kind": kind, "metadata": {"name": "shop-x", "labels": LABELS, "ownerReferences": [owner]}}
    term = Term(epoch=1, until=float("inf"), grace=1.0)
    agents = Agents.__new__(Agents)  # nothing is asked of pods here
    asyncio.run(Hands(namespace, agents, term).apply(Manifest(body, update)))


@pytest.mark.parametrize(("kind", "update"), [("Pod", False), ("Deployment", True)])
def test_what_is_ours_is_taken_as_it_is(kind: str, update: bool) -> None:
    namespace = given("ours", LABELS)
    apply(namespace, kind, update)
    assert namespace.applied is update


def test_what_an_orphaning_delete_left_behind_becomes_a_child_again() -> None:
    namespace = given(None, LABELS)
    apply(namespace, "Deployment", update=True)
    assert namespace.applied


def test_a_pod_that_was_left_behind_cannot_be_and_is_named_instead_of_being_made_again_for_ever() -> None:
    with pytest.raises(Foreign, match=r"Pod shop-x is there already .* no owner; delete or rename it"):
        apply(given(None, LABELS), "Pod", update=False)


@pytest.mark.parametrize(("kind", "update"), [("Pod", False), ("Deployment", True)])
@pytest.mark.parametrize(("owner", "labels"), [("theirs", LABELS), (None, {})])
def test_what_is_somebody_elses_is_left_alone(
    kind: str, update: bool, owner: str | None, labels: dict[str, str]
) -> None:
    namespace = given(owner, labels)
    with pytest.raises(Foreign):
        apply(namespace, kind, update)
    assert not namespace.applied
