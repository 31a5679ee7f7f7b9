"""The measurements, in the order in which they are made; each is the same for the operator and for its peer."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from e2e.bench.scale.api_calls import Calls, calls_of
from e2e.bench.scale.latencies import Latencies
from e2e.bench.scale.side import Side
from e2e.bench.scale.subject import Memory
from e2e.bench.scale.turns import Turn
from tests.faults.cluster_client import ClusterClient

EDIT_PAUSE_SECONDS: Final = 0.1
ABORT_PAUSE_SECONDS: Final = 0.3
LIMIT_SECONDS: Final = 60.0
COLD_LIMIT_SECONDS: Final = 600.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How many releases, and what is done with them."""

    releases: int
    active: int
    """In the middle of a rollout while idle ones are edited."""
    edits: int
    approvals: int
    """One after the other; those candidates go on, others are aborted."""
    single_aborts: int
    herd: int
    """Aborted at once."""
    idle_seconds: float

    @property
    def held(self) -> int:
        """How many come to wait at their first share."""
        return max(self.active, self.approvals + self.single_aborts + self.herd)


@dataclass(frozen=True)
class Measured:
    """Of one side, at one size."""

    size: Size
    created_seconds: float
    idle: Calls
    idle_cpu_seconds: float
    memory: Memory
    """At the end of the idle time, of a process that did all of this."""
    reconcile: Latencies
    step: Latencies
    """From a person's approval to the next share."""
    single: Latencies
    herd: Latencies
    cold: Latencies
    cycle: Calls
    load: float
    """Of the machine at the end of what is timed, all that is played and measured included."""

    def calls_per_release_hour(self) -> float:
        """While nothing happens, leases apart."""
        calls = self.idle.total - self.idle.leases
        return calls / self.size.releases * 3600 / self.size.idle_seconds

    def details(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "size": asdict(self.size),
            "load_when_timed": round(self.load, 1),
            "create_seconds": round(self.created_seconds, 1),
            "idle_calls": asdict(self.idle),
            "calls_of_one_cycle": asdict(self.cycle),
            "idle_calls_per_release_and_hour": round(self.calls_per_release_hour(), 1),
            "idle_cpu_share": round(self.idle_cpu_seconds / self.size.idle_seconds, 4),
            "rss_mib": self.memory.resident,
            "rss_highest_mib": self.memory.highest,
            "event_to_status_s": self.reconcile.summary(),
            "approval_to_share_write_s": self.step.summary(),
            "abort_to_zero_write_s": self.single.summary(),
            "abort_herd_s": self.herd.summary(),
            "cold_start_s": self.cold.summary(),
        }


def names_of(size: Size) -> list[str]:
    """The releases; those that become active come first."""
    return [f"r{number:04d}" for number in range(size.releases)]


async def measure(side: Side, client: ClusterClient, size: Size, turn: Turn, tell: Tell) -> Measured:
    """Everything at one size: first what is timed, then, with the turn given back, what is only counted."""
    names = names_of(size)
    started = time.monotonic()
    side.subject.start()
    await side.create(names)
    created = time.monotonic() - started
    tell(f"{size.releases} at rest after {created:.0f} s")
    cold = await _cold_start(side, names)
    tell(f"cold start: {cold.summary()}")
    reconcile = await _edited_while(side, names[size.active :], size.edits, side.hold(names[: size.active]))
    tell(f"edits: {reconcile.summary()}")
    held = names[: size.held]
    await side.hold(held[size.active :])
    tell(f"{len(held)} held")
    step = await _approved(side, held[: size.approvals], tell)
    single, herd = await _aborted(side, held[size.approvals :], size, tell)
    load = os.getloadavg()[0]
    turn.give_back()
    await side.promoted(held[: size.approvals])
    await side.rest(held[size.approvals :])
    cycle = await _one_cycle(side, client)
    tell(f"one cycle: {cycle}")
    idle, cpu, memory = await _idle(side, client, size.idle_seconds)
    tell(f"idle for {size.idle_seconds:.0f} s: {idle.writes + idle.events} writes, {memory}")
    return Measured(size, created, idle, cpu, memory, reconcile, step, single, herd, cold, cycle, load)


async def _approved(side: Side, held: Sequence[str], tell: Tell) -> Latencies:
    """One after the other."""
    await asyncio.sleep(5)  # what was begun before ends
    step = await side.moments.one_by_one([side.approve(name) for name in held], ABORT_PAUSE_SECONDS, LIMIT_SECONDS)
    tell(f"approvals: {step.summary()}")
    return step


async def _aborted(side: Side, held: Sequence[str], size: Size, tell: Tell) -> tuple[Latencies, Latencies]:
    """Some one after the other, then the herd."""
    await asyncio.sleep(5)  # what was begun before ends
    acts = [side.abort(name) for name in held[: size.single_aborts]]
    single = await side.moments.one_by_one(acts, ABORT_PAUSE_SECONDS, LIMIT_SECONDS)
    tell(f"single aborts: {single.summary()}")
    await asyncio.sleep(5)
    acts = [side.abort(name) for name in held[size.single_aborts : size.single_aborts + size.herd]]
    herd = await side.moments.all_at_once(acts, LIMIT_SECONDS)
    tell(f"herd: {herd.summary()}")
    return single, herd


async def _one_cycle(side: Side, client: ClusterClient) -> Calls:
    """All calls of one rollout that is promoted, while everything else rests."""
    await side.make_one_to_promote("whole")
    before = await calls_of(client, side.service_account)
    await side.promote("whole")
    return (await calls_of(client, side.service_account)).since(before)


async def _idle(side: Side, client: ClusterClient, seconds: float) -> tuple[Calls, float, Memory]:
    """Calls and processor time while nothing happens, and the memory at its end."""
    await asyncio.sleep(5)  # the last answers to what was done before
    before, cpu = await calls_of(client, side.service_account), side.subject.cpu_seconds()
    await asyncio.sleep(seconds)
    after = await calls_of(client, side.service_account)
    return after.since(before), side.subject.cpu_seconds() - cpu, side.subject.memory()


async def _edited_while(side: Side, names: Sequence[str], edits: int, others: Awaitable[None]) -> Latencies:
    """Idle releases are edited one after the other while others are in the middle of theirs."""
    busy = asyncio.ensure_future(others)
    await asyncio.sleep(1)
    seconds: list[float] = []
    missed = 0
    for number in range(edits):
        one = await side.moments.one_by_one([side.edit(names[number % len(names)])], EDIT_PAUSE_SECONDS, LIMIT_SECONDS)
        seconds += one.seconds
        missed += one.missed
    await busy
    return Latencies(seconds, missed)


async def _cold_start(side: Side, names: Sequence[str]) -> Latencies:
    """From the start of the process to the note that each release, edited while it was down, was taken of."""
    side.subject.stop()
    acts = [side.edit(name) for name in names]
    moments = [side.moments.of(awaited) for awaited, _ in acts]
    for _, act in acts:
        await act()
    side.subject.start()
    return await side.moments.after(side.subject.started_at, moments, COLD_LIMIT_SECONDS)
