"""A volume whose file system does what a test says; skipped, with the reason, where there is no FUSE."""

import ctypes.util
import errno
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class FaultyVolume:
    """A mounted directory, and the file by which its faults are set."""

    root: Path
    control: Path

    def works(self) -> None:
        """No faults."""
        self._set({})

    def fails(self, *calls: str, error: int, after: int = 0) -> None:
        """These calls fail, but for the first `after` of them."""
        self._set({"calls": calls, "error": error, "after": after})

    def hangs(self, *calls: str) -> None:
        """These calls are not answered."""
        self._set({"calls": calls, "hang": True})

    def calls(self) -> list[str]:
        """What was called since `works`, `fails` or `hangs`."""
        return self._noted.read_text().split() if self._noted.exists() else []

    @property
    def _noted(self) -> Path:
        return self.control.with_suffix(".calls")

    def _set(self, fault: dict[str, object]) -> None:
        self._noted.unlink(missing_ok=True)
        fresh = self.control.with_suffix(".new")
        fresh.write_text(json.dumps(fault))
        fresh.rename(self.control)


def missing() -> str:
    """What FUSE lacks here; empty where nothing."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed (pip install -e '.[dev]')"
    if ctypes.util.find_library("fuse3") is None and ctypes.util.find_library("fuse") is None:
        return "libfuse is not installed (Debian: fuse3)"
    return ""


@pytest.fixture(scope="session")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyVolume]:
    """One mount for all tests of a process."""
    if missing():
        pytest.skip(missing())
    directory = tmp_path_factory.mktemp("faulty")
    source, mount, control = (directory / name for name in ("source", "mount", "control.json"))
    source.mkdir()
    mount.mkdir()
    volume = FaultyVolume(mount, control)
    volume.works()
    command = [sys.executable, "-m", "tests.faulty_volume.file_system", str(source), str(mount), str(control)]
    said = directory / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, stderr=stderr)
    try:
        end = time.monotonic() + 10
        while not mount.is_mount():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                pytest.skip(f"FUSE mounts nothing here: {said.read_text()[-300:]}")
            time.sleep(0.02)
        yield volume
    finally:
        volume.works()
        subprocess.run(["fusermount3", "-u", "-z", str(mount)], check=False, capture_output=True)
        process.kill()
        process.wait()


@pytest.fixture
def volume(mounted: FaultyVolume, request: pytest.FixtureRequest) -> Iterator[FaultyVolume]:
    """A directory of this test's own on the mounted volume."""
    mounted.works()
    root = mounted.root / f"{abs(hash(request.node.nodeid)):x}"
    root.mkdir()
    yield FaultyVolume(root, mounted.control)
    mounted.works()


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB that can really be full."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


FULL, BROKEN, STALE, READ_ONLY = errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EROFS
