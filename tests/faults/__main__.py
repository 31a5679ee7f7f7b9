"""Plays plans and prints a table: `python -m tests.faults` plays all of them, `--sample` those of sample.py.

`--workload promote` narrows it, `--only "killed before"` plays the plans whose name has these words, `--shard 2/8`
every eighth of them from the second on: eight machines, or evenings, play all.
"""

import argparse
import os
import signal
import sys
import time

from tests.faults.campaign import APART, Reference, all_plans, carry_out, names_of, sample_plans
from tests.faults.cluster_setup import install, own_plane
from tests.faults.plans import Plan, Played


def main() -> int:
    """Returns 1 when any plan shows a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", action="store_true", help="the plans of sample.py instead of all")
    parser.add_argument("--workload", default="", help="one of them")
    parser.add_argument("--only", default="", help="plans whose name contains this")
    parser.add_argument("--shard", type=_shard, default=(1, 1), help="2/8: the second eighth of the plans")
    parser.add_argument("--parallel", type=int, default=4, help="runs side by side")
    parser.add_argument(
        "--apart", type=int, default=APART, help="writes between two strikes of a run; 0: one strike a run"
    )
    parser.add_argument("--learn", type=int, default=0, help="reference runs for each workload")
    arguments = parser.parse_args()

    def chosen(reference: Reference) -> list[Plan]:
        shard, shards = arguments.shard
        plans = sample_plans(reference) if arguments.sample else all_plans(reference, arguments.apart)
        return [plan for plan in plans if arguments.only in str(plan)][shard - 1 :: shards]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    started = time.monotonic()
    plane = own_plane(os.getpid())
    try:
        install(plane)
        learn = arguments.learn or (1 if arguments.sample else 2)
        names = names_of(arguments.workload)
        report = carry_out(plane.kubeconfig, names, chosen, learn, arguments.parallel, _tell)
    finally:
        plane.down()
    print(f"\n{report.table()}\n")
    for played, wrong in report.failures:
        print(f"{played.plan}  ({played.directory})")
        for line in wrong:
            print(f"    {line}")
    count = len(report.results)
    print(
        f"{report.strikes} strikes in {count} runs: {count - len(report.failures)} sound, {len(report.failures)} not; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if report.failures else 0


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdigit() and shards.isdigit() and 1 <= int(shard) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r}: must be like 2/8")
    return int(shard), int(shards)


def _tell(played: Played) -> None:
    less = f", struck {played.struck} times" if played.struck < played.plan.strikes else ""
    print(f"{played.seconds:6.1f} s  {played.plan}{less}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
