"""Whole passes over a release whose candidate a metric judges: asked over HTTP, counted once, told, taken back."""

import asyncio
import base64
import copy
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from prometheus_client import generate_latest

from rewriter_operator import metrics
from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Term
from rewriter_operator.cluster.kube import Kube
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.world import Release
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_cycle, make_spec, make_status, serving, stage_status
from tests.core.test_rollout import PASSED
from tests.operator.test_metric_access import TOKEN, secret
from tests.operator.test_metric_services import sample, service

QUERY = {"serviceName": "prometheus", "query": 'ctr{revision="{{candidate}}"}'}


@pytest.fixture(autouse=True)
def everything_is_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every Service's name leads to this machine; yields the names that were looked up."""
    asked: list[str] = []
    look_up = socket.getaddrinfo

    def here(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        asked.append(host)
        return look_up("127.0.0.1", port, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    yield asked


class Search(Kube):
    """A namespace in which r0002 has 10 % of finerank, and nobody counts any requests."""

    def __init__(self, port: int, secrets: Sequence[dict[str, Any]] = (), **access: Any) -> None:
        now = time.time()
        self.secrets = secrets
        metric = {"name": "ctr", "prometheus": QUERY | {"port": port} | access, "minimum": 0.98, "interval": "5s"}
        spec = make_spec(**{"rollout.metrics": [metric | {"failureLimit": 1}]})
        share = stage_status(
            incumbent=serving(1), share=10, share_at=now - 90, counting_since=now - 60, step=0, step_at=now - 90
        )
        status = make_status(
            spec,
            state=State.ROLLING_OUT,
            cycle=make_cycle(spec, 2, candidate=serving(2), gate=PASSED, since=now - 100),
            stages=[share],
            last_cycle_number=2,
        )
        self.writes: list[str] = []
        self.events: list[str] = []
        self.live = {
            "kind": "RewriterRelease",
            "metadata": {
                "name": "shop",
                "namespace": "search",
                "uid": "uid-shop",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": "2026-11-23T10:00:00Z",
            },
            "spec": spec.to_api(),
            "status": status.to_api(),
        }
        wanted = WantedRoute(incumbents=(("finerank", 1),), candidate=2, shares=(("finerank", 10),))
        release = Release("search", "shop", "uid-shop", 1, now, {}, spec, status)
        (manifest,) = render(release, (wanted,), INSTALLATION)
        self.route = {
            **manifest.body,
            "status": {"parents": [{"conditions": [_true("Accepted"), _true("ResolvedRefs")]}]},
        }
        self.route["metadata"] = {**self.route["metadata"], "uid": "uid-route", "generation": 1, "resourceVersion": "1"}

    @property
    def status(self) -> RewriterReleaseStatus:
        return RewriterReleaseStatus.model_validate(self.live["status"])

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        found = {"RewriterRelease": self.live, "HTTPRoute": self.route}
        return copy.deepcopy(found.get(kind))

    async def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        if kind == "HTTPRoute":
            return [{"kind": kind, **copy.deepcopy(self.route)}]
        if selector == "rewriter.dev/metrics-credentials=true":
            return copy.deepcopy(list(self.secrets))
        return [copy.deepcopy(DEPLOYMENT)] if kind == "Deployment" else []

    async def own_by_apply(self, live: dict[str, Any]) -> dict[str, Any]:
        return live

    async def apply(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        self.writes.append(f"apply {body['kind']}")
        return body

    async def create(self, body: dict[str, Any]) -> dict[str, Any] | None:
        return body

    async def put_status(self, body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        self.writes.append(f"status {body['status']['state']}")
        self.live = {**self.live, "status": body["status"]}
        return self.live

    async def event(self, body: dict[str, Any]) -> None:
        self.events.append(f"{body['type']} {body['reason']}: {body['note']}")


def _true(kind: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "observedGeneration": 1}


DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {
        "name": "shop-r0002",
        "uid": "uid-r0002",
        "generation": 1,
        "resourceVersion": "1",
        "labels": {"rewriter.dev/role": "serving", "rewriter.dev/cycle": "2"},
        "ownerReferences": [{"uid": "uid-shop"}],
    },
    "spec": {"replicas": 1},
    "status": {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1},
}


def passes(search: Search, until: Callable[[], bool]) -> None:
    """As many passes as it takes."""

    async def run() -> None:
        hands = Hands(search, Agents.__new__(Agents), Term(epoch=1, until=float("inf"), grace=1.0))
        reconciler = Reconciler(hands, INSTALLATION)
        ends = time.monotonic() + 20
        while not until():
            assert time.monotonic() < ends, search.status.message
            await reconciler("shop")
            await asyncio.sleep(0.02)
        await reconciler.metric_services.close()

    asyncio.run(run())


def looks(verdict: str) -> float:
    found: float = metrics.METRIC_LOOKS.labels(verdict)._value.get()
    return found


def test_a_look_is_asked_for_by_a_pass_and_counted_by_a_later_one(everything_is_here: list[str]) -> None:
    with service(body=sample("0.99")) as (url, asked):
        search, before = Search(int(url.split(":")[2].split("/")[0])), looks("Inside")
        passes(search, lambda: bool(search.status.stages[0].metrics[:1] and search.status.stages[0].metrics[0].inside))
    (found,) = search.status.stages[0].metrics
    assert (found.verdict, found.value, found.inside) == ("Inside", 0.99, 1)
    assert (looks("Inside") - before, len(asked)) == (1, 1)
    assert asked[0]["query"] == {"query": ['ctr{revision="r0002"}']}
    assert set(everything_is_here) == {"prometheus.search.svc"}


def test_a_look_outside_takes_the_candidate_back_and_says_so() -> None:
    with service(body=sample("0.5")) as (url, _):
        search = Search(int(url.split(":")[2].split("/")[0]))
        passes(search, lambda: search.status.state is State.WITHDRAWING)
    assert search.writes[-2:] == ["apply HTTPRoute", "status Withdrawing"], "the route first"
    assert search.status.stages[0].share == 0
    told = "finerank: metric ctr: 0.5 < minimum 0.98"
    assert search.events[-2:] == [
        f"Warning MetricOutside: {told}",
        f"Warning MetricOutside: {told} (outside in 1 look, inside in none since)",
    ]


def test_a_credential_is_in_no_status_event_log_or_metric(caplog: pytest.LogCaptureFixture) -> None:
    """I12, also where the service repeats it, and where its Secret is not let go there."""
    caplog.set_level(logging.DEBUG)
    bearer = {"bearer": {"secretKeyRef": {"name": "thanos-token", "key": "token"}}, "allowPlaintext": True}
    body = json.dumps({"status": "error", "error": f"bearer {TOKEN} has expired"}).encode()
    texts = []
    with service(400, body) as (url, asked):
        port = int(url.split(":")[2].split("/")[0])
        for named in (f"http://prometheus.search.svc:{port}/api/v1/query", "https://elsewhere.search.svc/"):
            search = Search(port, [secret("thanos-token", named, token=TOKEN)], authorization=bearer)
            passes(search, lambda search=search: any(metric.verdict for metric in search.status.stages[0].metrics))
            texts += [json.dumps(search.live), *search.events]
    assert [call["headers"]["Authorization"] for call in asked] == [f"Bearer {TOKEN}"], "it was sent, once"
    assert "its words are left out" in texts[0] and "may not be sent to http://prometheus.search.svc" in texts[-1]
    told = "\n".join([*texts, caplog.text, generate_latest().decode()])
    encoded = base64.b64encode(TOKEN.encode()).decode()
    assert TOKEN not in told and encoded not in told
