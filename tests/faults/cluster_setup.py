"""What an API server needs before a release can be created on it, and a node for its pods to be bound to."""

import json
import subprocess
from pathlib import Path

from e2e.cluster import ControlPlane, control_plane
from e2e.cluster.established import until_established
from e2e.cluster.parts import PARTS, GoPart
from tests.faults.kubelet import NODE

ROOT = Path(__file__).parents[2]
HTTP_ROUTES = "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"

VIRTUAL_SERVICES = ROOT / "tests/virtual_services.yaml"


def own_plane(owner: int) -> ControlPlane:
    """The control plane of a process, which ends with it.

    Without EndpointSlices, that nobody here asks for: the loopback addresses of stand-ins are refused, and each Service
    would be tried again and told of in an Event for as long as a run lasts.
    """
    return control_plane("faults", until_exit_of=owner, watch_cache=False, endpoints=False)


def install(plane: ControlPlane) -> None:
    """The CRDs of the operator, of HTTPRoute and of VirtualService, and the node."""
    plane.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
    plane.kubectl("apply", "--server-side", "-f", str(_gateway_api() / HTTP_ROUTES))
    plane.kubectl("apply", "--server-side", "-f", str(VIRTUAL_SERVICES))
    until_established(plane, "crd", "--all")
    add_node(plane)


def add_node(plane: ControlPlane) -> None:
    """The node that stand-in pods are bound to: pods of a node that does not exist are collected after a minute."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}}
    plane.kubectl("apply", "-f", "-", input=json.dumps(node))
    plane.kubectl("wait", "--for=create", "--timeout=60s", "namespace/kube-node-lease")
    plane.kubectl("-n", "kube-node-lease", "apply", "-f", "-", input=json.dumps(lease))


def _gateway_api() -> Path:
    """Source of the Go module that the cluster's gateway is built with: its CRDs, without building anything."""
    (part,) = [part for part in PARTS if isinstance(part, GoPart) and part.name == "gateway"]
    command = ["go", "mod", "download", "-json", "sigs.k8s.io/gateway-api"]
    done = subprocess.run(command, cwd=part.module, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])
