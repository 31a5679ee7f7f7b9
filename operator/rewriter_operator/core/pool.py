"""Which pod of the pool serves which revision, one step of one pod at a time (spec.serving.capacity.mode InPlace).

A pod's label says which revision's Service it is behind, its order what it is to load. It goes from one revision to
another in four steps, each of which follows from what is observed, so that a crash between any two resumes:

1. its label is taken away: the gateway learns that it answers no more, which it goes on doing meanwhile;
2. after RELEASE_SECONDS it is given the order of the other revision, and loads it, verified like a first load;
3. it is ready, and says itself that it serves the other revision, and by that order;
4. it gets that one's label.

Of pods that serve, so many change at once as spec.serving.maxUnavailable lets be away, never a revision's last one that
answers, and none while a share is being verified, or while the Deployment's controller replaces pods. But a revision
with requests that nobody answers gets a pod of one that can spare it, whatever else is away. Pods of a revision that is
off the route serve nobody: they all go back at once. How many each revision should have is core/capacity.py
(docs/decisions/0040).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from rewriter_contract import wire
from rewriter_contract.messages import LoadState, ServingOrder
from rewriter_operator.api.model import seconds
from rewriter_operator.api.states import State
from rewriter_operator.core import capacity, taken_over
from rewriter_operator.core.children import DRAIN_SECONDS, orders
from rewriter_operator.core.decision import PodChange, revision_name
from rewriter_operator.core.diff import drained
from rewriter_operator.core.serving_order import ordered
from rewriter_operator.core.world import Pod, Role, World

RELEASE_SECONDS: Final = 10.0
"""A pod that lost its label answers on for this long: endpoints need a moment to reach the gateway. What it is
answering then it finishes before it loads."""

LOOK_SECONDS: Final = 2.0
"""Between two looks while a pod is on its way: no event tells that it has loaded."""


def next_change(world: World) -> PodChange | None:
    """The next write to a pod of the pool; None while all are as they should be, or on their way."""
    pool = _Pool(world)
    if not world.pool or not pool.orders:
        return None
    steps = (pool.mislabelled, pool.arrived, pool.told, pool.given_back, pool.rescued, pool.taken)
    return next((change for step in steps if (change := step()) is not None), None)


def until_next(world: World) -> float:
    """Seconds until to look again."""
    pool = _Pool(world)
    if not world.pool or not pool.orders:
        return math.inf
    is_settled = all(pod.role is Role.SERVING for pod in world.pool) and not pool.lacking
    return math.inf if is_settled else LOOK_SECONDS


def asks(world: World) -> bool:
    """Whether it matters now what the pods say that serve no revision."""
    return any(pod.role is Role.POOL and pod.order for pod in world.pool)


@dataclass(frozen=True)
class _Pool:
    """The pool as it is, beside what it should be."""

    world: World
    lends: bool = True
    """Whether a revision with pods helps one that has none; without that it is seen whether there is such a one."""

    @cached_property
    def orders(self) -> Mapping[int, ServingOrder]:
        """What is to be loaded, of each revision that should have pods."""
        gone = _off_the_route(self.world)
        return {number: order for number, order in orders(self.world).items() if number != gone}

    @cached_property
    def targets(self) -> Mapping[int, int]:
        """How many pods each of them should have; one less than else where it helps out."""
        due = dict(capacity.targets(self.world, self.orders))
        others = [number for number in due if number != self.deserted]
        helper = max(others, key=lambda number: due[number], default=None)
        if self.deserted is not None and helper is not None and due[helper] > 1:
            due[self.deserted] += 1
            due[helper] -= 1
        return due

    @cached_property
    def deserted(self) -> int | None:
        """The first revision with requests for which nobody answers, and no pod that runs is on its way."""
        asked = [number for number in self.orders if self.lends and _has_requests(self.world, number)]
        silent = [number for number in asked if not any(pod.ready for pod in self.of(number))]
        plain = _Pool(self.world, lends=False)
        return next((number for number in silent if not plain.is_awaited(number)), None)

    @cached_property
    def coming(self) -> list[tuple[Pod, int]]:
        """Pods that were told to serve a revision which lacks them, and do not yet."""
        found = []
        for number, due in self.targets.items():
            told = [pod for pod in self.world.pool if pod.role is Role.POOL and self.is_current(pod, number)]
            told.sort(key=lambda pod: not self._is_on_its_way(pod))
            found += [(pod, number) for pod in told[: max(0, due - len(self.of(number)))]]
        return found

    @cached_property
    def free(self) -> list[Pod]:
        """Pods that serve nobody, and are to be told whom."""
        told = {pod.uid for pod, _ in self.coming}
        return [pod for pod in self.world.pool if pod.role is Role.POOL and pod.uid not in told]

    @cached_property
    def lacking(self) -> list[int]:
        """Revisions that have fewer pods than they should, with those that come; incumbents first."""
        have = {number: len(self.of(number)) for number in self.targets}
        for _, number in self.coming:
            have[number] += 1
        return [number for number, due in self.targets.items() if have[number] < due]

    def of(self, revision: int) -> list[Pod]:
        """Pods that bear the revision's label."""
        return [pod for pod in self.world.pool if pod.role is Role.SERVING and pod.cycle == revision]

    def is_current(self, pod: Pod, revision: int) -> bool:
        """Whether what it was told last is what the revision's pods are to serve. How long it may load for it is no
        reason to tell it anew."""
        told, order = ordered(pod.order), self.orders.get(revision)
        return told is not None and order is not None and replace(told, load_seconds=order.load_seconds) == order

    # --- the steps, in the order in which they are looked for ---------------------------------------------------------

    def mislabelled(self) -> PodChange | None:
        """A pod behind a Service of another revision than it was told to serve: somebody else has changed one of both.
        It leaves first of all, because it may answer as what nobody asked for.

        Not one whose order this version cannot read, which all of them may be after an upgrade: they are told anew, one
        after the other, like all whose order is to be another.
        """
        for pod in self.world.pool:
            order = ordered(pod.order)
            is_another = order.serving.revision != revision_name(pod.cycle) if order else not pod.order
            if pod.role is Role.SERVING and is_another:
                return self._released(pod, f"it was not told to serve {revision_name(pod.cycle)}")
        return None

    def arrived(self) -> PodChange | None:
        """The next pod that serves what it was told to, by its own words, gets the label."""
        for pod, number in self.coming:
            if self._has_loaded(pod, number):
                why = f"{revision_name(number)} is loaded"
                return PodChange(pod.name, pod.uid, self.world.now, why, label=number)
        return None

    def told(self) -> PodChange | None:
        """The next pod that nobody asks any more, or never did, is told what to load."""
        for pod in self.free:
            if self.lacking and self.world.now - pod.released_at >= RELEASE_SECONDS:
                return self._ordered(pod, self._neediest(pod))
        return None

    def given_back(self) -> PodChange | None:
        """A pod of a revision that no request can reach: it needs no time in which the gateway learns of it."""
        for pod in self.world.pool:
            is_over = pod.role is Role.SERVING and pod.cycle not in self.targets
            if is_over and self.lacking and self._has_left(pod.cycle):
                return self._ordered(pod, self.lacking[0])
        return None

    def rescued(self) -> PodChange | None:
        """A pod for the revision that nobody answers for: its requests fail now, so nothing else is waited for."""
        if self.deserted is None:
            return None
        for number, due in self.targets.items():
            answering = [pod for pod in self.of(number) if self.world.answers_from_pool(pod)]
            if len(self.of(number)) > due and len(answering) > 1:
                return self._released(answering[0], f"no pod of {revision_name(self.deserted)} answers")
        return None

    def taken(self) -> PodChange | None:
        """A pod of a revision that serves: for one that lacks pods, or because it is to serve in another way."""
        if self._is_verifying() or self._rolls() or self._away() >= self.world.spec.serving.max_unavailable:
            return None
        for number, due in self.targets.items():
            stale = [pod for pod in self.of(number) if not self.is_current(pod, number)]
            if pod := self._spared(number, stale):
                return self._released(pod, f"what {revision_name(number)} serves has changed")
            if self.lacking and len(self.of(number)) > due and (pod := self._spared(number, self.of(number))):
                return self._released(pod, f"{revision_name(self.lacking[0])} needs it")
        return None

    def _neediest(self, pod: Pod) -> int:
        """Whom a free pod is given to: who has none, else whose weights it has loaded, else who comes first."""
        order = ordered(pod.order)
        none = [number for number in self.lacking if not self.of(number)]
        same = [number for number in self.lacking if order and order.serving.revision == revision_name(number)]
        return (none or same or self.lacking)[0]

    def _spared(self, revision: int, among: Iterable[Pod]) -> Pod | None:
        """A pod without which the revision still answers; one that does not answer before one that does."""
        answering = [pod for pod in self.of(revision) if self.world.answers_from_pool(pod)]
        for pod in sorted(among, key=self.world.answers_from_pool):
            if len(answering) - self.world.answers_from_pool(pod) >= 1:
                return pod
        return None

    def is_awaited(self, revision: int) -> bool:
        """Whether a pod for it is on its way."""
        coming = [pod for pod, number in self.coming if number == revision]
        return any(map(self._is_on_its_way, [*coming, *(self.free if revision in self.lacking else [])]))

    def _is_on_its_way(self, pod: Pod) -> bool:
        """It runs, and has its time to load still."""
        timeout = self.world.spec.serving.ready_timeout
        return pod.phase == "Running" and (not pod.order or self.world.now - pod.released_at <= seconds(timeout))

    def _away(self) -> int:
        """How many pods of all do not answer now."""
        answering = [pod for number in self.targets for pod in self.of(number) if self.world.answers_from_pool(pod)]
        return sum(self.targets.values()) - len(answering)

    def _rolls(self) -> bool:
        """The Deployment's controller takes pods as well, without asking; those that it makes are told anew anyway."""
        pool = self.world.own_deployment(Role.POOL)
        return pool is not None and pool.rolls

    def _is_verifying(self) -> bool:
        """What a pod has answered cannot be counted once it serves another revision: the share would look otherwise."""
        return any(stage.share and not stage.verified for stage in self.world.status.stages)

    def _has_loaded(self, pod: Pod, revision: int) -> bool:
        """By its own words, which are the old ones until kubelet has written the order: where only the engine is to be
        another, revision and weights are in both. A pod from before it told what it carried out has no other words."""
        told, order = self.world.stats.get(pod.name), self.orders[revision]
        return (
            pod.ready
            and told is not None
            and (told.state, told.revision, told.weights)
            == (LoadState.READY, order.serving.revision, order.serving.weights)
            and told.order in ("", wire.digest(pod.order))
        )

    def _has_left(self, revision: int) -> bool:
        """Whether its requests have drained, or its Service is gone."""
        services = (child for child in self.world.children if child.kind == "Service" and child.role is Role.SERVING)
        has_service = any(child.cycle == revision and not child.deleting for child in services)
        return not has_service or revision == _off_the_route(self.world) or drained(self.world)

    def _released(self, pod: Pod, why: str) -> PodChange:
        return PodChange(pod.name, pod.uid, self.world.now, why)

    def _ordered(self, pod: Pod, revision: int) -> PodChange:
        order = wire.dumps(self.orders[revision])
        return PodChange(pod.name, pod.uid, self.world.now, f"to serve {revision_name(revision)}", order=order)


def _has_requests(world: World, revision: int) -> bool:
    """Whether some are sent to it, or all are as soon as the candidate is taken back."""
    status, route = world.status, world.route
    if any(stage.incumbent and stage.incumbent.revision == revision for stage in status.stages):
        return True
    candidate = status.cycle.candidate if status.cycle else None
    return bool(candidate and candidate.revision == revision and route and any(route.shares.values()))


def _off_the_route(world: World) -> int | None:
    """The candidate that is taken back, once its requests have drained: before its cycle has ended, which may wait for
    a full volume."""
    status, route, cycle = world.status, world.route, world.status.cycle
    if status.state is not State.WITHDRAWING or cycle is None or cycle.candidate is None or route is None:
        return None
    carries = any((*route.shares.values(), *route.mirrors.values()))
    has_drained = world.now - cycle.since >= DRAIN_SECONDS and taken_over.is_off(world, status, DRAIN_SECONDS)
    return cycle.candidate.revision if has_drained and not carries else None
