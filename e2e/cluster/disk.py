"""Room for what a run writes, asked for before it starts."""

import shutil

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import cache_root


def require_disk_space(needed: int, purpose: str) -> None:
    """Refuse when the disk of the cache has less than `needed` bytes free.

    Raises:
        ClusterError: with what is free, what is needed for what, and the remedy.
    """
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise ClusterError(
            f"{root} has {free / 1024**3:.1f} GiB free, {purpose} needs {needed / 1024**3:.0f} GiB: "
            "free some, or set REWRITER_CACHE to a larger disk"
        )
