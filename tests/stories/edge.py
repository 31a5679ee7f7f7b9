"""A real gateway before Services that answer with their names: Contour reads a route from an API server, Envoy obeys.

Only the control plane, Contour, Envoy and three answering Services: no node, no pods, no operator that writes shares.
"""

import http.client
import json
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

import pytest

from e2e.cluster import ControlPlane, control_plane
from e2e.cluster.build import Programs, ensure_parts
from rewriter_contract.buckets import BUCKET_HEADER
from rewriter_contract.messages import STAGE_HEADER
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.workloads.render import render
from rewriter_sampler.rewrite_api import is_mirrored
from tests.builders import INSTALLATION, make_spec, make_world
from tests.ports import free_port

INCUMBENT: Final = "shop-r0001"
CANDIDATE: Final = "shop-r0002"
SERVICES: Final = (INCUMBENT, CANDIDATE, "shop-passthrough")
NAMESPACE: Final = "search"
GATEWAY: Final = {"gateway": {"name": "rewriter", "namespace": "gateway-system"}}
HOST: Final = "rewrites.shop.example"
MANIFESTS: Final = Path(__file__).parents[2] / "e2e" / "cluster" / "manifests"
PATIENCE_SECONDS: Final = 60.0
OFFSET: Final = 8000
"""Contour's Envoy listens this much above a Gateway's port."""


class Service(ThreadingHTTPServer):
    """Answers with its name, and counts what it got."""

    def __init__(self, address: str, name: str) -> None:
        super().__init__((address, 0), _Named)
        self.name = name
        self.counted: Counter[str] = Counter()
        """`requests`, and `copies`: what a router marked as mirrored."""
        self._lock = Lock()

    def count(self, host: str) -> None:
        with self._lock:
            self.counted["copies" if is_mirrored(host) else "requests"] += 1


class _Named(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.count(self.headers.get("Host", ""))
        name = self.server.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@dataclass
class Edge:
    """The gateway, the API server that it reads, and who answers behind it."""

    plane: ControlPlane
    port: int
    services: Mapping[str, Service]

    def divide(self, share: int) -> dict[str, Any]:
        """Write the route with this share of finerank by buckets of users; returns it once Envoy obeys."""
        shares = (("finerank", share),) if share else ()
        body = self._route({"assignment": {}}, shares=shares)
        self.write(body)
        if share:
            self.until(
                lambda: self.answer(f"{share - 1:02d}") == CANDIDATE and self.answer(f"{share:02d}") == INCUMBENT
            )
        return body

    def mirror(self, percent: int) -> dict[str, Any]:
        """Write the route that sends the candidate copies of finerank, and nothing else; returns what was written."""
        body = self._route({}, mirrors=(("finerank", percent),))
        self.write(body)
        return body

    def _route(self, traffic: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        wanted = WantedRoute((("finerank", 1),), candidate=2, idle=(-1, 1, 2), **given)
        release = make_world(make_spec(traffic={**GATEWAY, **traffic})).release
        return render(release, (wanted,), INSTALLATION)[0].body

    def write(self, body: dict[str, Any]) -> None:
        metadata = {key: value for key, value in body["metadata"].items() if key != "ownerReferences"}  # of no object
        self.plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps({**body, "metadata": metadata}))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for the gateway.

        Raises:
            AssertionError: after a minute.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < end, "Envoy did not take the route over"
            time.sleep(0.1)

    def answer(self, bucket: str | None = None) -> str:
        """Who answers a request of finerank with this bucket."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            headers = {"Host": HOST, STAGE_HEADER: "finerank"} | ({} if bucket is None else {BUCKET_HEADER: bucket})
            connection.request("POST", "/v1/rewrite", "{}", headers)
            response = connection.getresponse()
            text = response.read().decode()
            return text if response.status == 200 else f"status {response.status}"
        except OSError as error:
            return f"error {error}"
        finally:
            connection.close()


@contextmanager
def started(place: Path) -> Iterator[Edge]:
    """A gateway of one's own, with logs in `place`."""
    programs = ensure_parts({"gateway", "envoy"}, lambda *_: None)
    with ExitStack() as stack:
        plane = control_plane("gateway-stories", until_exit_of=os.getpid())
        stack.callback(plane.down)
        port = free_port()
        _prepare(plane, programs, port)
        services = {name: _serve(plane, name, stack) for name in SERVICES}
        _start(plane, programs, port, place, stack)
        yield Edge(plane, port, services)


def _prepare(plane: ControlPlane, programs: Programs, port: int) -> None:
    crds = str(programs.crds("gateway"))
    plane.kubectl("apply", "--server-side", "--validate=false", "-f", crds)
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", crds)
    gateway = (MANIFESTS / "gateway.yaml").read_text().replace("port: 80", f"port: {port - OFFSET}")
    plane.kubectl("apply", "--server-side", "-f", "-", input=gateway)
    plane.kubectl("create", "namespace", NAMESPACE)


def _serve(plane: ControlPlane, name: str, stack: ExitStack) -> Service:
    """A Service with one endpoint, on an address that an EndpointSlice takes: none of the loopback."""
    address = _own_address()
    server = Service(address, name)
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
    return server


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
        ("envoy", (*envoy, "--service-node", "stories", "--log-level", "warn", "--concurrency", "1")),
    ):
        log = stack.enter_context((place / f"{name}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        stack.callback(process.wait)
        stack.callback(process.kill)
