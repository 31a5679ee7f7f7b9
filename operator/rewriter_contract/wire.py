"""Turns frozen dataclasses into JSON objects and back, strictly.

Every body between the programs is one of the dataclasses in messages.py. Reading refuses unknown keys, missing
keys and wrong types with the path of the field, because a misspelt key that is silently dropped would train or
serve something that nobody asked for. Fields are snake_case in Python and camelCase on the wire.
"""

import dataclasses
import hashlib
import json
import math
import types
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class WireError(ValueError):
    """A body does not have the form its receiver documents; the message names the field and what it must be."""


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
"""What most of a body is, and is JSON already: asked for first, as a plan writes thousands of them."""


def camel(name: str) -> str:
    """`learning_rate` -> `learningRate`."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def to_wire(value: Any) -> Any:
    """A dataclass (or a tree of lists and dicts of them) as JSON-ready objects; None fields are left out."""
    kind: type = type(value)
    if kind in _SCALARS:
        return value
    if (fields := _fields(kind)) is not None:
        pairs = ((name, getattr(value, field.name)) for name, field in fields.items())
        return {name: to_wire(item) for name, item in pairs if item is not None}
    if isinstance(value, dict):
        return {str(key): to_wire(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    return value


def dumps(value: Any) -> str:
    """Canonical JSON text: sorted keys, no spaces, so that equal values have equal digests. NaN is refused."""
    return json.dumps(to_wire(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """sha256 of a body as it was written, which another version may read otherwise, or not at all."""
    return hashlib.sha256(text.encode()).hexdigest()


def from_wire(kind: type[T], data: Any, path: str = "body") -> T:
    """Build a `kind` from JSON objects.

    Raises:
        WireError: naming the path of the first field that is missing, unknown or of a wrong type.
    """
    return cast(T, _read(kind, data, path))


def loads(kind: type[T], text: str | bytes, path: str = "body") -> T:
    """`from_wire` for JSON text; text that is not JSON raises WireError too."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # the second: nested deeper than Python reads
        raise WireError(f"{path}: not JSON ({error})") from error
    return from_wire(kind, data, path)


@cache
def _fields(kind: type) -> dict[str, "dataclasses.Field[Any]"] | None:
    """Of a dataclass, by their names on the wire; None of any other type."""
    return {camel(field.name): field for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, data: Any, path: str) -> Any:
    if kind is Any:
        return data
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_optional(kind, data, path)
    if origin in (list, tuple):
        items = _expect(list, data, path)
        item_kind = get_args(kind)[0]
        read = [_read(item_kind, item, f"{path}[{index}]") for index, item in enumerate(items)]
        return tuple(read) if origin is tuple else read
    if origin is dict:
        entries = _expect(dict, data, path)
        return {key: _read(get_args(kind)[1], item, f"{path}.{key}") for key, item in entries.items()}
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(cast(type, kind), _expect(dict, data, path), path)
    return _read_scalar(kind, data, path)


def _read_optional(kind: Any, data: Any, path: str) -> Any:
    if data is None:
        return None
    (inner,) = [arg for arg in get_args(kind) if arg is not types.NoneType]
    return _read(inner, data, path)


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and types.NoneType in get_args(kind)


def _read_dataclass(kind: type, data: dict[str, Any], path: str) -> Any:
    known, hints = _fields(kind) or {}, _hints(kind)
    for key in data:
        if key not in known:
            raise WireError(f"{path}.{key}: unknown field; known: {', '.join(sorted(known))}")
    values = {}
    for key, field in known.items():
        if key in data:
            values[field.name] = _read(hints[field.name], data[key], f"{path}.{key}")
        elif field.default is dataclasses.MISSING and _is_optional(hints[field.name]):
            values[field.name] = None  # to_wire leaves None out, so absence is how None travels
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WireError(f"{path}.{key}: required field is missing")
    return kind(**values)


def _read_scalar(kind: Any, data: Any, path: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:
            raise WireError(f"{path}: got a whole number of {data.bit_length()} bits; must be a float") from None
    if isinstance(data, float) and not math.isfinite(data):  # Python's JSON reads NaN; comparing with it is False
        raise WireError(f"{path}: got {data}; must be a finite number")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(data)
        except ValueError:
            raise WireError(f"{path}: got {data!r}; must be one of {', '.join(kind)}") from None
    if kind is not bool and isinstance(data, bool):
        raise WireError(f"{path}: got {data!r}; must be {kind.__name__}")
    return _expect(kind, data, path)


def _expect(kind: type, data: Any, path: str) -> Any:
    if not isinstance(data, kind):
        raise WireError(f"{path}: got {type(data).__name__} {str(data)[:80]!r}; must be {kind.__name__}")
    return data
