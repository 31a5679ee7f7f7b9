"""Rules about one value of a spec, each said twice (CEL for the API server, Python for the operator) with one sentence.

The API server refuses at admission; the operator reads the same verdict into an object that was stored before the rule
came, or past the CRD. tests/integration/test_schema_walk.py holds the two against each other. Rules about several
fields together are CEL only (release.py): the operator goes on with what was stored before such a rule came.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

RULES: Final = "x-kubernetes-validations"

QUOTED: Final = '"%s"'
"""How a text is shown."""


@dataclass(frozen=True)
class ValueRule:
    """A rule about the value itself; use it inside Annotated."""

    cel: str
    """True for what is allowed; `self` is the value."""
    holds: Callable[[Any], bool]
    """The same in Python."""
    must: str
    """How the sentence ends: what the value must be, with an example. No quote, no backslash."""
    shown: str = "self"
    """CEL of what is shown as given; empty: the sentence stands alone."""
    got: str = "%s"
    """How it is shown."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler.resolve_ref_schema(handler(schema)).copy()
        return found | {RULES: [*found.get(RULES, ()), self.as_cel()]}

    def as_cel(self) -> dict[str, str]:
        """The entry of x-kubernetes-validations."""
        return sentence(self.cel, self.must, self.shown, self.got)

    def _checked(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.must)
        return value


def sentence(cel: str, must: str, shown: str = "", got: str = "%s", path: str = "") -> dict[str, str]:
    """A CEL rule whose refusal says what it got (CEL expressions `shown`, put into `got`) and what must be.

    `format` and not `+`: the API server takes a number's text for endless when it estimates the cost of `+`.
    """
    entry = {"rule": cel, "message": must}
    if shown:  # the API server falls back to `message` where this cannot be shown, e.g. for a text of several lines
        quoted = must.replace("%", "%%").replace("\\", r"\\").replace("'", r"\'")
        text = f"got {got}; {quoted}"
        entry["messageExpression"] = f"'{text}'.format([{shown}])"
    return entry | ({"fieldPath": path} if path else {})


def matching(pattern: str, must: str) -> ValueRule:
    """A text that has this form from its first to its last character."""
    form = re.compile(pattern)
    return ValueRule(f"self.matches(r'^({pattern})$')", lambda text: form.fullmatch(text) is not None, must, got=QUOTED)


_CONTROL: Final = r"[\x00-\x08\x0b-\x1f\x7f]"

PRINTABLE: Final = ValueRule(
    f"!self.matches(r'{_CONTROL}')",
    lambda text: re.search(_CONTROL, text) is None,
    "must not hold control characters other than line feeds and tabs",
    shown="",
)
"""A text that people write and other programs parse."""


def lasting(longest: str, shortest: str = "", or_none: bool = False) -> ValueRule:
    """A duration: a whole number of seconds, minutes or hours, up to `longest`, and not below `shortest`.

    With `or_none` also 0s.
    """
    form = re.compile(r"(0s|[1-9][0-9]{0,4}[smh])" if or_none else r"[1-9][0-9]{0,4}[smh]")
    least = f" && duration(self) >= duration('{shortest}')" if shortest else ""
    examples = "0s, 30s, 15m, 12h" if or_none else "30s, 15m, 12h"
    bounds = f"at least {shortest} and at most {longest}" if shortest else f"at most {longest}"
    return ValueRule(
        f"self.matches('^{form.pattern}$') && duration(self) <= duration('{longest}'){least}",
        lambda text: (
            form.fullmatch(text) is not None
            and seconds(text) <= seconds(longest)
            and (not shortest or seconds(text) >= seconds(shortest))
        ),
        f"must be a whole number of seconds, minutes or hours, {bounds}; e.g. {examples}",
        got=QUOTED,
    )


def at_most(limit: float) -> ValueRule:
    """An upper bound that is no whole number: the API server's own refusal would round it, `should be at most 0`."""
    return ValueRule(f"self <= {limit}", lambda value: value <= limit, f"must be at most {limit}")


_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> int:
    """`15m` -> 900."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


_MULTIPLES: Final = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGT", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGT", start=1)},
}


def amount(quantity: str) -> Decimal:
    """`1500m` -> 1.5, `2Gi` -> 2147483648."""
    digits = quantity.rstrip("mkKMGTi")
    return Decimal(digits) * _MULTIPLES[quantity[len(digits) :]]
