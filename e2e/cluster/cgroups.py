"""The control group of a cluster: made before its kubelet starts, removed with everything below it afterwards."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V2_CONTROLLERS = ("cpuset", "cpu", "memory", "pids", "hugetlb", "io")


def _hierarchies() -> list[Path]:
    """Version 2 has one tree; version 1 one for each mounted controller."""
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [d for d in ROOT.iterdir() if d.is_dir() and not d.is_symlink() and (d / "cgroup.procs").exists()]


def create(name: str) -> None:
    for hierarchy in _hierarchies():
        if (hierarchy / "cgroup.subtree_control").exists():
            _delegate(hierarchy)
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        if (group / "cgroup.subtree_control").exists():
            _delegate(group)
        if (group / "cpuset.cpus").exists() and not (group / "cpuset.cpus").read_text().strip():
            # A version 1 cpuset starts empty and refuses every process until both are set.
            for setting in ("cpuset.cpus", "cpuset.mems"):
                inherited = (hierarchy / setting).read_text()
                (group / setting).write_text(inherited)


def _delegate(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    for controller in V2_CONTROLLERS:
        if controller in available:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str, patience_seconds: float = 5.0) -> None:
    """Removes the group in every hierarchy. The kernel lets go of a group only when its last process is reaped."""
    deadline = time.monotonic() + patience_seconds
    for hierarchy in _hierarchies():
        group = hierarchy / name
        while group.exists() and not _remove_tree(group) and time.monotonic() < deadline:
            time.sleep(0.05)


def _remove_tree(group: Path) -> bool:
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
    except OSError:
        return False
    return True
