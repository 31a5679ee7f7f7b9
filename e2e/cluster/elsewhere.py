"""CLUSTER=kind and CLUSTER=existing: the same manifests on a cluster that this module did not make from parts."""

import os
import shutil
import subprocess
from pathlib import Path

from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import Tell
from e2e.cluster.paths import PACKAGE, ClusterPaths


def existing(name: str) -> Cluster:
    """Whatever KUBECONFIG names, with a registry and a Gateway that its owner has set up. `down` leaves it alone."""
    kubectl = _program("kubectl")
    kubeconfig = Path(_variable("KUBECONFIG", "the kubeconfig file of the cluster")).resolve()
    registry = _variable("REGISTRY", "the registry that this machine pushes to and the nodes pull from, HOST:PORT")
    gateway = _variable("GATEWAY_URL", "the address of Gateway gateway-system/rewriter, http://HOST:PORT")
    return Cluster(name, kubeconfig, kubectl, _leave_alone, gateway, registry, registry, None, ())


def kind(name: str, tell: Tell) -> Cluster:
    """A `kind` cluster of this name. kind brings neither a registry nor a Gateway, so both must be named."""
    program, kubectl = _program("kind"), _program("kubectl")
    registry = _variable("REGISTRY", "a registry that Docker's `kind` network reaches, HOST:PORT")
    gateway = _variable("GATEWAY_URL", "where the Gateway of this kind cluster is reached from here, http://HOST:PORT")
    paths = ClusterPaths.of(f"kind-{name}")
    paths.volume.mkdir(parents=True, exist_ok=True)
    present = subprocess.run([program, "get", "clusters"], check=True, capture_output=True, text=True)
    if name not in present.stdout.split():
        config = (PACKAGE / "manifests" / "kind.yaml").read_text().replace("VOLUME_DIR", str(paths.volume))
        create = [
            str(program),
            "create",
            "cluster",
            "--name",
            name,
            "--kubeconfig",
            str(paths.kubeconfig),
            "--config",
            "-",
        ]
        subprocess.run(create, input=config, text=True, check=True)
        tell("kind", "created", 0.0)

    def delete() -> None:
        subprocess.run([program, "delete", "cluster", "--name", name], check=True)

    return Cluster(name, paths.kubeconfig, kubectl, delete, gateway, registry, registry, paths.volume, ())


def _leave_alone() -> None:
    """The cluster belongs to somebody else: ending a test run must not end it."""


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ClusterError(f"CLUSTER={os.environ['CLUSTER']} needs the program {name!r} on PATH: install it")
    return Path(found)


def _variable(name: str, meaning: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ClusterError(f"CLUSTER={os.environ['CLUSTER']} needs the environment variable {name}: {meaning}")
    return value
