"""Learning curves: `python -m e2e.bench.curves` writes build/bench/curves.json and curves.html.

Samples that are drawn once (offline), once per phase (semi-online, as the product) and before every step (online):
the same tiny model, queries, steps and optimizer. Held-out reward and gold by step. A directory in BEIR layout adds a
collection, with a base model of its own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from e2e.bench.curves.figures import Curve, Point, report
from e2e.bench.curves.page import page
from e2e.bench.curves.ways import PHASE, QUERIES, STEPS
from e2e.bench.results import end_plainly, write_result
from e2e.bench.trained.__main__ import PACKAGES
from e2e.checkout_in_image import packages_beside, run_checkout
from e2e.cluster.paths import REPOSITORY
from e2e.demo.profiles import TINY

RESULT: Final = REPOSITORY / "build" / "bench" / "curves.json"
SHOP: Final = REPOSITORY / "e2e" / "data" / "shop"
LONG: Final = 48
"""Tokens of a rewrite where queries are sentences."""
ONE_THREAD: Final = ("env", "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1")


def run_collection(work: Path, collection: Path, max_tokens: int, seeds: list[int]) -> list[Curve]:
    """Make the base once, then play the seeds side by side, one thread each."""
    name = collection.name
    for directory in (work, work / "collection"):
        directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(collection, work / "collection", dirs_exist_ok=True)
    subprocess.run(["chmod", "-R", "a+rwX", work], check=True)
    beside = packages_beside("bench-trained", PACKAGES, dependencies=False)
    inside = [
        *(
            *ONE_THREAD,
            "python3",
            "-m",
            "e2e.bench.curves.inside",
            "--work=/tmp/work",
            "--collection=/tmp/work/collection",
        ),
        *(f"--name={name}", f"--max-tokens={max_tokens}"),
    ]

    def run(*options: str) -> None:
        if code := run_checkout("trainer", [*inside, *options], [f"{work}:/tmp/work"], packages=beside):
            raise SystemExit(f"the runs on {name} ended with {code}")

    run("--prepare-only", "--seeds", "0")
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda seed: run("--seeds", str(seed)), seeds))
    return [_curve(json.loads(path.read_text())) for path in sorted((work / "runs").glob("*.json"))]


def _curve(made: dict[str, Any]) -> Curve:
    return Curve(**made | {"points": tuple(Point(**point) for point in made["points"])})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="further collections, BEIR layout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, help="kept between runs: base models, data, finished runs")
    arguments = parser.parse_args()
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory(prefix="rewriter-curves-") as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        os.chmod(work, 0o755)  # the image's user is another one
        for collection, tokens in ((SHOP, TINY.max_tokens), *((data, LONG) for data in arguments.data)):
            curves += run_collection(work / collection.name, collection, tokens, arguments.seeds)
    setting = (
        f"tiny Llama, {STEPS} steps of {TINY.pairs_per_step} pairs from {QUERIES} queries x {TINY.samples} samples, "
        f"learning rate {TINY.learning_rate:g}, a phase is {PHASE} steps; "
        f"seeds {', '.join(map(str, arguments.seeds))}; one optimizer through all steps; drawn with transformers"
    )
    made = {"setting": setting} | report(curves)
    write_result(RESULT, made)
    RESULT.with_suffix(".html").write_text(page(made))
    for name, found in made["collections"].items():
        for way, points in found["ways"].items():
            first, last = points[0], points[-1]
            print(
                f"{name}, {way}: log R {first['log_r']:+.3f} -> {last['log_r']:+.3f}, "
                f"nDCG@10 {first['ndcg10']:.3f} -> {last['ndcg10']:.3f}, {last['syncs']:g} syncs"
            )
    print(f"written to {RESULT} and {RESULT.with_suffix('.html').name}")


if __name__ == "__main__":
    end_plainly(main)
    sys.exit()
