"""Runs the tests marked `ml` inside the images whose code they test: what is tested is what ships.

pytest and the other test tools are put beside the image's packages.
"""

from pathlib import Path

from e2e.checkout_in_image import packages_beside, run_checkout

SUITES = {"sampler": ("tests/sampler",), "trainer": ("tests/trainer",), "demo": ("tests/demo",)}
"""In the order in which images are built: without a cache, one is tested while the next is made."""
TOOLS = ("pytest==9.2.0", "hypothesis==6.170.15")


def run_in_images(results: Path) -> int:
    """Run all suites; junit files go to `results`. Returns the worst exit code."""
    worst = 0
    for image, suites in SUITES.items():
        worst = max(worst, _run(image, suites, results / f"ml-{image}.xml"))
    return worst


def _run(image: str, suites: tuple[str, ...], junit: Path) -> int:
    options = ["-q", "-m", "ml", "-p", "no:cacheprovider", "--junitxml=junit.xml"]
    pytest = ["python3", "-m", "pytest", *options, *suites]
    return run_checkout(image, pytest, packages=packages_beside("test-tools", TOOLS), results=[("junit.xml", junit)])
