"""From reference runs to plans, and from plans to a verdict: learn, strike once at each write, compare.

Two undisturbed runs of a workload are the reference (a sample learns from one): a write that only one of them made
depends on timing and is no place for a fault; what differs between their end states says nothing and is not compared.

One run strikes at many writes, some writes apart: each strike meets an operator that has come back from the one before.
What a run of many strikes breaks, or what of it never came, is played again with one strike a run.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path

from tests.faults.end_state import differences
from tests.faults.plans import AT_ONE_WRITE, NO_END, Fault, Plan, Played
from tests.faults.sample import SAMPLE
from tests.faults.signatures import Write, kind_of
from tests.faults.workloads import WORKLOADS

APART = 8
"""Writes between two strikes of one run: a life of an operator that comes back, looks, and goes on."""
CODES = (403, 409, 422, 429, 500, 503)
WATCH_FAULTS = (
    *(Fault.WATCHES_CUT, Fault.WATCHES_FROZEN, Fault.WATCHES_EXPIRED, Fault.WATCHES_BROKEN),
    *(Fault.EVENTS_TWICE, Fault.EVENTS_REORDERED, Fault.EVENTS_OLD),
)
DROPPED = tuple(
    f"{plural} {happened}"
    for plural in ("rewriterreleases", "pods", "deployments", "httproutes")
    for happened in ("ADDED", "MODIFIED", "DELETED")
)

Tell = Callable[[Played], None]


@dataclass
class Reference:
    """What a workload does when nothing goes wrong."""

    workload: str
    runs: list[Played]

    @property
    def writes(self) -> list[Write]:
        """Those of every run, in the order of the first."""
        common = set.intersection(*(set(run.writes) for run in self.runs))
        return [write for write in self.runs[0].writes if write in common]

    def violations(self, played: Played) -> list[str]:
        """What a disturbed run did that the undisturbed ones never do."""
        found = list(played.violations)
        if any(violation.startswith(NO_END) for violation in found):
            return found  # it never came to its end: what differs there follows from that
        if WORKLOADS[self.workload].gone:  # deleted at another moment, so another number of objects, but none is left
            uneven = {key: count for key, count in played.counts.items() if count[0] != count[1]}
            return found + [f"I8: {key} created and deleted {count} times" for key, count in uneven.items()]
        steady = {key for run in self.runs[1:] for key in _unequal(self.runs[0].end, run.end)}
        first = {key: value for key, value in self.runs[0].end.items() if key not in steady}
        last = {key: value for key, value in played.end.items() if key not in steady}
        found += [f"end state: {line}" for line in differences(first, last)]
        counts: list[dict[str, tuple[int, int]]] = [run.counts for run in self.runs]
        found += [
            f"I11: {key} created and deleted {played.counts.get(key, (0, 0))} times, not {counts[0].get(key, (0, 0))}"
            for key in sorted(counts[0].keys() | played.counts.keys())
            if all(played.counts.get(key, (0, 0)) != count.get(key, (0, 0)) for count in counts)
        ]
        return found


@dataclass
class Report:
    """All that was played, with what is wrong with it."""

    references: dict[str, Reference] = field(default_factory=dict)
    results: list[tuple[Played, list[str]]] = field(default_factory=list)

    def add(self, played: Played, wrong: list[str]) -> None:
        """A plan with its verdict; what was kept of a sound one goes."""
        self.results.append((played, wrong))
        if not wrong:
            shutil.rmtree(played.directory, ignore_errors=True)

    @property
    def strikes(self) -> int:
        """That happened."""
        return sum(played.struck for played, _ in self.results)

    @property
    def failures(self) -> list[tuple[Played, list[str]]]:
        return [(played, wrong) for played, wrong in self.results if wrong]

    def table(self) -> str:
        """A row for each workload and fault: strikes planned and happened, runs, and the sound ones of these."""
        rows: dict[tuple[str, str], Counter[str]] = {}
        for played, wrong in self.results:
            row = rows.setdefault((played.plan.workload, str(played.plan.fault or "undisturbed")), Counter())
            row["planned"] += played.plan.strikes
            row["struck"] += played.struck
            row["runs"] += 1
            row["sound"] += not wrong
        lines = [f"{'workload':14s} {'fault':46s} {'planned':>7s} {'struck':>6s} {'runs':>5s} {'sound':>5s}"]
        for (workload, fault), row in sorted(rows.items()):
            mark = "" if row["runs"] == row["sound"] else "  <-"
            numbers = f"{row['planned']:7d} {row['struck']:6d} {row['runs']:5d} {row['sound']:5d}"
            lines.append(f"{workload:14s} {fault:46s} {numbers}{mark}")
        return "\n".join(lines)


def all_plans(reference: Reference, apart: int = APART) -> list[Plan]:
    """Every effective write at every crash point, and every fault of the connection."""
    workload, writes = reference.workload, reference.writes
    if WORKLOADS[workload].gone:
        plans = [Plan(workload, Fault.RELEASE_DELETED, (write,)) for write in writes]
    else:
        plans = [Plan(workload, fault, struck) for fault in AT_ONE_WRITE for struck in in_runs(writes, apart)]
        plans += [Plan(workload, Fault.TERMINATED, struck) for struck in in_runs(_one_of_a_kind(writes), apart)]
    traffic = next((write for write in writes if kind_of(write) == "PATCH httproutes share"), None)
    for begin in ((), (traffic,)) if traffic else ((),):  # they last for a while: from the beginning, or from there
        plans += [Plan(workload, Fault.ERRORS, begin, code=code) for code in CODES]
        plans += [Plan(workload, fault, begin) for fault in WATCH_FAULTS]
        plans += [Plan(workload, Fault.EVENTS_DROPPED, begin, kind=kind) for kind in DROPPED]
        plans += [Plan(workload, Fault.LISTS_STALE, begin)]
    return plans


def in_runs(writes: list[Write], apart: int) -> list[tuple[Write, ...]]:
    """Each write in one run, with those that come `apart` writes later, and so on; on its own when `apart` is 0.

    The second write of a signature is on its own too: a strike at the first would make another one the second.
    """
    first = [write for write in writes if write.ordinal == 1] if apart else []
    together = [tuple(first[begin::apart]) for begin in range(min(apart, len(first)))]
    return together + [(write,) for write in writes if write not in first]


def again(played: Played, wrong: list[str]) -> list[Plan]:
    """What a run of several strikes leaves open, one by one: all of them if it was unsound, else what never came."""
    plan = played.plan
    return [plan.alone(write) for write in (plan.writes if wrong else played.missed)] if plan.strikes > 1 else []


def sample_plans(reference: Reference) -> list[Plan]:
    """Those of sample.py."""
    return [sampled.plan() for sampled in SAMPLE if sampled.workload == reference.workload]


def carry_out(
    kubeconfig: Path,
    workloads: Iterable[str],
    choose: Callable[[Reference], list[Plan]],
    learn: int,
    parallel: int,
    tell: Tell,
) -> Report:
    """Learn, plan, play, judge."""
    report = Report()
    names = list(workloads)
    with players(parallel) as pool:
        learning = [Plan(name) for name in names for _ in range(learn)]
        runs = list(play_all(pool, kubeconfig, learning, tell))
        for name in names:
            report.references[name] = Reference(name, [run for run in runs if run.plan.workload == name])
        for run in runs:
            report.add(run, run.violations)
        plans = [plan for reference in report.references.values() for plan in choose(reference)]
        plans.sort(key=lambda plan: plan.fault in AT_ONE_WRITE and plan.strikes == 1)  # the long ones first
        while plans:
            left: list[Plan] = []
            for played in play_all(pool, kubeconfig, plans, tell):
                wrong = report.references[played.plan.workload].violations(played)
                report.add(played, wrong)
                left += again(played, wrong)
                for line in wrong:
                    print(f"    {line}", flush=True)
            plans = left
    return report


def players(count: int) -> ProcessPoolExecutor:
    """Processes that play a run at a time."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def play_all(pool: ProcessPoolExecutor, kubeconfig: Path, plans: list[Plan], tell: Tell) -> Iterator[Played]:
    """As they end."""
    try:
        for future in as_completed([pool.submit(_play, kubeconfig, plan) for plan in plans]):
            played = future.result()
            tell(played)
            yield played
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in active_children():
            worker.terminate()
        raise


def _play(kubeconfig: Path, plan: Plan) -> Played:
    """In a worker, which ends its operator before it ends itself."""
    import asyncio
    import signal
    import sys

    from tests.faults.run import play

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return asyncio.run(play(kubeconfig, plan))


def _one_of_a_kind(writes: list[Write]) -> list[Write]:
    """The first write of each kind."""
    kinds: dict[str, Write] = {}
    for write in writes:
        kinds.setdefault(kind_of(write), write)
    return list(kinds.values())


def _unequal(one: dict[str, object], other: dict[str, object]) -> set[str]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def names_of(wanted: str) -> list[str]:
    """Workloads by name, all of them without one."""
    return [wanted] if wanted else list(WORKLOADS)
