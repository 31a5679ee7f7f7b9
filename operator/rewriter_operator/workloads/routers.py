"""Which router a release has: looked up here, and nowhere else."""

from typing import Any, Final

from rewriter_operator.workloads.http_route import HttpRoute
from rewriter_operator.workloads.router import Router
from rewriter_operator.workloads.virtual_service import VirtualService

_ALL: Final[tuple[Router, ...]] = (HttpRoute(), VirtualService())

ROUTERS: Final = {router.kind: router for router in _ALL}
"""By kind of their object."""


def router_of(live: dict[str, Any]) -> Router:
    """Of a stored release, also of one that this operator cannot read."""
    spec = live.get("spec")
    traffic = spec.get("traffic") if isinstance(spec, dict) else None
    named = isinstance(traffic, dict) and traffic.get("virtualService") is not None
    return ROUTERS["VirtualService" if named else "HTTPRoute"]
