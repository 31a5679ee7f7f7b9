"""Waits until an API server serves CRDs that were just applied."""

import time
from typing import Final, Protocol

from e2e.cluster.errors import ClusterError

SECONDS: Final = 60.0


class Kubectl(Protocol):
    """A cluster, or a control plane alone."""

    def kubectl(self, *arguments: str) -> str: ...


def until_established(cluster: Kubectl, *crds: str) -> None:
    """Wait for the CRDs, `crd/name` or `crd --all`.

    kubectl cannot wait for a condition where there is none at all: it ends with "accessor error" while the API server,
    busy, has not looked at the CRD yet.

    Raises:
        ClusterError: when that lasts, or for another reason.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            cluster.kubectl("wait", "--for=condition=Established", f"--timeout={SECONDS:.0f}s", *crds)
            return
        except ClusterError as error:
            if "accessor error" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.3)
