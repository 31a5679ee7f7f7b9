"""What buildah leaves mounted is found, the newest first, and nothing else is."""

from pathlib import Path

import pytest

from e2e.cluster.image_build.store_mounts import mounts_below

STORE = Path("/root/.cache/rewriter-operator/containers")
MOUNTINFO = [
    "21 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
    f"90 21 254:0 {STORE}/storage/overlay {STORE}/storage/overlay rw,relatime - ext4 /dev/vda rw",
    f"91 90 0:50 / {STORE}/storage/overlay/f1/merged rw - overlay overlay rw,lowerdir=l/A:l/B",
    f"92 21 0:51 / {STORE}-other rw - tmpfs tmpfs rw",
    f"93 21 0:52 / {STORE}/a\\040b\\134c rw - tmpfs tmpfs rw",
]


def test_only_mounts_of_the_store_are_found_and_the_inner_ones_come_first() -> None:
    overlay = f"{STORE}/storage/overlay"
    assert mounts_below(STORE, MOUNTINFO) == [f"{STORE}/a b\\c", f"{overlay}/f1/merged", overlay]


@pytest.mark.parametrize("lines", [[], MOUNTINFO[:1]])
def test_a_store_without_mounts_has_none(lines: list[str]) -> None:
    assert mounts_below(STORE, lines) == []
