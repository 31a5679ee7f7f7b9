"""Which pods a pass asks for what they say, beside those that a cycle works with: a release at rest asks none."""

from rewriter_operator.core import pool
from rewriter_operator.core.states import TRAFFIC_STATES
from rewriter_operator.core.taken_over import asks_leaving
from rewriter_operator.core.world import World


def are_serving_pods_asked(world: World) -> bool:
    """Whether what serving pods say decides anything now. Pods drain and change revisions in any state."""
    return world.status.state in TRAFFIC_STATES or asks_leaving(world) or pool.asks(world)
