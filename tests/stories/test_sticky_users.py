"""Buckets of users through a real gateway: Contour reads the operator's HTTPRoute from an API server, Envoy obeys.

Only the control plane, Contour, Envoy and three answering Services: no node, no pods, no operator that writes shares.
"""

import http.client
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from e2e.cluster import ControlPlane, control_plane
from e2e.cluster.build import Programs, ensure_parts
from rewriter_contract.buckets import BUCKET_HEADER, bucket
from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.workloads.render import render
from rewriter_operator.workloads.routers import ROUTERS
from tests.builders import INSTALLATION, make_spec, make_world
from tests.data_plane import BUCKET_NAMES
from tests.ports import free_port

pytestmark = pytest.mark.e2e

NAMESPACE, INCUMBENT, CANDIDATE = "search", "shop-r0001", "shop-r0002"
SERVICES = (INCUMBENT, CANDIDATE, "shop-passthrough")
GATEWAY = {"gateway": {"name": "rewriter", "namespace": "gateway-system"}}
MANIFESTS = Path(__file__).parents[2] / "e2e" / "cluster" / "manifests"
PATIENCE = 60.0
OFFSET = 8000
"""Contour's Envoy listens this much above a Gateway's port."""
USERS = [f"user-{number}" for number in range(400)]


@dataclass
class Edge:
    """The gateway, and the API server that it reads."""

    plane: ControlPlane
    port: int

    def divide(self, share: int, header: bool = True) -> dict[str, Any]:
        """Write the route with this share of finerank; returns it once Envoy obeys."""
        assignment = {"assignment": {}} if header else {}
        wanted = WantedRoute(
            (("finerank", 1),), candidate=2, shares=(("finerank", share),) if share else (), idle=(-1, 1, 2)
        )
        release = make_world(make_spec(traffic=GATEWAY | assignment)).release
        body = render(release, (wanted,), INSTALLATION)[0].body
        self.write(body)
        if share:
            self.until(
                lambda: self.answer(f"{share - 1:02d}") == CANDIDATE and self.answer(f"{share:02d}") == INCUMBENT
            )
        return body

    def write(self, body: dict[str, Any]) -> None:
        metadata = {key: value for key, value in body["metadata"].items() if key != "ownerReferences"}  # of no object
        self.plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps({**body, "metadata": metadata}))

    def until(self, is_so: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, "Envoy did not take the route over"
            time.sleep(0.1)

    def answer(self, value: str | None) -> str:
        """Who answers a request of finerank with this bucket."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            headers = {STAGE_HEADER: "finerank"} | ({} if value is None else {BUCKET_HEADER: value})
            connection.request("POST", "/v1/rewrite", "{}", headers)
            response = connection.getresponse()
            text = response.read().decode()
            return text if response.status == 200 else f"status {response.status}"
        except OSError as error:
            return f"error {error}"
        finally:
            connection.close()


class Named(BaseHTTPRequestHandler):
    """Answers with the name of its Service."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = str(self.server.name).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    programs = ensure_parts({"gateway", "envoy"}, lambda *_: None)
    with ExitStack() as stack:
        plane = control_plane("sticky", until_exit_of=os.getpid())
        stack.callback(plane.down)
        made = Edge(plane, free_port())
        _prepare(plane, programs, made.port)
        for name in SERVICES:
            _serve(plane, name, stack)
        _start(plane, programs, made.port, tmp_path_factory.mktemp("edge"), stack)
        yield made


def _prepare(plane: ControlPlane, programs: Programs, port: int) -> None:
    crds = str(programs.crds("gateway"))
    plane.kubectl("apply", "--server-side", "--validate=false", "-f", crds)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
    gateway = (MANIFESTS / "gateway.yaml").read_text().replace("port: 80", f"port: {port - OFFSET}")
    plane.kubectl("apply", "--server-side", "-f", "-", input=gateway)
    plane.kubectl("create", "namespace", NAMESPACE)


def _serve(plane: ControlPlane, name: str, stack: ExitStack) -> None:
    """A Service with one endpoint, on an address that an EndpointSlice takes: none of the loopback."""
    address = _own_address()
    server = ThreadingHTTPServer((address, 0), Named)
    server.name = name  # type: ignore[attr-defined]
    stack.callback(server.shutdown)
    Thread(target=server.serve_forever, daemon=True).start()
    meta = {"name": name, "namespace": NAMESPACE}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 8080}]}}
    slice_of_it = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": server.server_address[1], "name": ""}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
    for body in (service, slice_of_it):
        plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(body))


