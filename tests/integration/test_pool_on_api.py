"""Pods that change revisions on a real API server: their Deployment makes no other for it, and Services follow."""

import asyncio
import json
import time
from dataclasses import replace

import aiohttp
import pytest
from kubernetes.aio import client, config

from rewriter_operator.api.states import State
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Superseded, Term
from rewriter_operator.cluster.kube import Kube
from rewriter_operator.core.decision import PodChange
from tests.builders import make_spec, make_status, serving, stage_status
from tests.integration.conftest import PATIENCE, Operator, Space, eventually, release

pytestmark = pytest.mark.integration

IN_PLACE = {"serving.replicas": 2, "serving.capacity": {"mode": "InPlace"}}
POOL = "rewriter.dev/pool=serving"


def pods(space: Space, label: str = POOL) -> list[str]:
    return space.kubectl("get", "pods", "-l", label, "-o", "jsonpath={.items[*].metadata.name}").split()


def pooled(space: Space, operator: Operator) -> None:
    """r0001 serves in place: there is no kubelet, so its pods wait to be told what to load."""
    operator.kill()
    space.inputs()
    space.create(release(**IN_PLACE))
    spec = make_spec(**IN_PLACE)
    stages = [stage_status(incumbent=serving(1))]
    space.write_status(make_status(spec, state=State.IDLE, stages=stages, last_cycle_number=1).to_api())
    operator.start()
    eventually(lambda: len(pods(space)) == 2, PATIENCE, "the pods are there")


def changed(space: Space, change: PodChange, epoch: int) -> None:
    """As the operator writes it, in a term of its own."""

    async def write() -> None:
        configuration = client.Configuration()
        await config.load_kube_config(str(space.api.kubeconfig), client_configuration=configuration)
        term = Term(epoch, time.monotonic() + 60, 1, alarm=lambda seconds: None)
        kube = Kube(client.ApiClient(configuration), space.name, term=term)
        async with aiohttp.ClientSession() as session:
            try:
                await Hands(kube, Agents(session, epoch), term).assign(change)
            finally:
                await kube.close()

    asyncio.run(write())


def test_pods_of_the_pool_are_told_what_to_serve_and_are_behind_no_service_until_they_do(
    space: Space, operator: Operator
) -> None:
    pooled(space, operator)

    def told() -> set[str]:
        items = json.loads(space.kubectl("get", "pods", "-l", POOL, "-o", "json"))["items"]
        orders = [item["metadata"].get("annotations", {}).get("rewriter.dev/serving") for item in items]
        return {json.loads(order)["serving"]["revision"] if order else "" for order in orders}

    eventually(lambda: told() == {"r0001"}, PATIENCE, "both are told to serve the incumbent")
    assert pods(space, "rewriter.dev/cycle=1") == [], "they do not say that they do"
    assert space.names("deployments") == {"deployment.apps/shop-serving", "deployment.apps/shop-passthrough"}
    assert space.names("poddisruptionbudgets") == {"poddisruptionbudget.policy/shop-serving"}
    selector = space.get("service", "shop-r0001")["spec"]["selector"]
    assert selector["rewriter.dev/cycle"] == "1"


def test_a_label_that_comes_and_goes_makes_no_pod_and_a_later_leader_is_respected(
    space: Space, operator: Operator
) -> None:
    pooled(space, operator)
    operator.kill()
    before = pods(space)
    pod = space.get("pod", before[0])
    label = PodChange(before[0], pod["metadata"]["uid"], 1e9, "a test", label=7)
    changed(space, label, epoch=1000)
    assert pods(space, "rewriter.dev/cycle=7") == [before[0]]
    changed(space, replace(label, label=None, order="{}"), epoch=1000)
    assert pods(space, "rewriter.dev/cycle=7") == []
    assert space.get("pod", before[0])["metadata"]["annotations"]["rewriter.dev/serving"] == "{}"
    with pytest.raises(Superseded):
        changed(space, label, epoch=999)
    changed(space, replace(label, uid="another"), epoch=1001)
    assert pods(space, "rewriter.dev/cycle=7") == [], "a pod of that name, and not that pod"
    assert sorted(pods(space)) == sorted(before)
