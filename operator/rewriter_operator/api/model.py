"""The base of every API model: camelCase on the wire, frozen, field docstrings become `kubectl explain` texts."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

GROUP = "rewriter.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class ApiModel(BaseModel):
    """Unknown fields are ignored on reading: a newer CRD must not crash an older operator."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    def to_api(self) -> dict[str, Any]:
        """As the API server stores it: camelCase, no nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rule(expression: str, message: str) -> dict[str, str]:
    """One CEL rule of x-kubernetes-validations."""
    return {"rule": expression, "message": message}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Schema extension that carries CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
"""A DNS-1123 label, as Kubernetes names are."""

VolumePath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=256),
]
"""A relative path on the volume: no leading `/`, no `..`, no empty or hidden segment."""

Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}(s|m|h)$", max_length=6)]
"""A whole number of seconds, minutes or hours: 30s, 15m, 12h."""

Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-zA-Z0-9._:/@-]*$", min_length=3, max_length=512)]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]

ShortText = Annotated[str, StringConstraints(max_length=1024)]

Percent = Annotated[int, Field(ge=0, le=100)]

_Model = TypeVar("_Model", bound=ApiModel)

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> int:
    """`15m` -> 900."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


def evolve(model: _Model, **changes: Any) -> _Model:
    """A copy of a frozen model with some fields changed, checked like any new one."""
    return type(model).model_validate(dict(model) | changes)
