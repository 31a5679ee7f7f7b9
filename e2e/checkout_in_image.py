"""Runs a command on a copy of the checkout inside a built image, with packages of its own beside the image's.

A copy, because the sandbox's user may not read the checkout's parents.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.file_lock import exclusive
from e2e.cluster.image_build.sandbox import run
from e2e.cluster.paths import REPOSITORY, cache_root

CONTENTS = ("operator", "trainer_image", "sampler_image", "e2e", "tests", "pyproject.toml")
INSIDE = "/tmp/checkout"


def run_checkout(
    image: str,
    command: Sequence[str],
    binds: Sequence[str] = (),
    packages: Path | None = None,
    results: Sequence[tuple[str, Path]] = (),
) -> int:
    """Run `command` in the copy's root and return its exit code.

    `binds` are HOST:INSIDE, with INSIDE below /tmp. `packages` stand before the image's own. `results` are files that
    the command may leave in the copy, and where they go.
    """
    with tempfile.TemporaryDirectory(prefix="rewriter-checkout-") as temporary:
        work = Path(temporary)
        for name in CONTENTS:
            _copy(REPOSITORY / name, work / name)
        subprocess.run(["chmod", "-R", "a+rwX", temporary], check=True)
        paths = [f"{INSIDE}/{part}" for part in ("operator", "trainer_image", "sampler_image")] + [INSIDE]
        if packages:
            paths, binds = ["/tmp/packages", *paths], [*binds, f"{packages}:/tmp/packages"]
        environment = ["env", "-C", INSIDE, f"PYTHONPATH={':'.join(paths)}"]
        code = run(image, [*environment, *command], [f"{work}:{INSIDE}", *binds])
        for name, destination in results:
            if (work / name).exists():
                shutil.copy(work / name, destination)
        return code


def packages_beside(name: str, pins: Sequence[str], dependencies: bool = True) -> Path:
    """A directory with the pinned packages, and what they depend on if wanted; filled once per set of pins.

    Two runs at once fill it once.
    """
    digest = hashlib.sha256("\n".join(pins).encode()).hexdigest()
    directory = cache_root() / "packages" / f"{name}-{digest[:12]}"
    with exclusive(directory.with_suffix(".lock")):
        if not (directory / ".complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(directory)]
            subprocess.run([*pip, *([] if dependencies else ["--no-deps"]), *pins], check=True)
            (directory / ".complete").touch()
    return directory


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.lock"))
    else:
        shutil.copy(source, destination)
