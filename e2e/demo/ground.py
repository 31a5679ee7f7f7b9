"""What a run on the cluster stands on: the cluster, and the images in its registry."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from e2e.cluster import Cluster, ensure
from e2e.cluster.images import build, publish
from e2e.demo.install import IMAGES

CLUSTER_NAME: Final = "demo"


@dataclass(frozen=True)
class Ground:
    """A running cluster, and the references of the images in its registry."""

    cluster: Cluster
    images: Mapping[str, str]


def prepare_ground() -> Ground:
    """Start what does not run and build what is not there.

    Images are built beside the cluster, because either leaves a core idle most of the time when nothing is cached; and
    one is pushed while the next is built.
    """
    builder = ThreadPoolExecutor(1)
    try:
        built = [builder.submit(build, [name]) for name in IMAGES]
        cluster = ensure(CLUSTER_NAME)
        images: dict[str, str] = {}
        for image in built:
            images |= publish(cluster.registry, image.result(), cluster.node_registry)
        return Ground(cluster, images)
    finally:
        builder.shutdown(cancel_futures=True)
