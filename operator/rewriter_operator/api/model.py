"""The base of every API model: camelCase on the wire, frozen, field docstrings become `kubectl explain` texts."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from rewriter_operator.api.value_rules import QUOTED, RULES, ValueRule, lasting, matching
from rewriter_operator.api.value_rules import seconds as seconds

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

    def chosen(self) -> dict[str, Any]:
        """What differs from the defaults: the same for a version that has more fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class SpecModel(ApiModel):
    """A part of a spec: types as strict as the API server's, so that both read the same object or none."""

    model_config = ConfigDict(strict=True)


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """Schema extension that carries CEL rules."""
    return {RULES: list(entries)}


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    matching(
        r"[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "must be a name of lower-case letters, digits and inner hyphens, e.g. shop-rewriter",
    ),
]
"""A DNS-1123 label, as Kubernetes names are."""

VolumePath = Annotated[
    str,
    StringConstraints(max_length=256),
    matching(
        r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*",
        "must be a relative path of letters, digits, dots, hyphens and underscores, without hidden or empty parts, "
        "e.g. data/train.jsonl",
    ),
]
"""A relative path on the volume: no leading `/`, no `..`, no empty or hidden segment."""

Duration = Annotated[str, StringConstraints(max_length=6), lasting("8760h")]
"""A whole number of seconds, minutes or hours, up to a year: 30s, 15m, 12h."""

Delay = Annotated[str, StringConstraints(max_length=6), lasting("720h", or_none=True)]
"""How long something is put off: like a duration, or 0s for not at all."""

CallTimeout = Annotated[str, StringConstraints(max_length=6), lasting("1h")]
"""Of one HTTP call."""

Image = Annotated[
    str,
    StringConstraints(max_length=512),
    matching(
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64})",
        "must be a lower-case image with a tag or a digest, e.g. registry.example/sampler:1.4.0",
    ),
    ValueRule(
        "!self.endsWith(':latest')",
        lambda image: not image.endswith(":latest"),
        "must not have the tag latest, which means another program tomorrow; name a version or a digest",
        got=QUOTED,
    ),
]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]

ShortText = Annotated[str, StringConstraints(max_length=1024)]

Percent = Annotated[int, Field(ge=0, le=100)]

_Model = TypeVar("_Model", bound=ApiModel)


def evolve(model: _Model, **changes: Any) -> _Model:
    """A copy of a frozen model with some fields changed, checked like any new one."""
    return type(model).model_validate(dict(model) | changes)
