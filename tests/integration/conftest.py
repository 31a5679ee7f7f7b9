"""A real API server for the whole session, a namespace for each test, and the real operator as a process."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import ClusterError, ControlPlane, control_plane
from e2e.cluster.parts import PARTS, GoPart
from tests.builders import spec_body
from tests.integration.api_calls import ApiCalls
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
HTTP_ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
VIRTUAL_SERVICES = ROOT / "tests/virtual_services.yaml"
PATIENCE = 300.0
"""Seconds for what should take a few: these tests share their CPUs with others, and say nothing about speed."""
LONGEST_FIRST = ("test_site_faults", "test_lease", "test_operator_process", "test_bad_input_conditions")
"""Modules that mostly wait: begun first, so that the workers that wait have company to the end."""

Collection = tuple[str, str]
"""Where a kind's objects are, and what `kubectl get -o name` puts before their names."""
COLLECTIONS: dict[str, Collection] = {
    "rr": ("/apis/rewriter.dev/v1alpha1/namespaces/{}/rewriterreleases", "rewriterrelease.rewriter.dev"),
    "lease": ("/apis/coordination.k8s.io/v1/namespaces/{}/leases", "lease.coordination.k8s.io"),
    "httproute": ("/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes", "httproute.gateway.networking.k8s.io"),
    "virtualservice": (
        "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
        "virtualservice.networking.istio.io",
    ),
    "deployment": ("/apis/apps/v1/namespaces/{}/deployments", "deployment.apps"),
    "pod": ("/api/v1/namespaces/{}/pods", "pod"),
    "poddisruptionbudget": (
        "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
        "poddisruptionbudget.policy",
    ),
    "pvc": ("/api/v1/namespaces/{}/persistentvolumeclaims", "persistentvolumeclaim"),
    "resourcequota": ("/api/v1/namespaces/{}/resourcequotas", "resourcequota"),
    "secret": ("/api/v1/namespaces/{}/secrets", "secret"),
    "service": ("/api/v1/namespaces/{}/services", "service"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long waits first."""
    order = {f"tests.integration.{name}": rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_module(item), len(order)))


def _module(item: pytest.Item) -> str:
    return str(getattr(getattr(item, "module", None), "__name__", ""))


@pytest.fixture(scope="session")
def api() -> Iterator[ControlPlane]:
    """The control plane with the CRDs of the operator and of HTTPRoute; one for all workers of a run, which ends it.

    Shared, because each test has a namespace of its own, and a second one costs more CPU than it could ever save.
    """
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    plane = control_plane("integration", until_exit_of=os.getppid() if is_worker else os.getpid())
    _install_once(plane)
    yield plane
    if not is_worker:  # others may still work with it
        plane.down()


def _install_once(plane: ControlPlane) -> None:
    """By the first worker that comes: two that create the same object at once refuse each other."""
    with (plane.kubeconfig.parent / "installed").open("a") as installed:
        fcntl.flock(installed, fcntl.LOCK_EX)
        if installed.tell() == 0:
            eventually(lambda: _is_installed(plane), PATIENCE, "the CRDs are there")
            installed.write("yes")


def _is_installed(plane: ControlPlane) -> bool:
    """False when it is worth another try: on a busy machine a new API server is slow, and its answer is a timeout."""
    try:
        plane.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
        plane.kubectl("apply", "--server-side", "-f", str(_gateway_api() / HTTP_ROUTES))
        plane.kubectl("apply", "--server-side", "-f", str(VIRTUAL_SERVICES))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        plane.kubectl(
            "get", "rr,rrev,httproutes,virtualservices", "--all-namespaces"
        )  # the first to ask is told to wait
    except ClusterError as error:
        if any(words in str(error) for words in ("imeout", "timed out", "accessor error", "initializing")):
            return False  # of a CRD that has no conditions yet, kubectl cannot say which it waits for: accessor error
        raise
    return True


def _gateway_api() -> Path:
    """Source of the Go module that the cluster's gateway is built with: its CRDs, without building anything."""
    (part,) = [part for part in PARTS if isinstance(part, GoPart) and part.name == "gateway"]
    command = ["go", "mod", "download", "-json", "sigs.k8s.io/gateway-api"]
    done = subprocess.run(command, cwd=part.module, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


@pytest.fixture(scope="session")
def calls(api: ControlPlane) -> Iterator[ApiCalls]:
    """Calls without kubectl, whose every start costs a fifth of a second of CPU: what is asked again and again."""
    made = ApiCalls.to(api.kubeconfig)
    yield made
    made.close()


@dataclass
class Space:
    """One test's namespace."""

    api: ControlPlane
    calls: ApiCalls
    name: str

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self.api.kubectl("-n", self.name, *arguments, input=input)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """The object; empty when there is none."""
        path, _ = COLLECTIONS[kind]
        answer = self.calls.call("GET", f"{path.format(self.name)}/{name}")
        assert answer.accepted or answer.status == 404, answer.message
        return answer.body if answer.accepted else {}

    def version(self) -> int:
        """The API server's newest version of anything: what is written later has a higher one."""
        answer = self.calls.call("GET", COLLECTIONS["rr"][0].format(self.name))
        return int(answer.body["metadata"]["resourceVersion"])

    def names(self, kinds: str) -> set[str]:
        """Of all objects of these kinds (`pods,services`), as `kubectl get -o name` writes them."""
        return {name for kind in kinds.split(",") for name in self._names(kind.removesuffix("s"))}

    def _names(self, kind: str) -> Iterator[str]:
        path, prefix = COLLECTIONS[kind]
        answer = self.calls.call("GET", path.format(self.name))
        assert answer.accepted, answer.message
        return (f"{prefix}/{item['metadata']['name']}" for item in answer.body["items"])

    def create(self, body: dict[str, Any], *flags: str) -> str:
        return self.kubectl("create", *flags, "-f", "-", input=json.dumps(body))

    def apply(self, body: dict[str, Any]) -> str:
        return self.kubectl("apply", "-f", "-", input=json.dumps(body))

    def inputs(self, fusion: str | None = '{"stages": {"finerank": {"a": 1.0, "b": 0.3, "gamma": 1.0}}}') -> None:
        """The claim and the fusion constants that a release names."""
        self.apply(claim())
        if fusion is not None:
            self.apply(config_map(fusion))

    def write_status(self, status: dict[str, Any], kind: str = "rr", name: str = "shop") -> None:
        """As a controller does: the whole status, and nothing else."""
        body = {**self.get(kind, name), "status": status}
        self.kubectl("replace", "--subresource=status", "-f", "-", input=json.dumps(body))

    def events(self) -> list[dict[str, Any]]:
        """Those that an operator has told."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
        return found

    def condition(self, kind: str, release: str = "shop") -> tuple[str, str, str]:
        """(status, reason, message)"""
        conditions = self.get("rr", release).get("status", {}).get("conditions", [])
        found = next((item for item in conditions if item["type"] == kind), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def eventually(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits until something is true."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.3)


def release(name: str = "shop", **changes: Any) -> dict[str, Any]:
    """A release as a user writes it."""
    return {
        "apiVersion": "rewriter.dev/v1alpha1",
        "kind": "RewriterRelease",
        "metadata": {"name": name},
        "spec": spec_body(**changes),
    }


def claim() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "rewriter"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def config_map(text: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "fusion"},
        "data": {"fusion.json": text},
    }


@pytest.fixture
def space(api: ControlPlane, calls: ApiCalls, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace of this test's own."""
    short = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{short}-{os.getpid()}-{time.monotonic_ns() % 100000}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    made = calls.call("POST", "/api/v1/namespaces", namespace)
    assert made.accepted, made.message
    yield Space(api, calls, name)
    calls.call("DELETE", f"/api/v1/namespaces/{name}")


@dataclass
class Operator:
    """The operator's process over one namespace."""

    space: Space
    log: Path
    pod: str = "operator-0"
    """Started again it is the same pod, as after a crash of its container."""
    kubeconfig: Path | None = None
    """Another way to the API server than straight."""
    lease_seconds: int = 30
    """Long: these tests share their CPUs with others, and a starved operator rightly loses its lease."""
    process: "subprocess.Popen[bytes] | None" = None
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))

    def start(self) -> "Operator":
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig or self.space.api.kubeconfig),
            "POD_NAME": self.pod,
            "POD_UID": f"uid-of-{self.pod}",
            "LEASE_SECONDS": str(self.lease_seconds),
            "WATCH_NAMESPACE": self.space.name,
            "TRAINER_IMAGE": "registry.test/trainer:1",
            "SAMPLER_IMAGE": "registry.test/sampler:1",
            "METRICS_PORT": str(self.ports[0]),
            "PROBE_PORT": str(self.ports[1]),
            "WORKERS": "2",
        }
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "rewriter_operator"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        eventually(self._answers, PATIENCE, f"the operator is up; see {self.log}")
        return self

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def metric(self, name: str) -> float:
        """Value of one of its metrics without labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def is_healthy(self) -> bool:
        """What kubelet's probes ask."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/healthz", timeout=30) as answer:
            return bool(answer.status == 200)

    def _answers(self) -> bool:
        """kopf's liveness endpoint answers once its handlers are registered and its watches begin."""
        assert self.process and self.process.poll() is None, self.log.read_text()[-3000:]
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.ports[1])) == 0


@pytest.fixture
def operator(space: Space, tmp_path: Path) -> Iterator[Operator]:
    """The operator, running over the test's namespace."""
    found = Operator(space, tmp_path / "operator.log").start()
    yield found
    found.kill()
