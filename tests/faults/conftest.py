"""The control plane that all plans and stories of a session are played on."""

import os
from collections.abc import Iterator

import pytest

from e2e.cluster import ControlPlane
from tests.faults.cluster_setup import install, own_plane


@pytest.fixture(scope="session")
def api() -> Iterator[ControlPlane]:
    """As `python -m tests.faults` has it, with the CRDs and the node."""
    plane = own_plane(os.getpid())
    try:
        install(plane)
        yield plane
    finally:
        plane.down()
