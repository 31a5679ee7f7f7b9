"""spec.training.sync.method Restart: no sampler loads other weights: a pod that is made for them replaces it.

The weights stand in the pod's template, so that it comes up with them whoever restarts it, and asks nobody. A template
cannot be changed: what it says is what the pod was made for, and the pod goes when that is no longer wanted.
"""

from rewriter_contract.messages import WeightsRef
from rewriter_operator.api.status import Weights
from rewriter_operator.core.decision import Removal
from rewriter_operator.core.world import Role, World


def restarts(world: World) -> bool:
    """Whether the cycle replaces its samplers."""
    return world.spec.training.sync.method == "Restart"


def wanted_weights(world: World) -> WeightsRef | None:
    """What a sampler that is made now comes up with; None: it comes up empty, and is told."""
    found = _of_this_moment(world) if restarts(world) else None
    return WeightsRef(found.version, found.digest) if found else None


def made_for_others(world: World, weights: Weights) -> tuple[Removal, ...]:
    """The cycle's samplers that were made for other weights; without Restart, whatever they were made for is no matter.

    Deleted by uid: a pod that has taken such a one's place is never meant.
    """
    cycle, replicas = world.status.cycle, world.spec.training.samplers.replicas
    if cycle is None or not restarts(world):
        return ()
    pods = [world.pod(Role.SAMPLER, cycle.number, index) for index in range(replicas)]
    ref = WeightsRef(weights.version, weights.digest)
    return tuple(
        Removal("Pod", pod.name, pod.uid, f"it was made for other weights than {weights.version}")
        for pod in pods
        if pod is not None and pod.made_for != ref
    )


def _of_this_moment(world: World) -> Weights | None:
    cycle = world.status.cycle
    if cycle is None:
        return None
    if cycle.phase is not None:
        return cycle.phase.weights
    if cycle.candidate is None:
        return cycle.start
    judged = cycle.compared_with if cycle.gate_side == "incumbent" else None
    return (judged or cycle.candidate).weights  # the passthrough has none: its evidence needs nothing loaded
