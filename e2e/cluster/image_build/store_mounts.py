"""Mounts that buildah leaves on its store.

Its overlay driver binds the store's directory to itself and never takes that back; a build that was killed leaves the
file systems of its containers. With either, the cache cannot be removed ("Device or resource busy").
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")


def release_store(store: Path) -> list[str]:
    """Unmount what is mounted below `store`; what a build still uses stays. Returns what was unmounted.

    A machine without Linux's list of mounts has no buildah either.
    """
    if not MOUNTS.exists():
        return []
    below = mounts_below(store, MOUNTS.read_text().splitlines())
    return [place for place in below if subprocess.run(["umount", place], capture_output=True).returncode == 0]


def mounts_below(store: Path, mountinfo: Iterable[str]) -> list[str]:
    """Mount points below `store`, the newest first; lines as in proc_pid_mountinfo(5)."""
    places = [_unescaped(line.split()[4]) for line in mountinfo]
    return [place for place in reversed(places) if Path(place).is_relative_to(store)]


def _unescaped(text: str) -> str:
    """Space, tab, line break and backslash stand there as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
