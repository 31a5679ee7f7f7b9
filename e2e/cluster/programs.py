"""What runs in a cluster: each program's command line, what it waits for, and how to see that it is ready.

Pure: a list for `init.py` to run. Order is nowhere written down, it follows from `needs`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from e2e.cluster.build import Programs
from e2e.cluster.configs import CONTAINERD_SOCKET
from e2e.cluster.network import (
    API_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    GATEWAY_PORT,
    NODE_IP,
    REGISTRY_PORT,
    SERVICE_CIDR,
    XDS_PORT,
)
from e2e.cluster.paths import PACKAGE, ClusterPaths
from e2e.cluster.pki import Pki


@dataclass(frozen=True)
class Program:
    """One process. `ready` is a URL that must answer 200, or `unix:PATH` / `tcp:HOST:PORT` that must accept.

    A `once` program is ready when it has exited with 0; any other exit is tried again until the start's time is over.
    """

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...] = ()
    ready: str = ""
    once: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Program":
        return cls(**{**data, "argv": tuple(data["argv"]), "needs": tuple(data["needs"])})


ENDPOINT_CONTROLLERS = ("endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller")


@dataclass(frozen=True)
class ControlPlanePorts:
    """Where etcd and the API server listen: fixed inside namespaces, freely chosen on the host."""

    etcd: int = ETCD_PORT
    etcd_peer: int = ETCD_PEER_PORT
    api: int = API_PORT
    controller_manager: int = 10257
    bind: str = "0.0.0.0"
    advertise: str = NODE_IP
    node_grace_seconds: int = 50
    """Silence after which a node, and every pod on it, counts as not ready; the default is Kubernetes' own."""
    watch_cache: bool = True
    """Without it a list is read from etcd, and does not wait for the cache's next tick of 100 ms: for tests that make
    thousands of lists one after the other. What lists and watches mean is the same."""
    endpoints: bool = True
    """Whether Services get EndpointSlices. They take no loopback address, which stand-in pods have: each is refused,
    told in an Event and tried again, for ever."""
    as_shipped: bool = False
    """Whether the API server collects its garbage as often as anywhere: for figures that are told of it."""


_COLLECT_SELDOM = {"GOGC": "400", "GOMEMLIMIT": "1536MiB"}
"""A quarter of the API server's time is its garbage collector's; memory is what a machine with two cores has left."""


