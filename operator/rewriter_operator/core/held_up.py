"""Pods that do not come up and pods that do not go: what a person has to know who is woken up for it.

Both are waited for, for as long as the deadlines of the spec allow, because neither is mended by making more pods. But
a wait that only a person can end must not look like one that ends by itself.
"""

from typing import Final

from rewriter_contract.messages import LoadState
from rewriter_operator.api.conditions import rfc3339
from rewriter_operator.api.model import seconds
from rewriter_operator.core.decision import revision_name
from rewriter_operator.core.serving_order import ordered
from rewriter_operator.core.world import Deployment, Pod, Role, World

STARTING_SECONDS: Final = 60
"""After this long a pod with a complaint is told of: a node that is being made, or one slow pull, is over by then."""

WITHOUT_ROOM: Final = ("Unschedulable", "SchedulingGated")
"""How the words begin of a pod for which no node has room, or no queue quota (Kueue)."""

OVER_QUOTA: Final = "exceeded quota"
"""In the API server's words where a ResourceQuota has none."""

GOING_SECONDS: Final = 60
"""The same for a pod that was deleted, from the end of its grace time on."""


def not_starting(world: World) -> str:
    """The first pod that has not started, in its own words; empty while all do."""
    for child in world.children:
        match child:
            case Pod(phase="Pending", deleting=False) if child.message and _is_late(world, child):
                return (
                    f"pod {child.name} does not start: {child.message[:600]}; see `kubectl describe pod {child.name}`"
                )
            case Deployment(deleting=False) if child.message:
                return f"Deployment {child.name} gets no pods: {child.message[:600]}"
    return ""


def without_room(world: World) -> str:
    """The first child for which nodes or a quota have no room left; empty while there is enough."""
    for child in world.children:
        match child:
            case Pod(phase="Pending", deleting=False) if child.message.startswith(WITHOUT_ROOM):
                if _is_late(world, child):
                    return f"pod {child.name} finds no node"
            case Deployment(deleting=False) if OVER_QUOTA in child.message:
                return f"Deployment {child.name} gets no pods"
    return "a quota is used up" if OVER_QUOTA in world.refusal else ""


def not_gone(world: World) -> str:
    """The first deleted pod of a cycle that is still there, and why nothing takes its place; empty while none is."""
    for child in world.children:
        match child:
            case Pod(role=Role.SERVING | Role.PASSTHROUGH | Role.POOL):
                continue  # their Deployment makes others beside them, and they write nothing
            case Pod(gone_by=ends) if ends and world.now - ends > GOING_SECONDS:
                return (
                    f"pod {child.name} was deleted and should have ended by {rfc3339(ends)}; its node may be gone. "
                    "Nothing takes its place, because it may still write to the volume; when its node is surely off: "
                    f"`kubectl delete pod {child.name} --force`"
                )
    return ""


def not_serving(world: World) -> str:
    """The first pod of the pool that does not serve what it was told to within serving.readyTimeout, and what it does
    instead; empty while there is none. It may keep others from being taken, in later cycles too."""
    timeout = world.spec.serving.ready_timeout
    for pod in world.pool:
        order = ordered(pod.order)
        if pod.role is Role.POOL and order is not None and world.now - pod.released_at > seconds(timeout):
            return (
                f"pod {pod.name} does not serve {order.serving.revision} within spec.serving.readyTimeout {timeout}: "
                f"it {_words_of_told(world, pod)[:600]}; see its log, and `kubectl delete pod {pod.name}` for another"
            )
    return ""


def words_of(world: World, role: Role, revision: int) -> str:
    """Why the pods of a revision are not up, to put behind a sentence: `: ImagePullBackOff: ...`; empty if unknown."""
    deployment = world.deployment(role, revision)
    told = [deployment.message if deployment else ""]
    told += [pod.message for pod in world.pods(role) if pod.cycle == revision and not pod.ready and not pod.deleting]
    told += [_of_coming(world, pod, revision) for pod in world.pool]
    told += [not_serving(world)] if role is Role.SERVING else []
    return next((f": {text[:600]}" for text in told if text), "")


def _of_coming(world: World, pod: Pod, revision: int) -> str:
    """Why a pod of the pool that was told to serve the revision does not yet: what it complains of at once, what else
    there is to say only when it takes long, because most loads do not."""
    order, stats = ordered(pod.order), world.stats.get(pod.name)
    if order is None or order.serving.revision != revision_name(revision) or pod.role is not Role.POOL:
        return ""
    if pod.message or (stats and stats.message) or world.now - pod.released_at > STARTING_SECONDS:
        return pod.message or f"pod {pod.name} {_words_of_told(world, pod)}"
    return ""


def _words_of_told(world: World, pod: Pod) -> str:
    """What a pod of the pool does instead of what it was told."""
    order, stats = ordered(pod.order), world.stats.get(pod.name)
    if pod.name in world.unauthorised:
        return "refuses the agents' token (401), which was changed since it started; restart it"
    if stats is None or pod.message:
        return f"is not up: {pod.message}" if pod.message else "tells no counters"
    if stats.state is LoadState.LOADING and order and order.serving.revision == stats.revision:
        return f"has been loading {stats.revision} since {rfc3339(pod.released_at)}"
    does = {LoadState.LOADING: "is still loading", LoadState.READY: "still serves"}.get(stats.state, "does not serve")
    return f"{does} {stats.revision[:32] or 'anything'}" + (f": {stats.message}" if stats.message else "")


def _is_late(world: World, pod: Pod) -> bool:
    return world.now - pod.created_at > STARTING_SECONDS
