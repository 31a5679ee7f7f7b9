"""Gives both sides their turns, inside the sampler image: the one that waits for its turn uses no processor time."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2e.bench.sampler.figures import Round
from e2e.bench.sync.rounds import SIDES, turns


class SideEnded(RuntimeError):
    """A side's process ended before it had answered."""


class SideProcess:
    """One side, ready to draw when this returns."""

    def __init__(self, side: str, options: Sequence[str]) -> None:
        self._side = side
        command = [sys.executable, "-m", "e2e.bench.sampler.drawing", f"--side={side}", *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def draw(self) -> Round:
        """Everything once.

        Raises:
            SideEnded: when the process is gone.
        """
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return Round(**self._answer())

    def end(self) -> None:
        """Let the process go; it holds nothing that is worth waiting for."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SideEnded(f"{self._side} ended with {self._process.wait()}")
        return json.loads(line)


def measure(options: Sequence[str], rounds: int) -> dict[str, list[Round]]:
    """`rounds` rounds of each side, after one of each that is thrown away."""
    processes: dict[str, SideProcess] = {}
    try:
        for side in SIDES:
            processes[side] = SideProcess(side, options)
            processes[side].draw()
        done: dict[str, list[Round]] = {side: [] for side in SIDES}
        for _, side in turns(rounds):
            done[side].append(processes[side].draw())
            print(f"{side:8} {done[side][-1].tokens} tokens in {done[side][-1].seconds:.2f} s", flush=True)
        return done
    finally:
        for process in processes.values():
            process.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--setting", required=True, help="a Setting as JSON")
    arguments = parser.parse_args()
    options = [f"--{name}={getattr(arguments, name)}" for name in ("root", "version", "setting")]
    made = measure(options, arguments.rounds)
    arguments.out.write_text(json.dumps({side: [asdict(one) for one in done] for side, done in made.items()}))


if __name__ == "__main__":
    main()
