"""Runs the tests marked `ml` inside the images whose code they test: what is tested is what ships.

pytest and the other test tools are put beside the image's packages; what is tested is a copy of the checkout, because
the sandbox's user may not read the checkout's parents.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from e2e.cluster.image_build.sandbox import run
from e2e.cluster.paths import REPOSITORY, cache_root

SUITES = {"trainer": ("tests/trainer",), "sampler": ("tests/sampler",), "demo": ("tests/demo",)}
TOOLS = ("pytest==9.2.0", "hypothesis==6.170.15")


def run_in_images(results: Path) -> int:
    """Run all suites; junit files go to `results`. Returns the worst exit code."""
    worst = 0
    for image, suites in SUITES.items():
        worst = max(worst, _run(image, suites, results / f"ml-{image}.xml"))
    return worst


def _run(image: str, suites: tuple[str, ...], junit: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="rewriter-ml-") as temporary:
        work = Path(temporary)
        for name in ("operator", "trainer_image", "sampler_image", "e2e", "tests", "pyproject.toml"):
            _copy(REPOSITORY / name, work / name)
        subprocess.run(["chmod", "-R", "a+rwX", temporary], check=True)
        inside = "/tmp/checkout"
        environment = [
            "env",
            f"PYTHONPATH=/tmp/tools:{inside}/operator:{inside}/trainer_image:{inside}/sampler_image:{inside}",
        ]
        options = ["-q", "-m", "ml", "-p", "no:cacheprovider", "--junitxml=junit.xml"]
        pytest = ["python3", "-m", "pytest", *options, *suites]
        script = f"cd {inside} && exec {' '.join([*environment, *pytest])}"
        code = run(image, ["sh", "-c", script], [f"{work}:{inside}", f"{_tools()}:/tmp/tools"])
        if (work / "junit.xml").exists():
            shutil.copy(work / "junit.xml", junit)
        return code


def _copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.lock"))
    else:
        shutil.copy(source, destination)


def _tools() -> Path:
    """A directory with the test tools, filled once per set of versions."""
    directory = cache_root() / "test-tools" / "+".join(TOOLS).replace("==", "-")
    if not (directory / ".complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(directory), *TOOLS]
        subprocess.run(command, check=True)
        (directory / ".complete").touch()
    return directory
