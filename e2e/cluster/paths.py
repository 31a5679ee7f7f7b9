"""Where a cluster keeps its files, for every module here. Nothing outside of the cache directory is ever written."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError

# A name becomes a directory, a node name and a control group: a DNS label that leaves room for a prefix.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parent


def cache_root() -> Path:
    """The directory of everything that survives a run: `REWRITER_CACHE`, or `~/.cache/rewriter-operator`."""
    configured = os.environ.get("REWRITER_CACHE")
    return Path(configured).resolve() if configured else Path.home() / ".cache" / "rewriter-operator"


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster, all under `<cache>/clusters/<name>/`."""

    root: Path

    @classmethod
    def of(cls, name: str) -> "ClusterPaths":
        if not NAME.fullmatch(name):
            raise ClusterError(f"cluster name {name!r} is not a DNS label of at most 30 characters, such as 'demo'")
        return cls(cache_root() / "clusters" / name)

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Rendered configuration files, rewritten at each start."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def kubelet(self) -> Path:
        return self.root / "kubelet"

    @property
    def containerd(self) -> Path:
        """The node's image store; kept between starts."""
        return self.root / "containerd"

    @property
    def registry(self) -> Path:
        """The registry's blobs; kept between starts."""
        return self.root / "registry"

    @property
    def volume(self) -> Path:
        """For hostPath PersistentVolumes; kept between starts."""
        return self.root / "volume"

    @property
    def kubeconfig(self) -> Path:
        """For processes of the host: goes through the relay."""
        return self.root / "kubeconfig"

    @property
    def state(self) -> Path:
        """Who supervises this cluster and which host ports it has (see `state.py`)."""
        return self.root / "state.json"

    @property
    def progress(self) -> Path:
        """One JSON line per part that became ready, or per failure; a new file at each start."""
        return self.root / "progress.jsonl"

    @property
    def lock(self) -> Path:
        return self.root / "lock"


def existing_clusters() -> list[str]:
    """The names of all clusters that have files in the cache, running or not."""
    parent = cache_root() / "clusters"
    return sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []
