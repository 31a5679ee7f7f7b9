"""What the API server would refuse of an object, by a CRD's schema: types, bounds, unknown fields, and the CEL rules.

The words are the API server's own as far as it has any. It stops at the first kind of mistake (it judges no rule of an
object with a wrong type); this goes on with whatever can still be judged, so that one reading finds everything.
"""

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from rewriter_operator.api.value_rules import RULES
from rewriter_operator.cli.cel import cel_value, holds, refusal

Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_NAMES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, order=True)
class Finding:
    """One refusal."""

    place: str
    """spec.rollout.stages[0].steps"""
    message: str
    blocks: bool = field(default=False, compare=False)
    """No rule can be judged on what has this mistake in it."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


def findings(body: Mapping[str, Any], schema: Schema) -> list[Finding]:
    """Everything that is wrong with the object, in the schema's order."""
    unknown = list(_unknown(body, schema, ""))
    whole = defaulted(body, schema)
    shape = list(_shape(whole, schema, ""))
    wrong = {finding.place for finding in shape if finding.blocks}
    return unknown + shape + list(_rules(whole, schema, "", wrong))


def defaulted(value: Any, schema: Schema) -> Any:
    """A copy with the schema's defaults in it, as the API server stores it; a null takes its field's default."""
    match value:
        case dict() if "properties" in schema:
            below = schema["properties"]
            given = {
                key: item for key, item in value.items() if item is not None or "default" not in below.get(key, {})
            }
            for key, part in below.items():
                if "default" in part:
                    given.setdefault(key, deepcopy(part["default"]))
            return {key: defaulted(item, below.get(key, {})) for key, item in given.items()}
        case dict():
            return {key: defaulted(item, schema.get("additionalProperties", {})) for key, item in value.items()}
        case list():
            return [defaulted(item, schema.get("items", {})) for item in value]
        case _:
            return value


def _unknown(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    """Fields that the schema does not have, as strict decoding tells them."""
    if isinstance(value, dict) and "properties" in schema:
        for key, item in value.items():
            if key in schema["properties"]:
                yield from _unknown(item, schema["properties"][key], _join(path, key))
            else:
                yield Finding("", f'unknown field "{_join(path, key)}"')
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")


def _shape(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    """Types, bounds, required fields, duplicates."""
    kind = schema.get("type")
    if kind is None:
        return
    if not _is_a(value, kind):
        given = _NAMES.get(type(value), "null")
        yield Finding(path, f'Invalid value: "{given}": {path} in body must be of type {kind}: "{given}"', blocks=True)
        return
    yield from _out_of_bounds(value, schema, path)
    if kind == "object":
        for key in schema.get("required", ()):
            if key not in value:
                yield Finding(_join(path, key), "Required value", blocks=True)
    if kind == "array":
        yield from _duplicates(value, schema, path)
    for child, below, place in _children(value, schema, path):
        yield from _shape(child, below, place)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _out_of_bounds(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(json.dumps(item) for item in schema["enum"])
        yield Finding(path, f"Unsupported value: {json.dumps(value)}: supported values: {known}")
    match value:
        case bool():
            return
        case int() | float():
            yield from (
                Finding(path, f"Invalid value: {value}: {path} in body {why}") for why in _number(value, schema)
            )
        case str():
            yield from (Finding(path, why) for why in _text(value, schema, path))
        case _:
            yield from _count(len(value), schema, path)


def _number(value: float, schema: Schema) -> Iterator[str]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        yield f"should be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{low:g}"
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        yield f"should be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{high:.15g}"


def _text(value: str, schema: Schema, path: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"Invalid value: {json.dumps(value)}: {path} in body should be at least {schema['minLength']} chars long"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"Too long: may not be more than {schema['maxLength']} bytes"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"Invalid value: {json.dumps(value)}: {path} in body should match '{schema['pattern']}'"


def _count(count: int, schema: Schema, path: str) -> Iterator[Finding]:
    """Too many of anything are not looked at one by one, as the API server does not either: each costs its rules."""
    for least, most, things in (("minItems", "maxItems", "items"), ("minProperties", "maxProperties", "properties")):
        if count < schema.get(least, 0):
            yield Finding(path, f"Invalid value: {count}: {path} in body should have at least {schema[least]} {things}")
        if count > schema.get(most, count):
            yield Finding(path, f"Too many: {count}: must have at most {schema[most]} items", blocks=True)


def _duplicates(items: list[Any], schema: Schema, path: str) -> Iterator[Finding]:
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if schema.get("x-kubernetes-list-type") not in ("map", "set"):
        return
    seen: list[Any] = []
    for index, item in enumerate(items):
        identity = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else item
        if identity in seen:
            yield Finding(f"{path}[{index}]", f"Duplicate value: {json.dumps(identity)}")
        seen.append(identity)


def _rules(value: Any, schema: Schema, path: str, wrong: set[str]) -> Iterator[Finding]:
    """CEL rules of what has the right shape; what is wrong inside is told already."""
    if path in wrong:
        return
    if _is_sound(path, wrong):
        entries = [entry for entry in schema.get(RULES, ()) if "oldSelf" not in entry["rule"]]
        seen = cel_value(value, schema) if entries else None
        for entry in entries:
            if not holds(entry["rule"], seen):
                yield Finding(path + entry.get("fieldPath", ""), f"Invalid value: {refusal(entry, seen)}")
    for child, below, place in _children(value, schema, path):
        yield from _rules(child, below, place, wrong)


def _is_sound(path: str, wrong: set[str]) -> bool:
    """Whether nothing at the path or below it has a wrong shape."""
    return not any(item == path or not path or item.startswith((f"{path}.", f"{path}[")) for item in wrong)


def _children(value: Any, schema: Schema, path: str) -> Iterator[tuple[Any, Schema, str]]:
    if isinstance(value, dict):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            below = fields.get(key, others)
            if isinstance(below, Mapping):
                yield item, below, _join(path, key) if key in fields else f"{path}[{key}]"
    elif isinstance(value, list) and "items" in schema:
        yield from ((item, schema["items"], f"{path}[{index}]") for index, item in enumerate(value))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
