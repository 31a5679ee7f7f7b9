"""A whole pass over a release that cannot be read or planned: what is raised, and that its candidate is taken back."""

import asyncio
from typing import Any

import pytest

from rewriter_operator.cluster.kube import Forbidden, Invalid, Kube
from rewriter_operator.cluster.release import UNREADABLE_SECONDS
from rewriter_operator.errors import Retry, Stalled
from rewriter_operator.reconcile import Reconciler
from tests.builders import INSTALLATION, spec_body
from tests.operator.test_unwatched import Cluster, route, weights


class Namespace(Cluster):
    """The route and the release; no other object is there."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(route(30))
        metadata = {**self.release["metadata"], "creationTimestamp": "2026-11-23T10:00:00Z"}
        self.release = {"kind": "RewriterRelease", "metadata": metadata, "spec": spec, "status": {"state": "Idle"}}

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "RewriterRelease":
            return self.release
        return await super().get(kind, name) if kind == "HTTPRoute" else None

    async def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        return []

    def reconciler(self) -> Reconciler:
        unwatched = self.unwatched()
        made = Reconciler(unwatched.hands, INSTALLATION)
        made.unwatched = unwatched
        return made


def first(namespace: Namespace) -> dict[str, int]:
    assert namespace.live is not None
    return {name: weight for name, weight in weights(namespace.live)[0].items() if weight}


def passes(namespace: Namespace, reconciler: Reconciler, kind: type[Exception], *seconds: float) -> Exception:
    """A pass at each of these times; each ends with this kind of error."""
    for namespace.now in seconds:
        with pytest.raises(kind) as raised:
            asyncio.run(_one(reconciler))
    return raised.value


async def _one(reconciler: Reconciler) -> float:
    return (await reconciler("shop")).seconds


@pytest.mark.parametrize("part", ["spec", "status"])
def test_an_unreadable_object_is_looked_at_again_soon_and_named_by_its_field(part: str) -> None:
    namespace = Namespace(spec_body())
    namespace.release[part] = {**namespace.release[part], "rollout" if part == "spec" else "state": "odd"}
    error = passes(namespace, namespace.reconciler(), Stalled, 0, 30, 60)
    assert isinstance(error, Stalled) and error.seconds == UNREADABLE_SECONDS
    assert str(error).startswith(f"{part}.") and "got 'odd'" in str(error) and "mend it" in str(error)
    assert first(namespace) == {"shop-r0001": 100}
    assert namespace.condition("Stalled")["reason"] == "InvalidSpec"


def test_a_bug_in_the_plan_is_raised_for_the_log_and_takes_the_candidate_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("rewriter_operator.reconcile.plan", bug)
    namespace = Namespace(spec_body())
    reconciler = namespace.reconciler()
    passes(namespace, reconciler, KeyError, 0, 30)
    assert first(namespace) == {"shop-r0001": 70, "shop-r0002": 30}
    passes(namespace, reconciler, KeyError, 61)
    assert first(namespace) == {"shop-r0001": 100}
    assert namespace.condition("Stalled")["reason"] == "PlanFailed"
    assert namespace.release["status"]["observedGeneration"] == 4, "else it would look as if it were on its way"


def test_an_api_server_that_fails_is_no_reason_to_take_anything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(self: Kube, kind: str, selector: str = "") -> list[dict[str, Any]]:
        raise Retry("503")

    monkeypatch.setattr(Namespace, "list", down)
    namespace = Namespace(spec_body())
    passes(namespace, namespace.reconciler(), Retry, 0, 60, 120, 180)
    assert namespace.writes == []


FORBIDDEN = 'GET /api/v1/namespaces/search/pods: 403 pods is forbidden: User "x" cannot list resource "pods"'


def test_a_verb_that_is_missing_is_named_in_a_condition_and_nothing_stays_up_unwatched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forbidden(self: Kube, kind: str, selector: str = "") -> list[dict[str, Any]]:
        raise Forbidden(FORBIDDEN)

    monkeypatch.setattr(Namespace, "list", forbidden)
    namespace = Namespace(spec_body())
    reconciler = namespace.reconciler()
    passes(namespace, reconciler, Forbidden, 0, 30)
    assert namespace.writes == [], "an API server that starts may say so for a moment"
    passes(namespace, reconciler, Forbidden, 61)
    assert first(namespace) == {"shop-r0001": 100}
    stalled = namespace.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "Forbidden")
    assert FORBIDDEN in stalled["message"] and "manifests/base/role.yaml" in stalled["message"]


def test_a_route_that_may_not_be_read_does_not_keep_the_reason_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forbidden(self: Kube, kind: str, name: str = "") -> Any:
        if kind == "RewriterRelease":
            return self.release  # type: ignore[attr-defined]
        raise Forbidden(f"GET {kind}: 403")

    monkeypatch.setattr(Namespace, "list", forbidden)
    monkeypatch.setattr(Namespace, "get", forbidden)
    namespace = Namespace(spec_body())
    passes(namespace, namespace.reconciler(), Forbidden, 0, 30, 61)
    assert namespace.writes == ["status"]
    assert "403" in namespace.condition("Stalled")["message"]


@pytest.mark.parametrize("refusal", [Forbidden("PATCH httproutes: 403"), Invalid("PATCH httproutes: 422")])
def test_a_route_that_is_not_taken_back_is_told_and_tried_on_while_what_is_decided_is_kept(
    refusal: Retry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    async def refused(self: Kube, body: dict[str, Any], version: str) -> None:
        nonlocal tried
        tried += 1
        raise refusal

    monkeypatch.setattr(Namespace, "apply", refused)
    namespace = Namespace(spec_body())
    assert namespace.live is not None
    namespace.live["metadata"] |= {"uid": "uid-route", "generation": 1}
    monkeypatch.setattr(Namespace, "list", lambda self, kind, selector="": _only_route(self, kind))
    reconciler = namespace.reconciler()

    async def until_at_rest() -> None:
        for _ in range(20):
            await reconciler("shop")

    with pytest.raises(type(refusal)):
        asyncio.run(until_at_rest())
    stalled = namespace.condition("Stalled")
    assert (stalled["status"], stalled["reason"], stalled["message"]) == ("True", "ChildRefused", str(refusal))
    assert tried > 2


async def _only_route(namespace: Namespace, kind: str) -> list[dict[str, Any]]:
    return [namespace.live] if kind == "HTTPRoute" and namespace.live else []
