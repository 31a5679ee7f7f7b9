"""Measures the trainer beside TRL's: `python -m e2e.bench.trainer` writes build/bench/trainer.json.

Both sides run in the trainer image, one after the other, on the same volume contents. About 15 minutes on two cores.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from e2e.bench.base_model import base_model
from e2e.bench.results import end_plainly, show_result
from e2e.bench.trainer.figures import report
from e2e.bench.trainer.runs import Run
from e2e.bench.trainer.workload import Setting
from e2e.checkout_in_image import packages_beside, run_checkout
from e2e.cluster.paths import REPOSITORY
from rewriter_contract import wire

RESULT: Final = REPOSITORY / "build" / "bench" / "trainer.json"
PEER: Final = Path(__file__).with_name("requirements.txt")


def peer_pins() -> list[str]:
    """TRL and what it needs beside the image's packages."""
    return [line for line in PEER.read_text().splitlines() if not line.startswith("#")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    setting = Setting(queries=arguments.queries, pairs_per_step=arguments.pairs_per_step)
    model, peer = base_model(), packages_beside("bench-trainer", peer_pins(), dependencies=False)
    with tempfile.TemporaryDirectory(prefix="rewriter-bench-") as temporary:
        os.chmod(temporary, 0o777)
        inside = ["python3", "-m", "e2e.bench.trainer.inside", "--model=/tmp/model", "--out=/tmp/out/runs.json"]
        inside += [f"--rounds={arguments.rounds}", f"--setting={wire.dumps(setting)}"]
        binds = [f"{model}:/tmp/model", f"{temporary}:/tmp/out"]
        if code := run_checkout("trainer", inside, binds, packages=peer):
            sys.exit(code)
        runs = json.loads((Path(temporary) / "runs.json").read_text())
    by_series: dict[str, dict[str, list[Run]]] = {"equal": {}, "speed": {}}
    for row in runs:
        series = by_series[row.pop("series")]
        row |= {name: tuple(row[name]) for name in ("losses", "step_s", "step_cpu_s")}
        series.setdefault(row["side"], []).append(Run(**row))
    equal = {side: made[0] for side, made in by_series["equal"].items()}
    made = report(setting, equal, by_series["speed"], len(os.sched_getaffinity(0)))
    show_result(RESULT, made, ("_ratio", "_difference"))


if __name__ == "__main__":
    end_plainly(main)
