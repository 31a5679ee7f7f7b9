"""The Lease: which of several operators over one namespace may write, and under which epoch.

Only this process's monotonic clock decides. A lease counts as expired when it was *seen* not to change for as long as
it lasts; the times inside the object are for people. The epoch (`leaseTransitions`) grows with every term, even when
the same process comes back, and never falls, not even when the Lease was deleted by hand.

Runs in a thread with an event loop and a connection of its own (LeaseThread), so that a busy or stuck reconcile neither
loses the lease nor, for longer than HEARTBEAT_SECONDS, keeps it.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from rewriter_operator import metrics
from rewriter_operator.cluster.fence import Term, release_epoch
from rewriter_operator.cluster.kube import Conflict, Kube
from rewriter_operator.errors import Retry

HEARTBEAT_SECONDS: Final = 60.0
"""A leader whose event loop has not turned for this long lets the lease go: it holds what it cannot use."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Lost(Exception):
    """The lease is not ours any more; the message says whose."""


@dataclass(frozen=True)
class Timing:
    """Everything follows from how long the lease lasts; 15 s gives 10 s and 2 s, as in client-go."""

    lease: int

    @property
    def renew_every(self) -> float:
        """The only writes of an idle operator."""
        return self.lease / 3

    @property
    def term(self) -> float:
        """Writes end this long after the last renewal was sent."""
        return self.lease * 2 / 3

    @property
    def request(self) -> float:
        """For one call. A slow API server is no reason to lose the lease: a renewal gets all the time that is left."""
        return self.lease / 3

    @property
    def grace(self) -> float:
        """Then the alarm of a write under way; what is left of the lease is for clocks that run apart."""
        return self.lease / 6

    @property
    def retry(self) -> float:
        """Between two looks of a standby, and two attempts to renew."""
        return self.lease * 2 / 15


@dataclass(frozen=True)
class Record:
    """What the Lease object says."""

    holder: str
    epoch: int
    seconds: int
    renewed: str

    @staticmethod
    def of(live: dict[str, Any], default_seconds: int) -> "Record":
        """Read it; whatever a person's edit left out is as if nobody held it."""
        spec = live.get("spec") or {}
        return Record(
            holder=str(spec.get("holderIdentity") or ""),
            epoch=int(spec.get("leaseTransitions") or 0),
            seconds=int(spec.get("leaseDurationSeconds") or default_seconds),
            renewed=str(spec.get("renewTime") or ""),
        )


@dataclass(frozen=True)
class Sighting:
    """A record, and since when, by our clock, it has not changed."""

    record: Record
    since: float

    def again(self, record: Record, now: float) -> "Sighting":
        """The next look at the object."""
        return self if record == self.record else Sighting(record, now)

    def is_free(self, pod: str, now: float) -> bool:
        """Whether it may be taken: released, held by an earlier life of our own pod, or not renewed for its time."""
        holder = self.record.holder
        return not holder or pod_of(holder) == pod or now - self.since > self.record.seconds


def pod_of(holder: str) -> str:
    """`operator-x_5d0c1f` of `operator-x_5d0c1f/8a6b`: pod name and uid, without the process's part."""
    return holder.rpartition("/")[0]


