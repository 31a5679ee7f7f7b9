"""A real Kubernetes for the demo and the e2e tests, on a bare Linux machine; see README.md beside this file.

`ensure(name)` returns a running cluster of the kind that the variable CLUSTER names (local, kind, existing), and
`control_plane(name)` only an API server. Both return at once when it already runs.
"""

import os

from e2e.cluster import api_only, elsewhere, local
from e2e.cluster.cluster import Cluster, ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import Tell
from e2e.cluster.report import print_line

__all__ = ["Cluster", "ClusterError", "ControlPlane", "control_plane", "ensure"]


def ensure(
    name: str = "demo", without: frozenset[str] = frozenset(), keep_data: bool = False, tell: Tell = print_line
) -> Cluster:
    """The running cluster of this name. `without` may hold "gateway" and "dns"; `keep_data` keeps etcd's content."""
    match os.environ.get("CLUSTER", "local"):
        case "local":
            return local.up(name, tell, without, keep_data)
        case "kind":
            return elsewhere.kind(name, tell)
        case "existing":
            return elsewhere.existing(name)
        case other:
            raise ClusterError(f"CLUSTER={other!r} is none of local, kind, existing")


def control_plane(
    name: str = "integration",
    until_exit_of: int | None = None,
    tell: Tell = print_line,
    watch_cache: bool = True,
    endpoints: bool = True,
    as_shipped: bool = False,
) -> ControlPlane:
    """The running control plane of this name and of the process `until_exit_of`; it ends with `down`, or with that."""
    return api_only.up(name, tell, until_exit_of, watch_cache, endpoints, as_shipped)
