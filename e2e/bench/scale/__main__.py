"""Measures the operator at scale: `python -m e2e.bench.scale` writes build/bench/operator.json.

Four parts: operator and peer with 200 releases, then with 1,000. `--part` runs one of them and puts its figures beside
those of the parts that were run before; without it all are run anew. `--quick`: 50 releases, for trying.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from e2e.bench.results import write_result
from e2e.bench.scale import kwok, rollouts
from e2e.bench.scale.api_calls import count_calls_of
from e2e.bench.scale.ground import Ground, prepared
from e2e.bench.scale.measure import Measured, Size, measure, names_of
from e2e.bench.scale.operator_side import OperatorSide
from e2e.bench.scale.peer_side import PeerSide
from e2e.bench.scale.result import PARTS, Machine, of_part, report
from e2e.bench.scale.side import Side
from e2e.bench.scale.turns import Turn, turn_of
from e2e.cluster import control_plane
from e2e.cluster.paths import REPOSITORY
from e2e.cluster.report import print_line

RESULT: Final = REPOSITORY / "build" / "bench" / "operator.json"
QUICK_RELEASES: Final = 50
SIZES: Final = {
    "200": Size(releases=200, active=20, edits=300, approvals=10, single_aborts=40, herd=150, idle_seconds=300),
    "1000": Size(releases=1000, active=20, edits=300, approvals=10, single_aborts=20, herd=0, idle_seconds=300),
}


def quick(releases: int) -> Size:
    """Everything once, with few releases and little rest."""
    tenth = max(1, releases // 10)
    return Size(releases, 2 * tenth, 60, approvals=tenth, single_aborts=3 * tenth, herd=6 * tenth, idle_seconds=30)


async def measured(side_name: str, size: Size, with_kwok: bool, turn: Turn) -> Measured:
    """One side's figures, on a control plane of its own."""
    program = kwok.build(print_line) if with_kwok else None
    peer = rollouts.build(print_line) if side_name == "peer" else None
    plane = control_plane(f"bench-{side_name}", until_exit_of=os.getpid(), endpoints=False, as_shipped=True)
    try:
        async with prepared(plane) as ground, AsyncExitStack() as stack:
            if program:
                await kwok.start(stack, ground, program)
            if peer:
                side: Side = await PeerSide.set_up(stack, ground, peer)
            else:
                side = await _operator(stack, ground, size, with_kwok)
            await count_calls_of(ground.client, side.namespace, side.service_account)
            return await measure(side, ground.client, size, turn, _tell)
    finally:
        plane.down()


async def _operator(stack: AsyncExitStack, ground: Ground, size: Size, with_kwok: bool) -> OperatorSide:
    names = names_of(size)
    resting = names[size.held :] if with_kwok else ()
    return await OperatorSide.set_up(stack, ground, frozenset(resting))


def run_part(part: str, size: Size, arguments: argparse.Namespace) -> None:
    """Measure it, keep its figures in its own file, and write the result anew."""
    side, _, number = part.partition("-")
    with_kwok = side == "peer" or number == "1000" or bool(arguments.kwok)
    with turn_of(arguments.turns) as turn:
        machine = Machine.now()
        _tell(f"{part}: {size}")
        found = of_part(machine, asyncio.run(measured(side, size, with_kwok, turn)))
    write_result(_file_of(arguments.out, part), found)
    write_report(arguments.out)


def write_report(out: Path) -> None:
    """Of all parts that have a file."""
    files = {part: _file_of(out, part) for part in PARTS}
    parts = {part: json.loads(file.read_text()) for part, file in files.items() if file.is_file()}
    write_result(out, report(parts))


def _file_of(out: Path, part: str) -> Path:
    return out.with_name(f"{out.stem}-parts") / f"{part}.json"


def _tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.scale", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; the others' figures stay")
    parser.add_argument("--quick", action="store_true", help="fewer releases, half a minute of rest: minutes")
    parser.add_argument("--releases", type=int, default=QUICK_RELEASES, help="of --quick")
    parser.add_argument("--kwok", action="store_true", help="with --quick: pods of resting releases are kwok's")
    parser.add_argument("--turns", type=Path, help="lock file that others who load this machine hold too (flock)")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if not arguments.part:
        for part in PARTS:
            _file_of(arguments.out, part).unlink(missing_ok=True)
    for part in arguments.part or PARTS:
        size = quick(arguments.releases) if arguments.quick else SIZES[part.partition("-")[2]]
        run_part(part, size, arguments)
    print(arguments.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
