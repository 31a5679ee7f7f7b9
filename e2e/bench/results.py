"""What benches end with: the JSON, the figures that have a target on the screen, a plain exit."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_result(path: Path, made: Mapping[str, Any]) -> None:
    """Write `made`, as people also read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2) + "\n")


def show_result(path: Path, made: Mapping[str, Any], endings: tuple[str, ...] = ("_ratio",)) -> None:
    """Write `made`, and print its numbers whose names end so."""
    write_result(path, made)
    for name in made:
        if name.endswith(endings):
            print(f"{name} {made[name]:.5g}")
    print(f"written to {path}")


def end_plainly(main: Callable[[], None]) -> None:
    """Run `main`; a program that it called and that failed ends this one with a sentence."""
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error.cmd[0]} ended with {error.returncode}")
