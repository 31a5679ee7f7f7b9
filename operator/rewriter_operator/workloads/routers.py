"""Which router a release has: looked up here, and nowhere else."""

from typing import Any, Final

from rewriter_operator.workloads.http_route import HttpRoute
from rewriter_operator.workloads.router import Router

ROUTERS: Final[dict[str, Router]] = {router.kind: router for router in (HttpRoute(),)}
"""By kind of their object."""


def router_of(live: dict[str, Any]) -> Router:
    """Of a stored release, also of one that this operator cannot read."""
    return ROUTERS["HTTPRoute"]
