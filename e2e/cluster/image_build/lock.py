"""Regenerates the requirements.lock files of the container images: `python -m e2e.cluster.image_build.lock`.

All images are resolved together first, so that a package which two images share has one version and one layer.
Needs `uv` on PATH. Never runs during a build: builds install exactly what the committed locks say, hashes included.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.paths import REPOSITORY

OVERRIDES = REPOSITORY / "e2e/cluster/image_build/overrides.txt"
TORCH = "trainer_image/torch.in"
ML_INPUTS = ("trainer_image/requirements.in", "sampler_image/requirements.in", "e2e/demo/requirements.in")
ENTRY = re.compile(r"^\S+==.*\n(?:    .*\n)*", re.MULTILINE)
OPERATOR_INPUT = "pyproject.toml"
OPERATOR_LOCK = "operator/requirements.lock"


def resolve(inputs: Sequence[str], output: Path, constraints: Path | None = None, hashes: bool = True) -> None:
    """Writes the versions of `inputs` and of all they need, for Debian bookworm's Python and C library."""
    command = ["uv", "pip", "compile", "--quiet", "--no-annotate", "--python-version=3.11"]
    command += ["--python-platform=x86_64-manylinux_2_36", f"--override={OVERRIDES}", f"--output-file={output}"]
    command += ["--custom-compile-command=python -m e2e.cluster.image_build.lock"]
    command += ["--generate-hashes"] if hashes else []
    command += [f"--constraint={constraints}"] if constraints else []
    subprocess.run([*command, *inputs], check=True, cwd=REPOSITORY)


def without(lock: str, shared: str) -> str:
    """`lock` less the entries of the layer below, so that each package is written in one lock and one layer only."""
    below = set(ENTRY.findall(shared))
    return ENTRY.sub(lambda entry: "" if entry.group() in below else entry.group(), lock)


def main() -> None:
    torch_lock = REPOSITORY / "trainer_image/torch.lock"
    with tempfile.TemporaryDirectory() as scratch:
        shared = Path(scratch) / "shared.txt"
        resolve([TORCH, *ML_INPUTS], shared, hashes=False)
        resolve([TORCH], torch_lock, shared)
        for source in ML_INPUTS:
            lock = REPOSITORY / Path(source).with_suffix(".lock")
            resolve([TORCH, source], lock, shared)
            lock.write_text(without(lock.read_text(), torch_lock.read_text()))
    resolve([OPERATOR_INPUT], REPOSITORY / OPERATOR_LOCK)


if __name__ == "__main__":
    main()