def _own_address() -> str:
    """Of this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            pytest.skip(f"needs an IPv4 address of this machine that is not of its loopback: {error}")
        address: str = probe.getsockname()[0]
        return address


def _start(plane: ControlPlane, programs: Programs, port: int, place: Path, stack: ExitStack) -> None:
    contour, xds = str(programs.path("contour")), free_port()
    config = place / "contour.yaml"
    config.write_text("gateway: {gatewayRef: {namespace: gateway-system, name: rewriter}}\n")
    ports = [f"--{name}-port={free_port()}" for name in ("health", "http", "stats", "debug-http")]
    bootstrap = (contour, "bootstrap", f"{place}/envoy.json", "--xds-address=127.0.0.1", f"--xds-port={xds}")
    admin = (f"--admin-address={place}/admin.sock", "--xds-resource-version=v3", "--dns-lookup-family=v4")
    subprocess.run((*bootstrap, *admin), check=True, capture_output=True)
    serve = (
        *(contour, "serve", f"--kubeconfig={plane.kubeconfig}", f"--config-path={config}"),
        *("--xds-address=127.0.0.1", f"--xds-port={xds}", "--insecure", "--disable-leader-election"),
        *("--health-address=127.0.0.1", "--http-address=127.0.0.1", "--stats-address=127.0.0.1", *ports),
        *(f"--envoy-service-http-port={port}", "--envoy-service-http-address=127.0.0.1"),
    )
    envoy = (str(programs.path("envoy")), "-c", f"{place}/envoy.json", "--service-cluster", "envoy")
    for name, command in (
        ("contour", serve),
        ("envoy", (*envoy, "--service-node", "sticky", "--log-level", "warn", "--concurrency", "1")),
    ):
        log = stack.enter_context((place / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        stack.callback(process.wait)
        stack.callback(process.kill)


def test_every_bucket_has_its_revision_and_keeps_the_candidate_as_its_share_rises(edge: Edge) -> None:
    had: set[str] = set()
    for share in (5, 25, 50):
        edge.divide(share)
        found = {name: edge.answer(name) for name in BUCKET_NAMES}
        assert found == {name: CANDIDATE if int(name) < share else INCUMBENT for name in BUCKET_NAMES}
        has = {name for name, service in found.items() if service == CANDIDATE}
        assert had <= has
        had = has


def test_users_are_balanced_and_each_has_one_revision_however_often_he_asks(edge: Edge) -> None:
    edge.divide(25)
    answers = {user: {edge.answer(bucket(user, "w36")) for _ in range(3)} for user in USERS}
    assert all(len(found) == 1 for found in answers.values())
    candidates = sum(found == {CANDIDATE} for found in answers.values())
    assert candidates == sum(int(bucket(user, "w36")) < 25 for user in USERS)
    assert abs(candidates - 100) < 35, "25 % of 400, with a standard deviation of 9"


@pytest.mark.parametrize("value", [None, "", "7", "100", "abc"])
def test_without_a_bucket_the_share_is_divided_by_weight(edge: Edge, value: str | None) -> None:
    edge.divide(25)
    answers = Counter(edge.answer(value) for _ in range(200))
    assert set(answers) == {INCUMBENT, CANDIDATE}
    assert 25 <= answers[CANDIDATE] <= 78, "50, with a standard deviation of 6"


def test_a_candidate_that_is_taken_back_is_gone_from_every_bucket_without_a_failed_request(edge: Edge) -> None:
    body = edge.divide(50)
    found = ROUTERS["HTTPRoute"].without_candidate(body["spec"], "shop")
    assert found is not None
    edge.write({**body, "spec": found.spec})
    answers = set()

    def is_taken_back() -> bool:
        now = [edge.answer(name) for name in BUCKET_NAMES]
        answers.update(now)
        return CANDIDATE not in now

    edge.until(is_taken_back)
    assert answers <= {INCUMBENT, CANDIDATE}
    edge.divide(0)
