"""Whose directory on the volume this is: release.json names the one release that may use it.

Two releases over one `spec.volume.subPath` would number their cycles over each other, promote into one promoted.json
and remove each other's weights. The one that came first keeps it, also when it is created again under its name.
"""

import json
import os
from pathlib import Path

from rewriter_contract import volume
from rewriter_contract.messages import Problem
from rewriter_contract.shards import sync_directory


def owner_problem(root: Path, release: str) -> Problem | None:
    """Why `release` may not use this directory; None where it is its own, or nobody's yet."""
    path = root / volume.OWNER
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))["release"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        message = f"{volume.OWNER} in the directory of spec.volume.subPath cannot be read; restore it, or remove it"
        return Problem("VolumeOwnerInvalid", message)
    if owner == release:
        return None
    message = (
        f"spec.volume.subPath: the directory belongs to RewriterRelease {str(owner)[:63]!r}, says its {volume.OWNER}; "
        "give this release another subPath, or remove that file if the other release is gone for good"
    )
    return Problem("VolumeTaken", message)


def claim(root: Path, release: str) -> Problem | None:
    """Make the directory this release's, if it is nobody's; of two that do it at once one gets the problem."""
    try:
        descriptor = os.open(root / volume.OWNER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return owner_problem(root, release)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"release": release}, file)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(root)
    return None


def is_used(root: Path) -> bool:
    """Whether a cycle was here before there were owners."""
    return (root / "cycles").is_dir() or (root / volume.PROMOTED).exists()
