"""A real Envoy marks what it mirrors, and a real pod counts it apart: what a shadow rests on, seen and not assumed."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.build import ensure_parts
from rewriter_contract.messages import STAGE_HEADER
from tests.ports import free_port
from tests.sampler.programs import Program, running

pytestmark = pytest.mark.integration

PASSTHROUGH = "rewriter_sampler.passthrough"
REQUESTS = 20


def cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": endpoints}


def bootstrap(port: int, incumbent: Program, candidate: Program, percent: int) -> dict[str, Any]:
    """Every request to the incumbent, copies of this percent to the candidate: what a gateway makes of a route."""
    part = {"default_value": {"numerator": percent, "denominator": "HUNDRED"}}
    route = {"cluster": "incumbent", "request_mirror_policies": [{"cluster": "candidate", "runtime_fraction": part}]}
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "rewrites",
        "route_config": {"name": "rewrites", "virtual_hosts": hosts},
        "http_filters": [router],
    }
    listener = {
        "name": "rewrites",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [cluster("incumbent", incumbent.port), cluster("candidate", candidate.port)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


@contextmanager
def envoy(directory: Path, incumbent: Program, candidate: Program, percent: int) -> Iterator[Program]:
    program = ensure_parts({"envoy"}, print).path("envoy")
    port, config, log = free_port(), directory / "envoy.json", (directory / "envoy.log").open("wb+")
    config.write_text(json.dumps(bootstrap(port, incumbent, candidate, percent)))
    command = [str(program), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Program(process, port, log)
        found.wait_for("/healthz", seconds=30)
        yield found
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def counted(program: Program, kind: str) -> int:
    stages = program.call("GET", "/v1/stats").json.get(kind, {})
    return int(stages["finerank"]["requests"]) if "finerank" in stages else 0


@pytest.mark.parametrize("host", ["rewrites.shop.example", "rewrites:8080"])
def test_a_mirrored_request_arrives_marked_and_is_no_answer_of_the_candidate(tmp_path: Path, host: str) -> None:
    with (
        running(PASSTHROUGH) as incumbent,
        running(PASSTHROUGH) as candidate,
        envoy(tmp_path, incumbent, candidate, percent=100) as gateway,
    ):
        incumbent.wait_for("/readyz", seconds=20)
        candidate.wait_for("/readyz", seconds=20)
        for _ in range(REQUESTS):
            headers = {"Host": host, STAGE_HEADER: "finerank"}
            assert gateway.call("POST", "/v1/rewrite", {"query": "red shoes"}, headers=headers).status == 200
        end = time.monotonic() + 10
        while counted(candidate, "shadowed") < REQUESTS and time.monotonic() < end:
            time.sleep(0.1)
        assert (counted(candidate, "shadowed"), counted(candidate, "stages")) == (REQUESTS, 0)
        assert (counted(incumbent, "shadowed"), counted(incumbent, "stages")) == (0, REQUESTS)
