"""Runs both sides by turns, inside the trainer image, and writes what they did: one JSON list of runs."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from e2e.bench.trainer.runs import SIDES, Run, run
from e2e.bench.trainer.workload import Setting
from rewriter_contract import wire
from rewriter_contract.messages import MpoConfig

WITHOUT_QUALITY = MpoConfig(quality=0.0)
"""Where the formulas agree: TRL's quality term knows no delta."""


def series(setting: Setting, rounds: int) -> Iterator[tuple[str, str, Setting]]:
    """(series, side, setting) of every run; the side that starts changes from round to round."""
    for side in SIDES:
        yield "equal", side, replace(setting, mpo=WITHOUT_QUALITY)
    for number in range(rounds):
        for side in SIDES if number % 2 else reversed(SIDES):
            yield "speed", side, setting


def run_on_fresh_volume(side: str, model: Path, setting: Setting, parent: Path) -> Run:
    """A run on a volume of its own below `parent`, which is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        options = {"root": directory, "model": model, "setting": wire.dumps(setting)}
        prepare = [f"--{name}={value}" for name, value in options.items()]
        subprocess.run([sys.executable, "-m", "e2e.bench.trainer.workload", *prepare], check=True)
        return run(side, Path(directory))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--setting", required=True, help="a Setting as JSON")
    arguments = parser.parse_args()
    setting = wire.loads(Setting, arguments.setting, "--setting")
    runs = []
    for name, side, changed in series(setting, arguments.rounds):
        done = run_on_fresh_volume(side, arguments.model, changed, arguments.out.parent)
        print(
            f"{name:6} {side:5} {len(done.step_s)} steps in {sum(done.step_s):.1f} s, {sum(done.step_cpu_s):.1f} CPU-s "
            f"(whole {done.whole_s:.1f} s), peak {done.peak_mib:6.0f} MiB, last loss {done.losses[-1]:.5f}",
            flush=True,
        )
        runs.append({"series": name} | asdict(done))
        arguments.out.write_text(json.dumps(runs))


if __name__ == "__main__":
    main()
