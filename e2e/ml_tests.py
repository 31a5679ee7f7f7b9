"""Runs the tests marked `ml` inside the images whose code they test: what is tested is what ships.

pytest and the other test tools are put beside the image's packages.
"""

from pathlib import Path

from e2e.checkout_in_image import packages_beside, run_checkout

SUITES = {"sampler": ("tests/sampler",), "trainer": ("tests/trainer",), "demo": ("tests/demo",)}
"""In the order in which images are built: without a cache, one is tested while the next is made."""
SIDE_BY_SIDE = {"trainer": 2}
"""Workers that share an image's suite file by file. The trainer's tests mostly run phases, whose processes load torch
on one core; those of one file share what was trained once, and the port at which the workers of a phase meet."""
ONE_THREAD = ("env", "OMP_NUM_THREADS=1")
"""Threads of torch that wait for a core turn on it: two processes with two each take longer than with one each."""
TOOLS = ("pytest==9.2.0", "pytest-xdist==3.8.0", "hypothesis==6.170.15")


def run_in_images(results: Path) -> int:
    """Run all suites; junit files go to `results`. Returns the worst exit code."""
    worst = 0
    for image, suites in SUITES.items():
        worst = max(worst, _run(image, suites, results / f"ml-{image}.xml"))
    return worst


def _run(image: str, suites: tuple[str, ...], junit: Path) -> int:
    options = ["-q", "-m", "ml", "-p", "no:cacheprovider", "--junitxml=junit.xml"]
    if workers := SIDE_BY_SIDE.get(image):
        options += ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    pytest = [*(ONE_THREAD if workers else ()), "python3", "-m", "pytest", *options, *suites]
    return run_checkout(image, pytest, packages=packages_beside("test-tools", TOOLS), results=[("junit.xml", junit)])
