"""Measures the operator at scale: `python -m e2e.bench.scale` writes build/bench/operator.json.

`--quick`: 50 releases, half a minute of rest; for trying. Without it: 200 releases, then 1,000.
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
from typing import Any, Final

from e2e.bench.scale import kwok
from e2e.bench.scale.api_calls import calls_of, count_calls_of
from e2e.bench.scale.ground import Ground, prepared
from e2e.bench.scale.measure import Measured, Size, measure, names_of
from e2e.bench.scale.operator_side import NAMESPACE, OperatorSide
from e2e.bench.scale.result import CycleCost, Machine, report
from e2e.cluster import control_plane
from e2e.cluster.paths import REPOSITORY
from e2e.cluster.report import print_line

RESULT: Final = REPOSITORY / "build" / "bench" / "operator.json"
QUICK_RELEASES: Final = 50
MIDDLE: Final = Size(releases=200, active=20, edits=300, single_aborts=50, herd=150, idle_seconds=300)
LARGE: Final = Size(releases=1000, active=20, edits=300, single_aborts=20, herd=0, idle_seconds=120)


def quick(releases: int) -> Size:
    """Everything once, with few releases and little rest."""
    tenth = max(1, releases // 10)
    return Size(releases, 2 * tenth, 60, single_aborts=3 * tenth, herd=6 * tenth, idle_seconds=30)


async def operator_at(size: Size, with_kwok: bool) -> tuple[Measured, CycleCost]:
    """The operator's figures, on a control plane of its own."""
    program = kwok.build(print_line) if with_kwok else None
    plane = control_plane("bench-operator", until_exit_of=os.getpid())
    try:
        async with prepared(plane) as ground, AsyncExitStack() as stack:
            if program:
                await kwok.start(stack, ground, program)
            names = names_of(size)
            resting = frozenset(names[max(size.active, size.single_aborts + size.herd) :]) if program else frozenset()
            side = await OperatorSide.set_up(stack, ground, resting)
            await count_calls_of(ground.client, NAMESPACE, side.service_account)
            measured = await measure(side, ground.client, size, _tell)
            return measured, await _cycle_cost(side, ground)
    finally:
        plane.down()


async def _cycle_cost(side: OperatorSide, ground: Ground) -> CycleCost:
    """Of one release's cycle, while all others rest."""
    await side.make_one_to_promote("whole")
    before = await calls_of(ground.client, side.service_account)
    await side.promote("whole")
    spent = (await calls_of(ground.client, side.service_account)).since(before)
    return CycleCost(spent.writes, spent.events)


def _tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 releases, half a minute of rest: about three minutes")
    parser.add_argument("--releases", type=int, default=QUICK_RELEASES, help="of --quick")
    parser.add_argument("--kwok", action="store_true", help="with --quick: pods of resting releases are kwok's")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    machine, large = Machine.now(), None
    if arguments.quick:
        middle, cycle = asyncio.run(operator_at(quick(arguments.releases), arguments.kwok))
    else:
        middle, cycle = asyncio.run(operator_at(MIDDLE, with_kwok=False))
        large, _ = asyncio.run(operator_at(LARGE, with_kwok=True))
    result: dict[str, Any] = report(machine, middle, large, cycle, None, None)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
