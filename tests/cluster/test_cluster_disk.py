"""A run that cannot end for want of room is refused before it starts."""

import shutil
from pathlib import Path

import pytest

from e2e.cluster.disk import require_disk_space
from e2e.cluster.errors import ClusterError


def test_too_little_room_names_what_is_free_what_is_needed_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REWRITER_CACHE", str(tmp_path))
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(ClusterError, match=r"GiB free, a node needs \d+ GiB: .*REWRITER_CACHE") as refusal:
        require_disk_space(free + 2**40, "a node")
    assert str(tmp_path) in str(refusal.value)


def test_enough_room_is_no_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REWRITER_CACHE", str(tmp_path / "new"))
    require_disk_space(1, "a node")
