"""Runs the test tiers one after the other and says how many tests ran in each: `python -m e2e.tiers unit ml ...`.

Tiers: `unit` (pure), `ml` (torch, vLLM and DeepSpeed, inside the images that ship), `integration` (a real API server),
`faults` (the sample of crash points and faults before one), `e2e` (the demo's acts on a real cluster), and `argocd`
(the real Argo CD; not part of `make test`, because it is built for minutes). A tier that fails does not keep the next
from running; the exit code tells.
"""

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

from e2e.cluster.debian_packages import install
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import REPOSITORY

RESULTS = REPOSITORY / "build" / "tests"
THOROUGH = "REWRITER_TEST_THOROUGH"
"""Set: property tests try four times as many examples (tests/examples.py). Nobody waits for several tiers."""
NOT_UNIT = "not ml and not integration and not e2e and not argocd"


@dataclass(frozen=True)
class Result:
    """One tier."""

    tier: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_code: int

    @property
    def is_good(self) -> bool:
        """Tests ran, and all of them passed."""
        return self.exit_code == 0 and self.failed == 0 and self.passed > 0


def unit() -> int:
    """Everything without a marker."""
    return _pytest("unit", ["-m", NOT_UNIT, "-q", "-n", "2", "--dist", "worksteal", "tests"])


def ml() -> int:
    """The trainer's and the sampler's tests, each inside its image as a restricted pod would run them."""
    from e2e.ml_tests import run_in_images

    return run_in_images(RESULTS)


def integration() -> int:
    """Tests against a real API server, which all workers share: more workers than cores, as most tests mostly wait."""
    return _pytest("integration", ["-m", "integration", "-q", "-n", "4", "--dist", "loadgroup", "tests/integration"])


def faults() -> int:
    """The sample of tests/faults, in processes of its own; `make faults` plays all plans."""
    return _pytest("faults", ["-m", "integration", "-q", "tests/faults"])


def e2e() -> int:
    """Stories on a whole cluster."""
    return _pytest("e2e", ["-m", "e2e", "-q", "-s", "tests/stories"])


def argocd() -> int:
    """Stories of releases that the real Argo CD applies."""
    return _pytest("argocd", ["-m", "argocd", "-q", "-s", "tests/argocd"])


TIERS = {"unit": unit, "ml": ml, "integration": integration, "faults": faults, "e2e": e2e, "argocd": argocd}


def run(tier: str) -> Result:
    """Run one tier and count."""
    for old in RESULTS.glob(f"{tier}*.xml"):
        old.unlink()
    print(f"== {tier}", flush=True)
    started = time.monotonic()
    exit_code = TIERS[tier]()
    seconds = time.monotonic() - started
    passed = failed = skipped = 0
    for file in RESULTS.glob(f"{tier}*.xml"):
        for suite in ElementTree.parse(file).iter("testsuite"):
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            left_out = int(suite.get("skipped", 0))
            passed += int(suite.get("tests", 0)) - bad - left_out
            failed, skipped = failed + bad, skipped + left_out
    return Result(tier, passed, failed, skipped, seconds, exit_code)


def main(tiers: Sequence[str]) -> int:
    """Run the tiers; print a line for each, and a plain total."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    if len(tiers) > 1:
        os.environ[THOROUGH] = "1"
        _install_fuse()
        _build_meanwhile("parts", "e2e.cluster")
        _build_meanwhile("images", "e2e.cluster.images")
    results = [run(tier) for tier in tiers]
    print()
    for result in results:
        state = "ok" if result.is_good else f"FAILED (exit code {result.exit_code})"
        counts = f"{result.passed:5d} passed {result.failed:3d} failed {result.skipped:3d} skipped"
        print(f"{result.tier:12s} {counts} {result.seconds:7.1f} s  {state}")
    print(f"{sum(result.passed for result in results)} passed, {sum(result.failed for result in results)} failed")
    return 0 if all(result.is_good for result in results) else 1


def _install_fuse() -> None:
    """What tests/faulty_volume mounts with. Where it cannot be installed these tests are skipped, and say so."""
    if os.geteuid() == 0 and shutil.which("apt-get") and not shutil.which("fusermount3"):
        try:
            install(["fuse3"], "the tests of broken volumes are skipped without it")
        except ClusterError as error:
            print(error, flush=True)


def _build_meanwhile(what: str, module: str) -> None:
    """Without a cache, the first tiers and the builds wait for each other's network and disk, one after the other.

    A tier that needs a part or an image waits for its lock; what fails here fails there again, with its reason.
    """
    log = REPOSITORY / "build" / "logs" / f"{what}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        subprocess.Popen([sys.executable, "-m", module, "build"], cwd=REPOSITORY, stdout=output, stderr=output)


def _pytest(tier: str, arguments: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", f"--junitxml={RESULTS / f'{tier}.xml'}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling all tests anew, in each worker, takes half the tier
    return subprocess.run(command, cwd=REPOSITORY, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(TIERS)))