@dataclass
class Lease:
    """This process's claim to the Lease of its namespace. All coroutines run in the LeaseThread."""

    kube: Kube
    name: str
    pod: str
    """Pod name and uid: a process that finds its own pod as the holder knows that the holder is dead."""
    process: str
    """A new name for each life of the process."""
    timing: Timing
    clock: Callable[[], float] = time.monotonic
    floor: int = 0
    """No new epoch is at or below this."""
    heard: float = field(default_factory=time.monotonic)
    """When the working event loop last turned; see `beat`."""
    _live: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """`holderIdentity`"""
        return f"{self.pod}/{self.process}"

    def beat(self) -> None:
        """The event loop that does the work is alive. Called from its thread."""
        self.heard = self.clock()

    async def win(self) -> Term:
        """Wait until the lease is ours."""
        sighting: Sighting | None = None
        while True:
            try:
                live = await self.kube.get("Lease", self.name)
                if live is None:
                    return await self._take({}, await self._highest_epoch())
                record = Record.of(live, self.timing.lease)
                sighting = sighting.again(record, self.clock()) if sighting else self._first(record)
                if sighting.is_free(self.pod, self.clock()):
                    return await self._take(live, record.epoch)
            except Conflict:
                log.info("lease %s: another operator was faster", self.name)
            except Retry as error:
                log.warning("lease %s: %s", self.name, error)
            await asyncio.sleep(self.timing.retry * random.uniform(0.8, 1.2))

    async def hold(self, term: Term) -> None:
        """Renew until the term is over, for whatever reason; `term.ended` says which."""
        wait = self.timing.renew_every
        while not term.ended:
            await asyncio.sleep(min(wait, max(0.05, term.left())))
            wait = self.timing.retry
            if term.left() <= 0:
                term.end(f"the lease was not renewed for {self.timing.term:.0f} s")
            elif self.clock() - self.heard > HEARTBEAT_SECONDS:
                term.end(f"the event loop did not turn for {HEARTBEAT_SECONDS:.0f} s")
            else:
                try:
                    await self._renew(term)
                    wait = self.timing.renew_every
                except Lost as lost:
                    term.end(str(lost))
                except Retry as error:
                    metrics.LEASE_RENEWALS.labels("failed").inc()
                    log.warning("lease %s not renewed, %.1f s left: %s", self.name, term.left(), error)
        metrics.LEADER.set(0)
        log.warning("lease %s: epoch %d is over, nothing is written any more: %s", self.name, term.epoch, term.ended)

    async def release(self, term: Term) -> None:
        """Give the lease back, so that a successor need not wait; called when nothing is under way any more."""
        metrics.LEADER.set(0)
        try:
            live = await self.kube.get("Lease", self.name) or {}
            record = Record.of(live, self.timing.lease)
            if (record.holder, record.epoch) != (self.identity, term.epoch):
                return
            await self._write(live, "", term.epoch)
            log.info("lease %s: released, epoch %d is over", self.name, term.epoch)
        except Retry as error:  # it expires by itself
            log.warning("lease %s not released: %s", self.name, error)

    def _first(self, record: Record) -> Sighting:
        if record.holder:
            log.info("lease %s: held by %s, epoch %d; standing by", self.name, record.holder, record.epoch)
        return Sighting(record, self.clock())

    async def _take(self, live: dict[str, Any], last_epoch: int) -> Term:
        before = Record.of(live, self.timing.lease)
        sent, epoch = self.clock(), max(last_epoch, self.floor) + 1
        await self._write(live, self.identity, epoch)
        self.floor = epoch
        self.beat()
        metrics.LEADER.set(1)
        metrics.LEASE_EPOCH.set(epoch)
        log.info("lease %s: taken by %s, epoch %d; %s", self.name, self.identity, epoch, self._story(before))
        return Term(epoch, sent + self.timing.term, self.timing.grace, self.clock)

    def _story(self, before: Record) -> str:
        if not before.holder:
            return "nobody held it"
        if before.holder == self.identity:
            return "this process held it before"
        if pod_of(before.holder) == self.pod:
            return (
                f"{before.holder}, an earlier process of this pod, ended without releasing it "
                "(exit code 142: stopped or starved in the middle of a write for longer than its term)"
            )
        return f"{before.holder} did not renew it for {before.seconds} s (last at {before.renewed})"

    async def _renew(self, term: Term) -> None:
        sent = self.clock()
        try:
            await self._write(self._live, self.identity, term.epoch)
        except Conflict:
            live = await self.kube.get("Lease", self.name)
            if live is None:
                raise Lost("the Lease was deleted") from None
            found = Record.of(live, self.timing.lease)
            if (found.holder, found.epoch) != (self.identity, term.epoch):
                raise Lost(f"the Lease is held by {found.holder or 'nobody'}, epoch {found.epoch}") from None
            await self._write(live, self.identity, term.epoch)  # somebody only labelled it
        metrics.LEASE_RENEWALS.labels("renewed").inc()
        term.extend(sent + self.timing.term)

    async def _write(self, live: dict[str, Any], holder: str, epoch: int) -> None:
        """Create, or replace exactly the version in `live`.

        Raises:
            Conflict: when somebody else wrote, created or deleted it in between.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = live.get("spec") or {}
        spec = {
            "holderIdentity": holder,
            "leaseTransitions": epoch,
            "leaseDurationSeconds": self.timing.lease,
            "acquireTime": before.get("acquireTime", now) if before.get("leaseTransitions") == epoch else now,
            "renewTime": now,
        }
        body = {**live, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
        if not live:
            body["metadata"] = {"name": self.name, "namespace": self.kube.namespace}
        written = await (self.kube.replace(body) if live else self.kube.create(body))
        if written is None:
            raise Conflict(f"Lease {self.name} was {'deleted' if live else 'created'} by somebody else")
        self._live = written

    async def _highest_epoch(self) -> int:
        """A Lease that was deleted starts above every epoch that a release has seen: an epoch never comes twice."""
        return max((release_epoch(item) for item in await self.kube.list("RewriterRelease")), default=0)


class LeaseThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run a coroutine there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it here; cancelled there when this is cancelled."""
        return await asyncio.wrap_future(self.start(work))

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
