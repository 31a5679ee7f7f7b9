"""The trainer pod's control server answers what the operator and the kubelet ask of it."""

import http.client
import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rewriter_contract import agent
from rewriter_operator.core.decision import WantedPod
from rewriter_operator.core.world import Role
from rewriter_operator.workloads.render import render
from rewriter_trainer.__main__ import Settings, Trainer
from tests.builders import INSTALLATION, make_world
from tests.faults import pod_programs


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(Settings(root=tmp_path, token="token", port=0, pod_uid="pod-uid", workers=1))


@pytest.fixture
def server(trainer: Trainer) -> Iterator[ThreadingHTTPServer]:
    server = agent.serve(0, "token", trainer.routes(), "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


def ask(server: ThreadingHTTPServer, path: str) -> tuple[int, Any]:
    """GET without a token, as the kubelet asks."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def probes() -> list[str]:
    """The paths that the trainer's manifest has the kubelet ask."""
    (manifest,) = render(make_world().release, (WantedPod(Role.TRAINER, 2),), INSTALLATION)
    (container,) = manifest.body["spec"]["containers"]
    return [container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")]


def test_every_route_that_the_manifest_probes_is_answered(server: ThreadingHTTPServer) -> None:
    assert len(probes()) == 2
    assert {path: ask(server, path)[0] for path in probes()} == dict.fromkeys(probes(), 200)


def test_a_trainer_that_stops_is_no_longer_ready_and_still_alive(trainer: Trainer, server: ThreadingHTTPServer) -> None:
    assert ask(server, "/readyz") == (200, {"ready": True})
    assert trainer.stop(0.0), "nothing runs"
    assert ask(server, "/readyz") == (503, {"ready": False})
    assert ask(server, "/healthz")[0] == 200


def test_the_stand_in_of_the_faults_answers_nothing_open_that_the_trainer_does_not(trainer: Trainer) -> None:
    open_routes = {(route.method, route.path) for route in trainer.routes() if route.open}
    assert {(route.method, route.path) for route in pod_programs.health()} <= open_routes
