"""Control planes that belong to a run: its neighbours' are left alone, and what a killed run left is collected."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.cluster import api_only
from e2e.cluster.state import ClusterState, write_state


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REWRITER_CACHE", str(tmp_path))
    return tmp_path / "clusters"


def pid_of_nobody() -> int:
    """Of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def left_behind(cache: Path, name: str) -> Path:
    """The directory of a control plane whose supervisor was killed."""
    directory = cache / name
    (directory / "etcd").mkdir(parents=True)
    write_state(directory / "state.json", ClusterState(pid_of_nobody(), 1, 0, 0, 0, 0))
    return directory


def test_what_a_killed_run_left_is_removed_and_nothing_else(cache: Path) -> None:
    nobody = pid_of_nobody()
    leftovers = [left_behind(cache, f"api-{purpose}-of-{nobody}") for purpose in ("integration", "faults")]
    of_a_living_run = left_behind(cache, f"api-integration-of-{os.getpid()}")
    of_no_run, cluster = left_behind(cache, "api-mine"), left_behind(cache, "demo")
    api_only.collect_leftovers()
    assert not any(directory.exists() for directory in leftovers)
    assert of_a_living_run.exists() and of_no_run.exists() and cluster.exists()


def test_the_files_of_a_runs_own_control_plane_go_when_it_is_ended(cache: Path) -> None:
    own, named = left_behind(cache, f"api-integration-of-{os.getpid()}"), left_behind(cache, "api-mine")
    api_only.down(f"integration-of-{os.getpid()}")
    api_only.down("mine")
    assert not own.exists() and named.exists()
