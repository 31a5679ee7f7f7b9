"""The CRD's CEL rules, evaluated without an API server: the very texts of the CRD, so that there is no second version
of a rule to keep in step.

cel-python knows the language; what Kubernetes adds to it (quantities, lists that are sorted, `format`) is here, as far
as our rules use it. A rule that cannot be evaluated raises: a rule that is skipped would look like one that holds.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Final

import celpy
from celpy import celtypes

from rewriter_operator.api.value_rules import amount

_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
"""Of the quantities that Kubernetes reads, those that our schema lets pass."""


_JUDGED: Final[dict[tuple[str, str], bool]] = {}
"""(rule, value with its types) -> whether it holds, of short values: releases are alike in most of their parts."""
_SHORT: Final = 2000
"""Characters of a value that may well come again; longer ones would only be kept."""


def holds(rule: str, value: Any) -> bool:
    """Whether a value (as `cel_value` makes it) keeps a rule."""
    key = (rule, repr(value))
    if key not in _JUDGED:
        verdict = bool(_program(rule).evaluate({"self": value}))
        if len(key[1]) > _SHORT:
            return verdict
        _JUDGED[key] = verdict
    return _JUDGED[key]


def refusal(entry: Mapping[str, str], value: Any) -> str:
    """What the API server says of a value that breaks the rule."""
    if "messageExpression" not in entry:
        return entry["message"]
    said = str(_program(entry["messageExpression"]).evaluate({"self": value}))
    return entry["message"] if "\n" in said or not said.strip() else said


def cel_value(value: Any, schema: Mapping[str, Any]) -> Any:
    """JSON as CEL sees it; the schema tells a whole `number` from an `integer`, which CEL does not compare."""
    match schema.get("type"):
        case "object":
            fields, others = schema.get("properties", {}), schema.get("additionalProperties", {})
            return celtypes.MapType(
                {celtypes.StringType(key): cel_value(item, fields.get(key, others)) for key, item in value.items()}
            )
        case "array":
            return celtypes.ListType([cel_value(item, schema["items"]) for item in value])
        case "number":
            return celtypes.DoubleType(value)
        case _:
            return celpy.json_to_cel(value)


def _split(text: celtypes.StringType, at: celtypes.StringType) -> celtypes.ListType:
    return celtypes.ListType([celtypes.StringType(part) for part in str(text).split(str(at))])


def _is_sorted(items: celtypes.ListType) -> celtypes.BoolType:
    return celtypes.BoolType(all(a <= b for a, b in pairwise(items)))


def _is_quantity(text: celtypes.StringType) -> celtypes.BoolType:
    return celtypes.BoolType(_QUANTITY.fullmatch(str(text)) is not None)


def _compare(first: celtypes.StringType, second: celtypes.StringType) -> celtypes.IntType:
    a, b = amount(str(first)), amount(str(second))
    return celtypes.IntType((a > b) - (a < b))


def _is_integer(quantity: celtypes.StringType) -> celtypes.BoolType:
    return celtypes.BoolType(amount(str(quantity)) % 1 == 0)


def _as_integer(quantity: celtypes.StringType) -> celtypes.IntType:
    return celtypes.IntType(int(amount(str(quantity))))


def _format(template: celtypes.StringType, values: celtypes.ListType) -> celtypes.StringType:
    found = iter(values)
    return celtypes.StringType(
        re.sub("%[sd%]", lambda verb: "%" if verb[0] == "%%" else _shown(next(found)), str(template))
    )


def _shown(value: Any) -> str:
    match value:
        case dict():
            return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)
        case list():  # what `filter` and `map` give is no ListType
            return "[" + ", ".join(_quoted(item) if isinstance(item, str) else _shown(item) for item in value) + "]"
        case celtypes.DoubleType():
            return f"{float(value):.15g}"
        case str():
            return str.__str__(value)
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return json.dumps(str.__str__(text), ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str.__str__(key): _plain(item) for key, item in sorted(value.items())}
        case list():
            return [_plain(item) for item in value]
        case str():
            return str.__str__(value)
        case _:
            return value


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "split": _split,
    "isSorted": _is_sorted,
    "isQuantity": _is_quantity,
    "quantity": lambda text: text,
    "compareTo": _compare,
    "isInteger": _is_integer,
    "asInteger": _as_integer,
    "format": _format,
}


@cache
def _program(text: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(text), functions=dict(_FUNCTIONS))
