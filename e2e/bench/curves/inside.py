"""Plays runs of one collection and prints each as a line of JSON: inside the trainer image, one thread.

python -m e2e.bench.curves.inside --work W --collection C --name shop --seeds 0 1 2 --out W/curves.jsonl
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from e2e.bench.curves.figures import Curve
from e2e.bench.curves.ways import WAYS
from e2e.bench.trained.ground import prepare, reward_with


def join_alone() -> None:
    """A process group of one: what the engine asks for."""
    import deepspeed

    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", "0")
    deepspeed.init_distributed(dist_backend="gloo", verbose=False)


def main() -> None:
    """Every run that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--prepare-only", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    bench = prepare(arguments.work, arguments.collection, arguments.max_tokens)
    if arguments.prepare_only:
        return
    from e2e.bench.curves.learning import Run, play

    join_alone()
    runs = arguments.work / "runs"
    runs.mkdir(exist_ok=True)
    with reward_with(bench, 0.0) as reward:
        for seed in arguments.seeds:
            for way in WAYS:
                path = runs / f"{way.name}-{seed}.json"
                if path.exists():
                    continue
                started = time.monotonic()
                curve = Curve(arguments.name, way.name, seed, tuple(play(Run(bench, reward, way, seed))))
                path.write_text(json.dumps(asdict(curve)))
                print(f"{arguments.name}, {way.name}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
