"""Regenerates the requirements.lock files of the container images: `python -m e2e.cluster.image_build.lock`.

All images are resolved together first, so that a package which two images share has one version and one layer.
Needs `uv` on PATH. Never runs during a build: builds install exactly what the committed locks say, hashes included.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.paths import REPOSITORY

OVERRIDES = REPOSITORY / "e2e/cluster/image_build/overrides.txt"
TORCH = "trainer_image/torch.in"
ML_INPUTS = ("trainer_image/requirements.in", "sampler_image/requirements.in", "e2e/demo/requirements.in")
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


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        shared = Path(scratch) / "shared.txt"
        resolve([TORCH, *ML_INPUTS], shared, hashes=False)
        resolve([TORCH], REPOSITORY / "trainer_image/torch.lock", shared)
        for source in ML_INPUTS:
            resolve([TORCH, source], REPOSITORY / Path(source).with_suffix(".lock"), shared)
    resolve([OPERATOR_INPUT], REPOSITORY / OPERATOR_LOCK)


if __name__ == "__main__":
    main()
