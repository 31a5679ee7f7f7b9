"""What both sides stand on: a control plane of the bench's own, a node for stand-ins, identities, a directory."""

import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from e2e.cluster import ClusterError, ControlPlane
from e2e.cluster.paths import REPOSITORY
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_setup import install


@dataclass(frozen=True)
class Ground:
    """A running API server, and the bench's way to it."""

    plane: ControlPlane
    client: ClusterClient
    directory: Path
    """Logs, the volume, kubeconfigs."""
    repository: Path = REPOSITORY

    async def new_namespace(self, name: str) -> None:
        """Make it, and wait until pods can be created in it."""
        await self.client.create("Namespace", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.plane.kubectl("-n", name, "wait", "--for=create", "--timeout=60s", "serviceaccount/default")

    def kubeconfig_of(self, namespace: str, service_account: str) -> Path:
        """The way of a service account, with the rights that it was given and no others."""
        config = yaml.safe_load(self.plane.kubeconfig.read_text())
        token = self.plane.kubectl("-n", namespace, "create", "token", service_account, "--duration=24h").strip()
        for user in config["users"]:
            user["user"] = {"token": token}
        path = self.directory / f"{service_account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path


def _install(plane: ControlPlane) -> None:
    """On a busy machine a CRD that was just made has no conditions yet, and `kubectl wait` takes that for an error."""
    for left in range(4, -1, -1):
        try:
            return install(plane)
        except ClusterError:
            if not left:
                raise
            time.sleep(2)


@asynccontextmanager
async def prepared(plane: ControlPlane) -> AsyncIterator[Ground]:
    """The CRDs, the stand-ins' node, and a directory that goes when all went well."""
    _install(plane)
    directory = Path(tempfile.mkdtemp(prefix="scale-"))
    client = ClusterClient.of(plane.kubeconfig)
    try:
        yield Ground(plane, client, directory)
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        await client.close()
