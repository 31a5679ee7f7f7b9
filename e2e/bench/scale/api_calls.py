"""Counts a program's calls where they arrive: a FlowSchema for each kind of call, counted by the API server itself.

Nothing stands between the program and the API server, so counting costs neither of them anything; and both programs
that are compared are counted by the same rule. The priority level is the one that service accounts have anyway.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.cluster_client import ClusterClient

PRIORITY_LEVEL: Final = "workload-low"
_FLOW_SCHEMAS: Final = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
_WRITES: Final = ("create", "update", "patch", "delete", "deletecollection")
# The first that fits counts: leases and Events are told apart from what a program is for.
_KINDS: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    ("leases", ("leases",), ("*",)),
    ("events", ("events",), ("*",)),
    ("writes", ("*",), _WRITES),
    ("watches", ("*",), ("watch",)),
    ("reads", ("*",), ("get", "list")),
)
_DISPATCHED: Final = re.compile(
    r'^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="([^"]+)".*\} ([0-9.e+]+)$', re.MULTILINE
)


@dataclass(frozen=True)
class Calls:
    """How often a program called, by kind."""

    leases: int = 0
    events: int = 0
    writes: int = 0
    watches: int = 0
    reads: int = 0

    def since(self, before: "Calls") -> "Calls":
        """What was added."""
        return Calls(**{kind: getattr(self, kind) - getattr(before, kind) for kind, *_ in _KINDS})

    @property
    def total(self) -> int:
        """All of them."""
        return self.leases + self.events + self.writes + self.watches + self.reads


async def count_calls_of(client: ClusterClient, namespace: str, service_account: str) -> None:
    """From now on the API server counts this service account's calls."""
    subject = {"kind": "ServiceAccount", "serviceAccount": {"name": service_account, "namespace": namespace}}
    for number, (kind, resources, verbs) in enumerate(_KINDS):
        resource_rule = {
            "verbs": list(verbs),
            "apiGroups": ["*"],
            "resources": list(resources),
            "namespaces": ["*"],
            "clusterScope": True,
        }
        body: dict[str, Any] = {
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
            "kind": "FlowSchema",
            "metadata": {"name": _schema(service_account, kind)},
            "spec": {
                "matchingPrecedence": 500 + number,
                "priorityLevelConfiguration": {"name": PRIORITY_LEVEL},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{"subjects": [subject], "resourceRules": [resource_rule]}],
            },
        }
        await client.call("POST", _FLOW_SCHEMAS, body)


async def calls_of(client: ClusterClient, service_account: str) -> Calls:
    """Its calls so far."""
    # The client takes answers as they come, also compressed ones.
    async with client.session.get(f"{client.server}/metrics", headers={"Accept-Encoding": "identity"}) as response:
        counted = dispatched(await response.text())
    return Calls(**{kind: counted.get(_schema(service_account, kind), 0) for kind, *_ in _KINDS})


def dispatched(metrics: str) -> Mapping[str, int]:
    """Requests by FlowSchema, out of the API server's metrics."""
    found: Counter[str] = Counter()
    for schema, value in _DISPATCHED.findall(metrics):
        found[schema] += int(float(value))
    return found


def _schema(service_account: str, kind: str) -> str:
    return f"counted-{service_account}-{kind}"
