"""What a release says of its pods' nodes and resources, held to what the API server accepts in a pod.

A pod is created in the middle of a cycle: what is wrong with it must be refused when the release is written, not then.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from rewriter_operator.api.model import SpecModel
from rewriter_operator.api.value_rules import ValueRule, amount, matching

Quantity = Annotated[
    str,
    StringConstraints(max_length=16),
    matching(
        r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?",
        "must be a quantity that is not negative, e.g. 500m or 2 of CPU, 16Gi of memory, 1 of a GPU",
    ),
]

_KEY: Final = (
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?"

LabelValue = Annotated[
    str,
    StringConstraints(max_length=63),
    matching(_LABEL, "must be the value of a label: letters, digits and inner hyphens, underscores and dots"),
]

_KEYS: Final = ValueRule(
    f"self.all(k, k.size() <= 253 && k.matches(r'^({_KEY})$'))",
    lambda labels: all(len(key) <= 253 and re.fullmatch(_KEY, key) for key in labels),
    "every key must be the key of a label, e.g. topology.kubernetes.io/zone",
    shown="",
)

Labels = Annotated[dict[str, LabelValue], Field(max_length=16), _KEYS]

OWN_DOMAIN: Final = "rewriter.dev/"
OWN_KEYS: Final = ("app.kubernetes.io/managed-by", "pod-template-hash")
"""What the operator and a Deployment find their pods by."""

_NOT_OURS: Final = ValueRule(
    f"self.all(k, !k.startsWith('{OWN_DOMAIN}') && !(k in {list(OWN_KEYS)}))",
    lambda labels: not any(key.startswith(OWN_DOMAIN) or key in OWN_KEYS for key in labels),
    f"must not hold the keys of the operator itself: {OWN_DOMAIN}..., {', '.join(OWN_KEYS)}; take them out",
    shown="self.map(k, k)",
)

PodLabels = Annotated[dict[str, LabelValue], Field(max_length=16), _KEYS, _NOT_OURS]

PodAnnotations = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=16), _KEYS, _NOT_OURS
]


class Toleration(SpecModel):
    """As in a pod."""

    key: (
        Annotated[
            str,
            StringConstraints(max_length=253),
            matching(_KEY, "must be the key of a taint, e.g. nvidia.com/gpu"),
        ]
        | None
    ) = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


TOLERATION_RULE: Final = ValueRule(
    "self.operator == 'Exists' ? (!has(self.value) || self.value == '') : has(self.key)",
    lambda it: not it.value if it.operator == "Exists" else it.key is not None,
    "a toleration has a key and a value, or the operator Exists and no value",
    shown="",
)


GPUS: Final = ("nvidia.com/gpu", "amd.com/gpu")
"""Devices that are whole GPUs, each of which a process of its own can have. Slices of one (nvidia.com/mig-1g.5gb, or a
GPU that is shared by time) are none: their processes cannot be joined to one group."""


class Resources(SpecModel):
    """Requests and limits of the main container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = {}


_RESOURCE: Final = (
    r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9][A-Za-z0-9_.-]*"
)
_CPU: Final = r"[0-9]+(\.[0-9]{1,3})?|[0-9]+m"
_DEVICES: Final = r"[1-9][0-9]{0,2}"
_LEAST_MEMORY: Final = "64Mi"


def _amounts(resources: Any) -> Iterator[tuple[str, str]]:
    yield from resources.requests.items()
    yield from resources.limits.items()


def _both(condition: str) -> str:
    """CEL that is true when `condition` on name k and amount m[k] is so in requests and in limits.

    `has`, because the API server also tries the rule on the default {}, before the fields' own defaults fill it.
    """
    return " && ".join(
        f"(!has(self.{where}) || self.{where}.all(k, {condition.replace('m[k]', f'self.{where}[k]')}))"
        for where in ("requests", "limits")
    )


def _fits(resources: Any) -> bool:
    limits = resources.limits
    return all(amount(value) <= amount(limits[key]) for key, value in resources.requests.items() if key in limits)


def _equal(resources: Any) -> bool:
    return all(resources.limits.get(key) == value for key, value in resources.requests.items() if "/" in key)


RESOURCE_RULES: Final = (
    ValueRule(
        _both(f"k.matches('^({_RESOURCE})$')"),
        lambda resources: all(re.fullmatch(_RESOURCE, key) for key, _ in _amounts(resources)),
        "every resource must be cpu, memory, ephemeral-storage, hugepages-2Mi or one with a domain, "
        "e.g. nvidia.com/gpu",
        shown="self.requests.map(k, k) + self.limits.map(k, k)",
    ),
    ValueRule(
        _both(f"k != 'cpu' || m[k].matches(r'^({_CPU})$')"),
        lambda resources: all(key != "cpu" or re.fullmatch(_CPU, value) for key, value in _amounts(resources)),
        "cpu must be a number of cores or thousandths of one, e.g. 2 or 500m",
        shown="",
    ),
    ValueRule(
        _both(f"k != 'memory' || !isQuantity(m[k]) || quantity(m[k]).compareTo(quantity('{_LEAST_MEMORY}')) >= 0"),
        lambda resources: all(
            key != "memory" or amount(value) >= amount(_LEAST_MEMORY) for key, value in _amounts(resources)
        ),
        f"memory must be at least {_LEAST_MEMORY}; a number without a unit is bytes, e.g. write 16Gi",
        shown="",
    ),
    ValueRule(
        _both(f"!k.contains('/') || m[k].matches('^{_DEVICES}$')"),
        lambda resources: all("/" not in key or re.fullmatch(_DEVICES, value) for key, value in _amounts(resources)),
        "a device such as nvidia.com/gpu must be a whole number from 1 to 999; leave it out where none is needed",
        shown="",
    ),
    ValueRule(
        "!has(self.requests) || self.requests.all(k, !(k in self.limits)"
        " || !isQuantity(self.requests[k]) || !isQuantity(self.limits[k])"
        " || quantity(self.requests[k]).compareTo(quantity(self.limits[k])) <= 0)",
        _fits,
        "a request must be at most its limit",
        shown="self.requests.filter(k, k in self.limits).map(k, [k, self.requests[k], self.limits[k]])",
    ),
    ValueRule(
        "!has(self.requests) || self.requests.all(k, !k.contains('/')"
        " || (k in self.limits && self.limits[k] == self.requests[k]))",
        _equal,
        "a device such as nvidia.com/gpu must have a limit that equals its request; write only the limit",
        shown="",
    ),
)
