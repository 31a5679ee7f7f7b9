"""Wanted against observed: the one next write that brings the world closer, and what may go.

Order matters: the route that takes traffic back comes first, then what is missing or differs, then removals; serving
pods go only when the live route no longer names them and the drain time is over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rewriter_operator.core.children import DRAIN_SECONDS, OF_SERVING_PODS, servings
from rewriter_operator.core.decision import Removal
from rewriter_operator.core.taken_over import is_off
from rewriter_operator.core.world import Budget, Child, Deployment, Role, Route, World

OF_A_CYCLE: Final = (Role.PREPARE, Role.RECORD, Role.TRAINER, Role.SAMPLER, Role.REVISION)
"""Roles of children that no request needs."""

NO_DEFAULTS: Final = ("filters", "headers", "hostnames", "queryParams", "retry", "sessionPersistence")
"""Fields of a route that no API server adds by itself, and that decide where requests go."""


@dataclass(frozen=True)
class Want:
    """What is compared of a manifest."""

    kind: str
    name: str
    digest: str
    update: bool
    role: Role
    replicas: int = 0
    """Of a Deployment: fewer are too few. More are left to whoever wants them, an autoscaler perhaps."""
    spec: Mapping[str, Any] | None = None
    """Of a route or a budget."""
    has_defaults: bool = True
    """Whether an API server adds to the spec. Where it does not, whatever else stands there is a hand's edit."""


def first_difference(wants: Iterable[Want], children: Iterable[Child]) -> Want | None:
    """The first manifest whose object is missing, or differs and may be updated. One on its way out is waited for."""
    observed = {(child.kind, child.name): child for child in children}
    for want in wants:
        child = observed.get((want.kind, want.name))
        if child is None or (want.update and not child.deleting and _differs(want, child)):
            return want
    return None


def can_wait(difference: Want) -> bool:
    """Whether a pod that changes revisions goes before it: what only a cycle needs may not be taken for days, for want
    of quota, and what serves must not stay divided for so long."""
    return difference.role in OF_A_CYCLE


def _differs(want: Want, child: Child) -> bool:
    """It was made from another manifest, or somebody has changed since what matters of it."""
    if child.spec_hash != want.digest:
        return True
    match child:
        case Deployment():
            return child.replicas < want.replicas
        case Route() if child.spec is not None and want.spec is not None:
            return not _is_within(want.spec, child.spec) if want.has_defaults else want.spec != child.spec
        case Budget() if child.spec is not None and want.spec is not None:
            return any(child.spec.get(key) != value for key, value in want.spec.items())
        case _:
            return False


def _is_within(wanted: object, live: object) -> bool:
    """Whether `live` says all that is wanted; fields that the API server has added are none of our business."""
    match wanted, live:
        case Mapping(), Mapping():
            if any(live.get(key) and key not in wanted for key in NO_DEFAULTS):
                return False
            return all(key in live and _is_within(value, live[key]) for key, value in wanted.items())
        case list(), list():
            return len(wanted) == len(live) and all(map(_is_within, wanted, live))
        case _:
            return wanted == live


def outdated(wants: Iterable[Want], children: Iterable[Child]) -> list[Removal]:
    """Pods that run once whose order has changed since: removed, so that they are made anew with the new order."""
    observed = {(child.kind, child.name): child for child in children}
    removals = []
    for want in wants:
        child = observed.get((want.kind, want.name))
        if child and want.role in (Role.PREPARE, Role.RECORD) and child.spec_hash != want.digest and not child.deleting:
            removals.append(Removal(child.kind, child.name, child.uid, "its order changed"))
    return removals


def surplus(wants: Iterable[Want], world: World, kept_revisions: set[int]) -> list[Removal]:
    """Children that nothing wants any more and that may go now."""
    wanted = {(want.kind, want.name) for want in wants}
    removals = []
    for child in world.children:
        if (child.kind, child.name) in wanted or child.deleting:
            continue
        if child.role is Role.REVISION and child.cycle in kept_revisions:
            continue
        is_leaving = ("Deployment", child.name) not in wanted  # else only its budget goes: one pod needs none
        is_served = child.kind in OF_SERVING_PODS and child.role not in OF_A_CYCLE
        if is_served and is_leaving and not (_is_relieved(child, world) or drained(world)):
            continue
        if child.kind == "Pod" and child.role in (Role.SERVING, Role.PASSTHROUGH, Role.POOL):
            continue  # they belong to their Deployment
        removals.append(Removal(child.kind, child.name, child.uid, "nothing needs it any more"))
    return removals


def _is_relieved(child: Child, world: World) -> bool:
    """Pods that others take the place of, behind the same Services (the mode of capacity changed): they end as a pod of
    a rolling update does, and nothing has to leave the route for it."""
    needed = servings(world)
    if child.kind == "Service" or not needed:
        return False
    return child.role is Role.POOL or (child.role is Role.SERVING and child.cycle in needed)


def drained(world: World) -> bool:
    """The route is as it should be, it is in force, and requests under way had their time."""
    since = world.status.draining_since
    return bool(since and world.now - since >= DRAIN_SECONDS and is_off(world, world.status, DRAIN_SECONDS))
