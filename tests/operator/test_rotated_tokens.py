"""Tokens that change while everything runs: the operator's own is read anew, a pod that has an old one is named."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kubernetes.aio import client
from kubernetes.aio.config import incluster_config

from rewriter_contract.agent import Route, serve
from rewriter_contract.messages import LoadState, ServingStats
from rewriter_operator.api.states import State
from rewriter_operator.cluster import agents
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.kube import connect
from rewriter_operator.cluster.observe import _with_stats
from rewriter_operator.core.counters import unread
from rewriter_operator.core.world import Pod, Role, World
from tests.builders import make_cycle, make_spec, make_status, make_world, serving, stage_status


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kubelet puts into the operator's pod; the token's file."""
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    authority.write_text("")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_load_config", _load_without_authority)
    return token


def _load_without_authority(self: Any) -> None:
    self.host, self.ssl_ca_cert = "http://127.0.0.1:1", None
    self._read_token_file()


def sent_token(api: client.ApiClient) -> str:
    """The header of the next call."""

    async def ask() -> str:
        _, _, headers, *_ = await api.param_serialize("GET", "/api", auth_settings=["BearerToken"])
        return str(headers["authorization"])

    return asyncio.run(ask())


def test_a_token_that_the_kubelet_rotates_is_sent_with_the_next_call(service_account: Path) -> None:
    async def connected() -> client.ApiClient:
        return (await connect("search")).api

    api = asyncio.run(connected())
    assert sent_token(api).lower() == "bearer first"
    service_account.write_text("second")
    assert sent_token(api).lower() == "bearer second", "whatever the wall clock says of a minute"


def served(count: int) -> World:
    """r0001 serves with a pod on this machine, in a rollout."""
    spec = make_spec()
    stage = stage_status(incumbent=serving(1), share=10)
    cycle = make_cycle(spec, 2, candidate=serving(2))
    pod = Pod("Pod", "shop-r0001-x", "uid", Role.SERVING, 1, 0, "", phase="Running", ready=True, ip="127.0.0.1")
    status = make_status(spec, state=State.ROLLING_OUT, cycle=cycle, stages=[stage])
    return make_world(spec, status, children=(pod,))


@pytest.mark.parametrize("token, says", [("new", ""), ("old", "refuses the agents' token (401)")])
def test_a_serving_pod_from_before_the_secret_was_changed_is_named_in_the_doubt(
    token: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ServingStats("boot", "r0001", LoadState.READY, None, {})
    server = serve(0, token, [Route("GET", "/v1/stats", lambda _match, _body: told)], "127.0.0.1")
    monkeypatch.setattr(agents, "PORT", server.server_address[1])

    async def ask() -> World:
        async with aiohttp.ClientSession() as session:
            return await _with_stats(served(1), Agents(session, 1), "new")

    world = asyncio.run(ask())
    server.shutdown()
    server.server_close()
    doubt = unread(world, world.status.stages[0]) or ""
    assert says in doubt if says else doubt == ""
    if says:
        assert doubt.startswith("pod shop-r0001-x") and doubt.endswith("restart it")