def etcd(programs: Programs, paths: ClusterPaths, ports: ControlPlanePorts) -> Program:
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    flags = (
        f"--data-dir={paths.etcd}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # A test cluster survives the death of its processes, not of the machine: syncing each write costs seconds.
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return Program("etcd", (str(programs.path("etcd")), *flags), ready=f"{client}/readyz")


def kube_apiserver(programs: Programs, paths: ClusterPaths, pki: Pki, ports: ControlPlanePorts) -> Program:
    flags = (
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--bind-address={ports.bind}",
        f"--secure-port={ports.api}",
        f"--advertise-address={ports.advertise}",
        f"--cert-dir={paths.config}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki.authority}",
        f"--tls-cert-file={pki.certificate('apiserver')}",
        f"--tls-private-key-file={pki.key('apiserver')}",
        f"--kubelet-client-certificate={pki.certificate('kubelet-client')}",
        f"--kubelet-client-key={pki.key('kubelet-client')}",
        # The node's name resolves nowhere; without this `kubectl exec` and `logs` fail.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki.key('service-accounts')}",
        f"--service-account-signing-key-file={pki.key('service-accounts')}",
        "--allow-privileged=true",
        "--profiling=false",
        f"--watch-cache={str(ports.watch_cache).lower()}",
    )
    argv = (str(programs.path("kube-apiserver")), *flags)
    ready, env = f"https://127.0.0.1:{ports.api}/readyz", {} if ports.as_shipped else _COLLECT_SELDOM
    return Program("kube-apiserver", argv, needs=("etcd",), ready=ready, env=env)


def kube_controller_manager(programs: Programs, paths: ClusterPaths, pki: Pki, ports: ControlPlanePorts) -> Program:
    flags = (
        f"--kubeconfig={paths.config}/controller-manager.kubeconfig",
        f"--root-ca-file={pki.authority}",
        f"--service-account-private-key-file={pki.key('service-accounts')}",
        f"--cluster-signing-cert-file={pki.authority}",
        f"--cluster-signing-key-file={pki.key('ca')}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--node-monitor-grace-period={ports.node_grace_seconds}s",
        *(() if ports.endpoints else (f"--controllers=*,{','.join(f'-{name}' for name in ENDPOINT_CONTROLLERS)}",)),
        f"--secure-port={ports.controller_manager}",
        # Made even when nothing uses it; its default is a directory of the host.
        f"--flex-volume-plugin-dir={paths.config}/volume-plugins",
        "--bind-address=127.0.0.1",
        f"--cert-dir={paths.config}",
    )
    argv = (str(programs.path("kube-controller-manager")), *flags)
    ready = f"https://127.0.0.1:{ports.controller_manager}/healthz"
    return Program("kube-controller-manager", argv, needs=("kube-apiserver",), ready=ready)


def control_plane_programs(
    programs: Programs, paths: ClusterPaths, pki: Pki, ports: ControlPlanePorts
) -> list[Program]:
    return [
        etcd(programs, paths, ports),
        kube_apiserver(programs, paths, pki, ports),
        kube_controller_manager(programs, paths, pki, ports),
        # The controller manager is healthy before it has worked: until this object is there, no pod can be created.
        Program(
            "default-service-account",
            (*_kubectl(programs, paths), "wait", "--for=create", "serviceaccount/default", "--timeout=30s"),
            needs=("kube-controller-manager",),
            once=True,
        ),
    ]


def node_programs(programs: Programs, paths: ClusterPaths) -> list[Program]:
    config, kubectl = paths.config, _kubectl(programs, paths)
    containerd = ("containerd", "--config", f"{config}/containerd.toml")
    ctr = ("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io")
    kubelet = (
        str(programs.path("kubelet")),
        f"--config={config}/kubelet.yaml",
        f"--kubeconfig={config}/kubelet.kubeconfig",
        f"--root-dir={paths.kubelet}",
        f"--cert-dir={paths.kubelet}/pki",
        f"--hostname-override={paths.name}",
        f"--node-ip={NODE_IP}",
    )
    api = ("kube-apiserver",)
    return [
        Program("containerd", containerd, ready=f"unix:{CONTAINERD_SOCKET}"),
        Program("pause-image", (*ctr, "images", "import", f"{config}/pause.tar"), needs=("containerd",), once=True),
        Program(
            "registry",
            (str(programs.path("registry")), "serve", f"{config}/registry.yml"),
            ready=f"http://127.0.0.1:{REGISTRY_PORT}/v2/",
            env={"OTEL_TRACES_EXPORTER": "none"},
        ),
        Program(
            "kube-scheduler",
            (
                str(programs.path("kube-scheduler")),
                f"--kubeconfig={config}/scheduler.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ),
            needs=api,
            ready="https://127.0.0.1:10259/healthz",
        ),
        Program("kubelet", kubelet, needs=(*api, "pause-image"), ready="http://127.0.0.1:10248/healthz"),
        Program(
            "kube-proxy",
            (str(programs.path("kube-proxy")), f"--config={config}/kube-proxy.yaml"),
            needs=("node-registered",),
            ready="http://127.0.0.1:10256/livez",
        ),
        Program(
            "node-registered",
            (*kubectl, "wait", "--for=create", f"node/{paths.name}", "--timeout=60s"),
            needs=("kubelet",),
            once=True,
        ),
        Program(
            "node-ready",
            (*kubectl, "wait", "--for=condition=Ready", f"node/{paths.name}", "--timeout=60s"),
            needs=("node-registered",),
            once=True,
        ),
    ]


def dns_programs(programs: Programs, paths: ClusterPaths) -> list[Program]:
    argv = (str(programs.path("coredns")), "-conf", f"{paths.config}/Corefile")
    return [Program("dns", argv, needs=("kube-apiserver",), ready="http://127.0.0.1:8181/ready")]


def gateway_programs(programs: Programs, paths: ClusterPaths) -> list[Program]:
    config, kubectl = paths.config, _kubectl(programs, paths)
    # The files come from the modules as they are: checking them against the schema would first download all of it.
    apply = (*kubectl, "apply", "--server-side", "--force-conflicts", "--validate=false")
    contour = str(programs.path("contour"))
    serve = (
        *(contour, "serve", f"--kubeconfig={config}/admin.kubeconfig", f"--config-path={config}/contour.yaml"),
        *("--xds-address=127.0.0.1", f"--xds-port={XDS_PORT}", "--insecure", "--disable-leader-election"),
        *("--health-address=127.0.0.1", "--health-port=8003", "--http-address=127.0.0.1", "--http-port=8004"),
        *("--stats-address=127.0.0.1", "--stats-port=8002", "--debug-http-port=8005"),
        f"--envoy-service-http-port={GATEWAY_PORT}",
        f"--ingress-status-address={NODE_IP}",
    )
    bootstrap = (
        *(contour, "bootstrap", f"{config}/envoy.json", "--xds-address=127.0.0.1", f"--xds-port={XDS_PORT}"),
        *("--admin-address=/run/envoy/admin.sock", "--xds-resource-version=v3", "--dns-lookup-family=v4"),
    )
    envoy = (str(programs.path("envoy")), "-c", f"{config}/envoy.json", "--service-cluster", "envoy")
    wait = (*kubectl, "wait", "--namespace=gateway-system", "--for=condition=Programmed", "gateway/rewriter")
    crds = str(programs.crds("gateway"))
    established = (*kubectl, "wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
    return [
        Program("gateway-crds", (*apply, "-f", crds), needs=("kube-apiserver",), once=True),
        Program("gateway-crds-served", established, needs=("gateway-crds",), once=True),
        Program(
            "gateway-object",
            (*apply, "-f", str(PACKAGE / "manifests" / "gateway.yaml")),
            needs=("gateway-crds-served",),
            once=True,
        ),
        Program("contour", serve, needs=("gateway-crds-served",), ready="http://127.0.0.1:8003/healthz"),
        Program("envoy-bootstrap", bootstrap, once=True),
        Program(
            "envoy",
            (*envoy, "--service-node", paths.name, "--log-level", "warn", "--concurrency", "2"),
            needs=("envoy-bootstrap", "contour"),
            ready="http://127.0.0.1:8002/ready",
        ),
        Program("gateway-programmed", (*wait, "--timeout=30s"), needs=("gateway-object", "contour"), once=True),
    ]


def _kubectl(programs: Programs, paths: ClusterPaths) -> tuple[str, ...]:
    program, cache = str(programs.path("kubectl")), f"{paths.config}/kubectl-cache"
    return (program, f"--kubeconfig={paths.config}/admin.kubeconfig", f"--cache-dir={cache}")
