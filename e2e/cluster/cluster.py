"""What tests and the demo hold in their hands: a running cluster, or only a control plane."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster.errors import ClusterError


@dataclass(frozen=True)
class ControlPlane:
    """A real API server with etcd and the controller manager, for tests that need no pods."""

    name: str
    kubeconfig: Path
    kubectl_program: Path
    stop: Callable[[], None]
    kubectl_cache: Path | None = field(default=None, kw_only=True)
    """Where kubectl keeps which kinds there are. Its own place goes by host and port, and a port that is freely chosen
    had another API server an hour ago."""

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Runs kubectl against this cluster; returns what it printed, or raises with what it complained about."""
        cache = [f"--cache-dir={self.kubectl_cache}"] if self.kubectl_cache else []
        command = [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *cache, *arguments]
        done = subprocess.run(command, input=input, capture_output=True, text=True)
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def down(self) -> None:
        """Ends it and waits until nothing of it is left. What the cache keeps stays."""
        self.stop()


@dataclass(frozen=True)
class Cluster(ControlPlane):
    """A cluster with a node, DNS, a Gateway and a registry."""

    # "http://127.0.0.1:PORT": Envoy's HTTP listener, as the host reaches it.
    gateway: str
    # "127.0.0.1:PORT": where the host pushes images, over plain HTTP.
    registry: str
    # The same registry in the names that pods use for their images.
    node_registry: str
    # The same path on the host and on the node, for hostPath PersistentVolumes; None where the node is out of reach.
    volume_dir: Path | None
    # A command prefix that runs what follows inside the cluster's namespaces; empty where there are none.
    enter: Sequence[str]

    def exec(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command of the host inside of the cluster's namespaces, where pod and Service addresses are routed."""
        if not self.enter:
            raise ClusterError(f"cluster {self.name!r} has no namespaces on this machine to run {command[0]!r} in")
        return subprocess.run([*self.enter, *command], capture_output=True, text=True)
