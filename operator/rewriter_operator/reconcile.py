"""Observe, plan, write one thing, plan again. The only place where reading, thinking and writing meet.

The order of writes is the promise of this operator: traffic is taken back before anything else happens; what is decided
is in status before it is carried out; and a crash between any two writes re-enters the same step.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from rewriter_operator import metrics
from rewriter_operator.api.conditions import Reason
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.act import Foreign, Hands
from rewriter_operator.cluster.contests import Contests
from rewriter_operator.cluster.kube import Forbidden, Invalid
from rewriter_operator.cluster.metric_access import MetricAccess
from rewriter_operator.cluster.metric_services import MetricServices
from rewriter_operator.cluster.observe import Observation, asked, read, with_written
from rewriter_operator.cluster.release import read_release
from rewriter_operator.cluster.stored import ROLE, StatusRefused, check_kept, refused
from rewriter_operator.cluster.unwatched import Trouble, Unwatched
from rewriter_operator.core.decision import Decision, PodChange, Removal, RevisionOutcome
from rewriter_operator.core.diff import Want, can_wait, first_difference, outdated, surplus
from rewriter_operator.core.metric_calls import due
from rewriter_operator.core.metric_looks import new_verdicts
from rewriter_operator.core.plan import plan
from rewriter_operator.core.retention import kept_revisions
from rewriter_operator.core.summary import gold_decay
from rewriter_operator.core.world import Role, World
from rewriter_operator.errors import Retry, Stalled, Waiting
from rewriter_operator.queue import Again
from rewriter_operator.readings import LASTING_SECONDS, Begun, Readings
from rewriter_operator.telling import Telling
from rewriter_operator.withdraw_first import WithdrawFirst
from rewriter_operator.workloads import names
from rewriter_operator.workloads.installation import Installation
from rewriter_operator.workloads.render import Manifest, render

SOON = Again(0.05, goes_on=True)
"""After a write of which the reading can tell nothing further: at once, with everything read anew."""

READ_AT_ONCE = 6
"""Releases of which nobody waits for anything. Their lists keep an API server on two cores busy; more of them at a time
would be no faster, and whatever is urgent would have to share it with all of them."""

AFTER_WITHDRAWAL = Again(0.0)
"""Status and Events follow at once, but behind the shares of other releases that are to be taken back."""

GONE = Again(math.inf)

log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

Repair = Manifest | PodChange | Removal | RevisionOutcome
"""A child to make or to put right, a pod that changes revisions, a child to delete, or what to write into a revision's
status."""


@dataclass(frozen=True)
class Wrote:
    """A write of a pass."""

    answer: dict[str, Any] | None = None
    """The object as the API server answered; None where what is there now must be read."""


@dataclass(frozen=True)
class Thought:
    """All of a pass that happens before its write."""

    observation: Observation
    decision: Decision
    after: World
    """The world with the decided status in it."""
    manifests: list[Manifest]


@dataclass
class Reconciler:
    """Reconciles the releases of one namespace."""

    hands: Hands
    installation: Installation
    states: dict[str, str] = field(default_factory=dict)
    """Release -> state, for the gauge only."""
    decaying: set[str] = field(default_factory=set)
    """Releases that lost gold over several promotions, for the gauge only."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Release -> why its next child was not taken; told in its conditions."""
    contests: Contests = field(default_factory=Contests)
    metric_services: MetricServices = field(init=False)
    tellings: dict[str, Telling] = field(default_factory=dict)
    """Release -> what its last pass told."""
    dropped: set[str] = field(default_factory=set)
    """Releases of whose status the API server kept not all: asked for with a dry run first from then on."""
    readings: Readings = field(default_factory=Readings)
    """Told of every event; see there for what a glance is."""
    unwatched: Unwatched = field(init=False)
    withdraw_first: WithdrawFirst = field(init=False)
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.metric_services = MetricServices(MetricAccess(self.hands.kube))
        self.unwatched = Unwatched(self.hands)
        self._turns = asyncio.Semaphore(READ_AT_ONCE)
        self.withdraw_first = WithdrawFirst(self.hands, self.installation, self.readings, self.contests)

    async def __call__(self, name: str, urgent: bool = False) -> Again:
        """One pass over one release; returns when the next is wanted. An urgent one waits for no other."""
        if await self.withdraw_first(name):
            return AFTER_WITHDRAWAL
        seconds = await self._glance(name)
        return await self._pass(name, urgent) if seconds is None else Again(seconds)

    async def _glance(self, name: str) -> float | None:
        """Look at what pods say, over what was read before; None where there is anything to do, or to find out."""
        kept = self.readings.of(name)
        if kept is None:
            return None
        try:
            thought = await self._looked_at(kept)
            rests = self._rests(thought)
        except Exception:  # a pass that reads everything meets it too, and knows what to do about it
            return None
        return thought.decision.wait_seconds if rests else None

    async def _pass(self, name: str, urgent: bool) -> Again:
        begun = self.readings.begin(name)
        live = await self.hands.kube.get("RewriterRelease", name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            self._count(name, None)
            self.refusals.pop(name, None)
            self.dropped.discard(name)
            self.contests.forget(name)
            self.metric_services.forget(name)
            self.unwatched.forget(name)
            self.readings.forget(name)
            self.tellings.pop(name, None)
            return GONE
        return await self._decided(live, begun, urgent)

    async def _decided(self, live: dict[str, Any], begun: Begun, urgent: bool) -> Again:
        """Write after write from one reading, until there is nothing to do or something must be read anew."""
        name = live["metadata"]["name"]
        async with self._telling(name) as telling:
            reading, is_whole = await self._guarded(live, self._read(live, urgent)), True
            while True:
                thought = await self._guarded(live, self._looked_at(reading))
                if not (is_whole or self.readings.holds(name, begun)):
                    return SOON  # told of while the pods were asked
                self._count(name, thought.decision.status.state.value)
                self._count_decay(name, bool(gold_decay(thought.decision.status)))
                wrote = await self._write_one(live, thought, telling)
                if wrote is None:
                    break
                if thought.decision.urgent_route:
                    return AFTER_WITHDRAWAL
                if wrote.answer is None or not self.readings.holds(name, begun):
                    return SOON
                after = with_written(reading, wrote.answer)
                if after is None:
                    return SOON
                reading, is_whole = after, False
                live = wrote.answer if wrote.answer["kind"] == "RewriterRelease" else live
        if thought.decision.wait_seconds < LASTING_SECONDS:  # a thousand releases at rest need no memory of it
            self.readings.keep(name, reading, begun)
        return Again(thought.decision.wait_seconds)

    async def _guarded(self, live: dict[str, Any], work: Awaitable[_Found]) -> _Found:
        """What was found; where nothing can be, a candidate that nothing watches any more must not stay up."""
        try:
            return await work
        except Forbidden as error:
            await self.forbidden(live, error)
            raise
        except (Retry, Waiting):
            raise
        except Exception as error:  # whatever it is
            await self.unwatched.failed(live, _trouble(error))
            raise

    async def forbidden(self, live: dict[str, Any], error: Forbidden) -> None:
        """Something cannot be read: told like a plan that fails, because nothing watches the candidate any more."""
        message = f"the operator may not read what it needs: {error}; give its Role the verb back ({ROLE})"
        await self.unwatched.failed(live, Trouble(Reason.FORBIDDEN, message))

    async def _read(self, live: dict[str, Any], urgent: bool) -> Observation:
        release = read_release(live)
        async with nullcontext() if urgent else self._turns:
            return await read(self.hands.kube, release)

    async def _looked_at(self, reading: Observation) -> Thought:
        """The reading, with what the pods say now."""
        return await self._think(await asked(reading, self.hands.agents, time.time()))

    async def _think(self, observation: Observation) -> Thought:
        """Decide, render: whatever this raises, nothing was written."""
        release = observation.world.release
        refusal = self.refusals.get(release.name, "")
        contest = self.contests.told(release.name)
        world = replace(observation.world, refusal=refusal, contest=contest)
        answers = self.metric_services.answers(release.name, due(world), world.now)
        observation = replace(observation, world=replace(world, answers=answers))
        decision = await asyncio.to_thread(plan, observation.world)
        after = replace(observation.world, release=replace(release, status=decision.status))
        return Thought(observation, decision, after, render(after.release, decision.wanted, self.installation))

    def forget_all(self) -> None:
        """Count no release any more, and tell of none: another process does now."""
        for name in list(self.states):
            self._count(name, None)
        for telling in self.tellings.values():
            telling.cancel()

    def _telling(self, name: str) -> Telling:
        self.tellings[name] = Telling(self.hands, self.tellings.get(name))
        return self.tellings[name]

    def _rests(self, thought: Thought) -> bool:
        """Whether `_write_one` would write nothing."""
        decision = thought.decision
        wants = decision.urgent_route or decision.order is not None or _says_more(thought)
        return not wants and self.refusals.get(thought.after.release.name) is None and self._repair_of(thought) is None

    async def _write_one(self, live: dict[str, Any], thought: Thought, telling: Telling) -> Wrote | None:
        """The one write that is due (two, when traffic is being taken back: the route, then the status), if any."""
        observation, decision, manifests = thought.observation, thought.decision, thought.manifests
        world = observation.world
        refusal = await self._urgent_route(world, manifests) if decision.urgent_route else None
        if _says_more(thought) or "status" not in live:
            stored = await self._write_status(live, world, decision, telling)
            return Wrote(None if decision.urgent_route else stored)
        self.unwatched.forget(world.release.name)
        if refusal is not None:
            raise refusal  # told already: again with backoff
        if decision.urgent_route:
            return Wrote()
        repaired = await self._repaired(thought)
        if repaired is None and decision.order is not None:
            await self.hands.order(world, observation.token, decision.order)
            return Wrote()
        return repaired

    async def _urgent_route(self, world: World, manifests: list[Manifest]) -> Forbidden | Invalid | Foreign | None:
        """Write it; where it is not taken, why. What is decided is written all the same, and tried again."""
        route = next(item for item in manifests if item.is_route)
        try:
            await self.hands.apply(route)
            self.contests.wanted_otherwise(world.release.name, route)
        except (Forbidden, Invalid, Foreign) as error:
            self.refusals[world.release.name] = str(error)
            log.error("%s: a candidate's share cannot be taken back: %s", world.release.name, error)
            return error
        return None

    async def _repaired(self, thought: Thought) -> Wrote | None:
        """Make the next repair; where the API server does not take it, its words go into the next pass's conditions."""
        name, repair = thought.after.release.name, self._repair_of(thought)
        try:
            answer = await self._carry_out(name, repair) if repair is not None else None
        except (Forbidden, Invalid, Foreign) as error:
            if self.refusals.get(name) == str(error):
                raise  # told already: again with backoff
            self.refusals[name] = str(error)
            log.warning("%s: %s", name, error)
            return Wrote()
        if isinstance(repair, PodChange):  # it went before what may still be refused
            return Wrote()
        refused = self.refusals.pop(name, None) is not None
        return Wrote(answer) if refused or repair is not None else None

    def _repair_of(self, thought: Thought) -> Repair | None:
        """The next child that is missing, or the next one too many; None when all is as it should be."""
        world, decision, manifests = thought.after, thought.decision, thought.manifests
        wants = [_want(manifest) for manifest in manifests]
        rested = [_want(manifest) for manifest in manifests if not self.contests.rests(world.release.name, manifest)]
        difference = first_difference(rested, world.children)
        if decision.assignment is not None and (difference is None or can_wait(difference)):
            return decision.assignment
        if difference is not None:
            return next(item for item in manifests if (item.kind, item.name) == (difference.kind, difference.name))
        removals = [
            *decision.replace,
            *outdated(wants, world.children),
            *surplus(wants, world, kept_revisions(world)),
        ]
        return removals[0] if removals else next(iter(decision.outcomes), None)

    async def _carry_out(self, name: str, repair: Repair) -> dict[str, Any] | None:
        """The object as it is then, where the API server has answered that."""
        match repair:
            case Manifest():
                applied = await self.hands.apply(repair)
                self.contests.repaired(name, repair, applied.before)
                return applied.after
            case PodChange():
                await self.hands.assign(repair)
                return None
            case Removal():
                await self.hands.remove(repair)
                return None
            case RevisionOutcome():
                return await self.hands.revision_status(name, repair)

    async def _write_status(
        self, live: dict[str, Any], world: World, decision: Decision, telling: Telling
    ) -> dict[str, Any]:
        """Status by PUT with the resourceVersion that was read; events and counters only after it landed."""
        try:
            stored = await self._keep_status(live, decision.status)
        except StatusRefused as error:
            await self.unwatched.failed(live, Trouble(Reason.STATUS_REFUSED, str(error)))
            raise
        self.unwatched.forget(world.release.name)
        if len(decision.status.history) and decision.status.history[:1] != world.status.history[:1]:
            metrics.CYCLES.labels(decision.status.history[0].outcome.value).inc()
        for verdict in new_verdicts(world.status, decision.status):
            metrics.METRIC_LOOKS.labels(verdict.value).inc()
        if decision.notes:
            telling.say(live, decision.notes)
        return stored

    async def _keep_status(self, live: dict[str, Any], status: RewriterReleaseStatus) -> dict[str, Any]:
        """The release as it is stored.

        Raises:
            StatusRefused: when the API server does not take it, or not all of it.
        """
        name, given = live["metadata"]["name"], status.to_api()
        given.pop("operatorEpoch", None)  # the term's own is written, and told of when a new leader begins
        try:
            if name in self.dropped:
                check_kept(given, (await self.hands.release_status(live, given, dry_run=True)).get("status"))
            stored = await self.hands.release_status(live, given)
        except (Forbidden, Invalid) as error:
            raise refused(error) from error
        self.dropped.add(name)
        check_kept(given, stored.get("status"))
        self.dropped.discard(name)
        return stored

    def _count(self, name: str, state: str | None) -> None:
        before = self.states.pop(name, None)
        if before is not None:
            metrics.RELEASES.labels(before).dec()
        if state is not None:
            self.states[name] = state
            metrics.RELEASES.labels(state).inc()
        else:
            self._count_decay(name, False)

    def _count_decay(self, name: str, decays: bool) -> None:
        (self.decaying.add if decays else self.decaying.discard)(name)
        metrics.GOLD_DECAYS.set(len(self.decaying))


def _says_more(thought: Thought) -> bool:
    return thought.decision.status.to_api() != thought.observation.world.status.to_api()


def _want(manifest: Manifest) -> Want:
    role = Role(manifest.body["metadata"]["labels"][names.LABEL_ROLE])
    return Want(
        manifest.kind,
        manifest.name,
        manifest.digest,
        manifest.update,
        role,
        manifest.replicas,
        manifest.compared,
        manifest.has_defaults,
    )


def _trouble(error: Exception) -> Trouble:
    if isinstance(error, Stalled):
        return Trouble(Reason.INVALID_SPEC, str(error))
    what = f"this operator cannot plan the release ({type(error).__name__}: {str(error)[:300]})"
    return Trouble(Reason.PLAN_FAILED, f"{what}; run the operator version from before, and report what its log says")
