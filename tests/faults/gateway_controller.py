"""The part of a gateway that takes routes over: it accepts every one, as Envoy's controller would, and tells of it.

A VirtualService it takes over as well, and tells nobody, as Istio does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.data_plane import divided_by_bucket
from tests.faults.cluster_client import Refused
from tests.faults.cluster_view import ClusterView

KIND: Final = "HTTPRoute"
SILENT: Final = "VirtualService"

Shares = dict[str, dict[str, int]]
"""Stage -> Service -> weight in percent."""


@dataclass
class GatewayController:
    """Of one namespace; `taken_over` hears a route's name and its shares, or None when the route is gone."""

    view: ClusterView
    taken_over: Callable[[str, Shares | None], None]
    busy: int = 0
    """Routes that are being accepted."""
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def start(self) -> None:
        """Begin."""
        self.view.listeners.append(self._see)

    async def stop(self) -> None:
        """End; what is being accepted is dropped."""
        self.view.listeners.remove(self._see)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        if item["kind"] not in (KIND, SILENT):
            return
        name = item["metadata"]["name"]
        if happened == "DELETED":
            self.taken_over(name, None)
        elif item["kind"] == SILENT:
            self.taken_over(name, shares_of_rules(item))
        elif not is_accepted(item):
            task = asyncio.create_task(self._accept(name, item))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _accept(self, name: str, route: dict[str, Any]) -> None:
        self.taken_over(name, shares_of(route))
        condition = {
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "observedGeneration": route["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        parent = {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "rewriter.dev/stand-in",
            "conditions": [{"type": kind, **condition} for kind in ("Accepted", "ResolvedRefs")],
        }
        self.busy += 1
        try:
            await self.view.client.patch(KIND, self.view.namespace, name, {"status": {"parents": [parent]}}, "status")
        except Refused as error:
            if error.status != 404:
                raise
        finally:
            self.busy -= 1


def is_accepted(route: dict[str, Any]) -> bool:
    """Whether the newest generation of this route was taken over."""
    parents = route.get("status", {}).get("parents", [])
    generation = route["metadata"]["generation"]
    return bool(parents) and parents[0]["conditions"][0].get("observedGeneration") == generation


def shares_of(route: dict[str, Any]) -> Shares:
    """Weights as the route's rules have them, 0 included; where users are told apart, every request has a bucket."""
    found: Shares = divided_by_bucket(route["spec"])
    if found:
        return found
    for rule in route["spec"]["rules"]:
        headers = [header["value"] for match in rule["matches"] for header in match.get("headers", [])]
        if headers:
            found[headers[0]] = {backend["name"]: int(backend.get("weight", 1)) for backend in rule["backendRefs"]}
    return found


def shares_of_rules(virtual_service: dict[str, Any]) -> Shares:
    """The same of a VirtualService: the first rule for a stage, as Istio takes them."""
    found: Shares = divided_by_bucket(virtual_service["spec"])
    if found:
        return found
    for rule in virtual_service["spec"]["http"]:
        stages = [match["headers"]["x-rewriter-stage"]["exact"] for match in rule.get("match", [])]
        weights = {route["destination"]["host"]: int(route.get("weight", 100)) for route in rule["route"]}
        for stage in stages:
            found.setdefault(stage, weights)
    return found
