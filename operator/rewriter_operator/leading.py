"""While this process holds the lease there are workers and a resync; before and after there are none.

A standby runs all its watches, so that it is warm, and writes nothing but its claim to the lease. Each term gets a
queue of its own that starts with every release there is: nothing of an earlier term is carried over.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Final

import aiohttp

from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.agents import Agents
from rewriter_operator.cluster.fence import Superseded, Term
from rewriter_operator.cluster.kube import Forbidden, Kube, connect
from rewriter_operator.cluster.lease import Lease, LeaseThread, Timing
from rewriter_operator.cluster.own_writes import OwnWrites
from rewriter_operator.cluster.takeover import take_over
from rewriter_operator.errors import Retry
from rewriter_operator.queue import RESYNC_SECONDS, Again, WorkQueue
from rewriter_operator.readings import Readings
from rewriter_operator.reconcile import Reconciler
from rewriter_operator.settings import Settings

ALIVE_SECONDS: Final = 180
"""A queue that finished nothing for this long is dead, whatever its process says."""

BEAT_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


class NotAlive(Exception):
    """What the liveness probe answers when the process should be started anew."""


@dataclass(frozen=True)
class Wish:
    """What people say of a release, and the operator never does."""

    generation: int
    annotations: dict[str, str]


@dataclass(frozen=True)
class Version:
    """Of the object that an event tells of."""

    uid: str
    resource_version: str


@dataclass
class TermReconciler:
    """Reconciles under one term: takes each release over before its first pass."""

    reconciler: Reconciler
    lease: Lease
    term: Term
    taken: set[str] = field(default_factory=set)

    async def __call__(self, name: str, urgent: bool) -> Again:
        """One pass; see Reconciler."""
        try:
            if name not in self.taken:
                await self._take_over(name)
            return await self.reconciler(name, urgent)
        except Superseded as superseded:
            self.lease.floor = max(self.lease.floor, superseded.epoch)
            self.term.end(str(superseded))
            raise

    async def _take_over(self, name: str) -> None:
        kube = self.reconciler.hands.kube
        try:
            await take_over(kube, name, self.term.epoch)
        except Forbidden as error:
            live = await kube.get("RewriterRelease", name)
            if live is not None:
                await self.reconciler.forbidden(live, error)
            raise
        self.taken.add(name)


@dataclass
class Leading:
    """Wins the lease, works, loses it, and stands by again."""

    settings: Settings
    queue: WorkQueue | None = None
    """None on standby."""
    readings: Readings = field(default_factory=Readings)
    """Of this term."""
    own_writes: OwnWrites = field(default_factory=OwnWrites)
    _wishes: dict[str, Wish] = field(default_factory=dict)

    def release_changed(self, name: str, wish: Wish, version: Version) -> None:
        """A release is there, or changed: what a person changed of it is urgent, what we wrote is known."""
        before = self._wishes.get(name)
        self._wishes[name] = wish
        if before is None or before != wish:
            self._wake(name, urgent=before is not None)
        elif not self._is_ours(version):
            self._wake(name)

    def child_changed(self, release: str, version: Version) -> None:
        """A child of a release changed."""
        if not self._is_ours(version):
            self._wake(release)

    def child_is_gone(self, release: str) -> None:
        """A child of a release was removed; its last version may well be ours."""
        self._wake(release)

    def _is_ours(self, version: Version) -> bool:
        return self.own_writes.has(version.uid, version.resource_version)

    def release_is_gone(self, name: str) -> None:
        """A release was deleted, or an old event of an earlier one of its name says so: a look tells which."""
        self._wishes.pop(name, None)
        self._wake(name)

    def _wake(self, name: str, urgent: bool = False) -> None:
        """A standby need not remember: a term begins with all releases, and with nothing read."""
        if self.queue:
            (self.readings.wished if urgent else self.readings.changed)(name)
            self.queue.wake(name, urgent)

    def alive(self) -> str:
        """For the liveness probe.

        Raises:
            NotAlive: when a leader has not finished a reconcile for long.
        """
        if self.queue is None:
            return "standby"
        age = time.monotonic() - self.queue.last_pass
        if age > ALIVE_SECONDS:
            raise NotAlive(f"no reconcile finished for {age:.0f} s")
        return f"leader, last pass {age:.1f} s ago"

    async def run(self) -> None:
        """Until cancelled; then the lease is given back. An error of our own ends it too: the process must go."""
        thread = LeaseThread()
        kube = await connect(self.settings.namespace)
        lease = await thread.run(self._lease())
        try:
            async with aiohttp.ClientSession() as session:
                while True:
                    await self._one_term(thread, lease, kube, session)
        finally:
            await kube.close()
            await thread.run(lease.kube.close())
            thread.stop()

    async def _lease(self) -> Lease:
        timing = Timing(self.settings.lease_seconds)
        kube = await connect(self.settings.namespace, timing.request)
        return Lease(kube, self.settings.lease_name, self.settings.pod, token_hex(4), timing)

    async def _one_term(self, thread: LeaseThread, lease: Lease, kube: Kube, session: aiohttp.ClientSession) -> None:
        term = await thread.run(lease.win())
        held = asyncio.wrap_future(thread.start(lease.hold(term)))
        hands = Hands(replace(kube, term=term, own_writes=self.own_writes), Agents(session, term.epoch), term)
        self.readings = Readings()
        reconciler = Reconciler(hands, self.settings.installation, readings=self.readings)
        reconcile = TermReconciler(reconciler, lease, term)
        self.queue = WorkQueue(reconcile, self.settings.workers)
        works = [
            asyncio.create_task(self.queue.run(), name="queue"),
            asyncio.create_task(_resync(self.queue, hands.kube), name="resync"),
            asyncio.create_task(_beat(lease), name="beat"),
        ]
        try:
            await asyncio.wait([held, *works], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.queue = None
            broken = [_ended(work) for work in works if work.done()]
            await _cancelled(works)
            reconcile.reconciler.forget_all()
            await reconcile.reconciler.metric_services.close()
            term.end("this process stopped working")
            held.cancel()
            await thread.run(lease.release(term))
        for error in broken:
            raise error
        held.result()  # a bug in renewing ends the process, like one in working


def _ended(work: "asyncio.Task[None]") -> BaseException:
    """Why a worker, which should never end, did."""
    if work.cancelled():
        return RuntimeError(f"somebody cancelled {work.get_name()}")
    return work.exception() or RuntimeError(f"{work.get_name()} ended")


async def _beat(lease: Lease) -> None:
    while True:
        lease.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def _resync(queue: WorkQueue, kube: Kube) -> None:
    """Wake every release at the start, then those that no event told of; the queue comes back to all others itself."""
    while True:
        seconds = RESYNC_SECONDS
        try:
            for item in await kube.list("RewriterRelease"):
                queue.meet(item["metadata"]["name"])
        except Retry as error:
            log.warning("resync: %s", error)
            seconds = 2.0
        await asyncio.sleep(seconds)


async def _cancelled(works: list["asyncio.Task[None]"]) -> None:
    """Cancel and wait until nothing of them is under way."""
    for work in works:
        work.cancel()
    await asyncio.gather(*works, return_exceptions=True)
