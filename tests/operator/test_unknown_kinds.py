"""Kinds that a cluster need not have: nothing fails over them, and a release that asks for one is told."""

import asyncio
from typing import Any

import pytest

from rewriter_operator.cluster import takeover
from rewriter_operator.cluster.kube import Forbidden, Invalid, Kube, UnknownKind, _error
from rewriter_operator.errors import Retry

NOT_SERVED = b"404 page not found\n"
NO_NAMESPACE = b'{"kind": "Status", "message": "namespaces \\"search\\" not found", "code": 404}'


class Answers(Kube):
    """Fails every call in this way."""

    def __init__(self, status: int, data: bytes) -> None:
        self.namespace, self.error = "search", _error("GET", "/apis/x", status, data)

    async def _call(self, *_: Any, **__: Any) -> dict[str, Any] | None:
        raise self.error


def test_an_api_server_that_does_not_serve_a_kind_is_told_from_one_that_does_not_find_an_object() -> None:
    error = _error("POST", "/apis/networking.istio.io/v1/namespaces/search/virtualservices", 404, NOT_SERVED)
    assert isinstance(error, Invalid), "told in the release's conditions, like every child that is not taken"
    assert "networking.istio.io/v1" in str(error) and "install its CRD" in str(error)
    assert type(_error("POST", "/api/v1/namespaces/search/pods", 404, NO_NAMESPACE)) is Retry


def test_of_a_kind_that_the_cluster_does_not_have_there_are_none() -> None:
    assert asyncio.run(Answers(404, NOT_SERVED).list("VirtualService", "a=b")) == []


def test_without_a_kind_that_every_cluster_needs_nothing_is_concluded() -> None:
    for kind in ("HTTPRoute", "RewriterRevision"):
        with pytest.raises(UnknownKind):
            asyncio.run(Answers(404, NOT_SERVED).list(kind))


@pytest.mark.parametrize("status", [403, 429, 500])
def test_what_may_be_there_and_cannot_be_read_is_never_taken_for_none(status: int) -> None:
    with pytest.raises(Retry):
        asyncio.run(Answers(status, b"{}").list("VirtualService"))


@pytest.mark.parametrize(("status", "data"), [(404, NOT_SERVED), (403, b"{}"), (500, b"{}")])
def test_what_cannot_be_listed_is_not_watched(status: int, data: bytes) -> None:
    """kopf would end every watch over one that is forbidden."""
    assert asyncio.run(Answers(status, data).can_list("VirtualService")) is False


@pytest.mark.parametrize(
    ("traffic", "listed"),
    [({"gateway": {"name": "internal"}}, "HTTPRoute"), ({"virtualService": {"hosts": ["x"]}}, "VirtualService")],
)
def test_a_new_leader_marks_the_kind_of_route_that_a_release_has_and_lists_no_other(
    traffic: dict[str, Any], listed: str
) -> None:
    """The Role of a cluster without Istio may be from before there was one for it."""
    asked: list[str] = []

    class Stored(Kube):
        def __init__(self) -> None:
            self.namespace = "search"

        async def get(self, kind: str, name: str) -> dict[str, Any] | None:
            return {"metadata": {"name": name}, "spec": {"traffic": traffic}, "status": {"operatorEpoch": 1}}

        async def list(self, kind: str, selector: str = "") -> Any:
            asked.append(kind)
            if kind not in (*takeover.MARKED, listed):
                raise Forbidden(f"GET {kind}: 403")
            return []

    asyncio.run(takeover.take_over(Stored(), "shop", 1))
    assert asked.count(listed) == 1
    assert {"HTTPRoute", "VirtualService"} & set(asked) == {listed}
