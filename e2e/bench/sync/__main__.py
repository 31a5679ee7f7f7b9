"""Measures the weight sync beside plain copies: `python -m e2e.bench.sync` writes build/bench/sync.json.

Publishing runs in the trainer image, reloading in the sampler image with a real vLLM engine, on one volume; each beside
the plain thing, in turn. `--tiny` takes a narrow model: a look at the machinery, whose ratios mean nothing.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from e2e.bench.base_model import BenchModel, base_model
from e2e.bench.results import end_plainly, show_result
from e2e.bench.sync.figures import Measured, PhaseShape, report
from e2e.bench.sync.rounds import Rounds
from e2e.checkout_in_image import run_checkout
from e2e.cluster.paths import REPOSITORY
from e2e.demo.profiles import PROFILES
from rewriter_operator.api.release import Training

RESULT: Final = REPOSITORY / "build" / "bench" / "sync.json"
CURVES: Final = RESULT.with_name("curves.json")


def phases() -> dict[str, PhaseShape]:
    """The phase of a spec that leaves all to its defaults, and those of the demo's models."""
    default = Training()
    pairs = default.pairs.top_k
    shapes = {
        "default": PhaseShape(
            default.sampling.queries_per_phase, pairs, default.optimizer.pairs_per_step, default.optimizer.epochs
        )
    }
    for name, profile in PROFILES.items():
        shapes[f"demo {name}"] = PhaseShape(profile.queries, pairs, profile.pairs_per_step, profile.epochs)
    return shapes


def run_part(image: str, module: str, options: Sequence[str], binds: Sequence[str], volume: Path) -> Any:
    """Run one half inside `image` on the volume; what it wrote."""
    inside = ["python3", "-m", module, "--root=/tmp/volume", "--out=/tmp/volume/out.json", *options]
    if code := run_checkout(image, inside, [f"{volume}:/tmp/volume", *binds]):
        raise SystemExit(f"{module} ended with {code}")
    return json.loads((volume / "out.json").read_text())


def rounds_of(made: dict[str, list[float]]) -> Rounds:
    """Back from JSON."""
    return Rounds(tuple(made["product_s"]), tuple(made["plain_s"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tiny", action="store_true", help="a narrow model: minutes become one")
    arguments = parser.parse_args()
    model, source = BenchModel(arguments.tiny), base_model()
    options = [f"--rounds={arguments.rounds}", *(["--tiny"] if model.tiny else [])]
    with tempfile.TemporaryDirectory(prefix="rewriter-sync-") as temporary:
        os.chmod(temporary, 0o777)
        volume = Path(temporary)
        take = [*options, "--model=/tmp/model"]
        published = run_part("trainer", "e2e.bench.sync.publishing", take, [f"{source}:/tmp/model"], volume)
        give = [*options, f"--sets={json.dumps(published['sets'])}"]
        reloaded = run_part("sampler", "e2e.bench.sync.reloading", give, [], volume)
    measured = Measured(
        rounds_of(published["rounds"]),
        published["set_bytes"],
        rounds_of(reloaded["warm"]),
        rounds_of(reloaded["cold"]),
        tuple(reloaded["paused_s"]),
        rounds_of(reloaded["beside_engine"]),
        reloaded["canary_difference"],
    )
    curves = json.loads(CURVES.read_text()) if CURVES.exists() else None
    made = report(model.title, model.dtype, len(os.sched_getaffinity(0)), measured, phases(), curves)
    show_result(RESULT, made)


if __name__ == "__main__":
    end_plainly(main)
