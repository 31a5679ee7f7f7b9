"""The expression of a reward: a part of CEL that is arithmetic, and nothing else.

Numbers (double), truth values, comparisons, `? :`, `&&`, `||`, `!`, parentheses and the names of terms. There are no
strings, lists, calls or loops, so an expression sees no text, and costs what its length says: each part is computed at
most once. Types are checked when it is compiled; a value that is not finite is the caller's to refuse. The meaning is
CEL's (https://github.com/google/cel-spec), in which a number without a point is no double: it is refused here.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

MAX_CHARACTERS: Final = 1024
MAX_DEPTH: Final = 32
"""Of parentheses and operators within each other."""

Value = float | bool
Compute = Callable[[Mapping[str, Value]], Value]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<operator>\|\||&&|[=!<>]=|[-+*/<>!?:()])|(?P<end>$))"
)
_BINARY: Final = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">="), ("+", "-"), ("*", "/"))
"""From loose to tight."""
_COMPARE: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Kind(Enum):
    """Type of a part."""

    NUMBER = "a number"
    TRUTH = "true or false"


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says where, and what to write."""


@dataclass(frozen=True)
class Expression:
    """A checked expression that gives a number."""

    text: str
    _compute: Compute

    def value(self, terms: Mapping[str, Value]) -> float:
        """What it gives for these terms; infinite or NaN where it divides by nothing."""
        return float(self._compute(terms))


def compile_expression(text: str, terms: Mapping[str, Kind]) -> Expression:
    """Check `text`, whose names are those of `terms`.

    >>> compile_expression("logR - (numbersKept ? 0.0 : 0.5)", {"logR": Kind.NUMBER, "numbersKept": Kind.TRUTH}).value(
    ...     {"logR": 0.75, "numbersKept": False}
    ... )
    0.25

    Raises:
        ExpressionError: when it is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"has {len(text)} characters; at most {MAX_CHARACTERS}")
    parser = _Parser(text, terms)
    part = parser.whole()
    if part.kind is not Kind.NUMBER:
        raise ExpressionError(f"gives {part.kind.value}; a reward is a number, write `... ? 1.0 : 0.0`")
    return Expression(text, part.compute)


@dataclass(frozen=True)
class _Part:
    kind: Kind
    compute: Compute


class _Parser:
    """Recursive descent; one token ahead."""

    def __init__(self, text: str, terms: Mapping[str, Kind]) -> None:
        self._terms = terms
        self._tokens = self._split(text)
        self._depth = 0
        self._what, self._token, self._at = next(self._tokens)

    def _split(self, text: str) -> Iterator[tuple[str, str, int]]:
        at = 0
        while True:
            found = _TOKEN.match(text, at)
            if found is None or not found.lastgroup:
                rest = text[at:].lstrip()
                raise ExpressionError(f"{_place(len(text) - len(rest))}: {rest[:1]!r} has no meaning here")
            yield found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)
            at = found.end()

    def whole(self) -> _Part:
        part = self._choice()
        if self._what != "end":
            self._fail(f"{self._token!r} is too much")
        return part

    def _choice(self) -> _Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"is nested deeper than {MAX_DEPTH}")
        condition = self._binary(0)
        if self._take("?"):
            self._want(condition, Kind.TRUTH, "before ?")
            yes = self._choice()
            if not self._take(":"):
                self._fail("`:` is missing after `?`")
            no = self._choice()
            self._want(no, yes.kind, "after :")
            condition = _Part(yes.kind, _chosen(condition.compute, yes.compute, no.compute))
        self._depth -= 1
        return condition

    def _binary(self, level: int) -> _Part:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._what == "operator" and self._token in _BINARY[level]:
            sign = self._token
            self._advance()
            right = self._binary(level + 1)
            left = self._joined(sign, left, right)
        return left

    def _joined(self, sign: str, left: _Part, right: _Part) -> _Part:
        one, other = left.compute, right.compute
        if sign in ("||", "&&"):
            for side in (left, right):
                self._want(side, Kind.TRUTH, f"beside {sign}")
            either = sign == "||"
            return _Part(
                Kind.TRUTH, lambda terms: one(terms) or other(terms) if either else one(terms) and other(terms)
            )
        if sign in ("==", "!="):
            self._want(right, left.kind, f"after {sign}")
        else:
            for side in (left, right):
                self._want(side, Kind.NUMBER, f"beside {sign}")
        if sign in _COMPARE:
            compare = _COMPARE[sign]
            return _Part(Kind.TRUTH, lambda terms: compare(one(terms), other(terms)))
        arithmetic = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divide}[sign]
        return _Part(Kind.NUMBER, lambda terms: arithmetic(one(terms), other(terms)))

    def _unary(self) -> _Part:
        signs = []
        while self._what == "operator" and self._token in ("!", "-"):
            signs.append(self._token)
            self._advance()
        if len(set(signs)) > 1 or len(signs) > MAX_DEPTH:
            self._fail("takes `!` of a number, or `-` of a truth value")
        part = self._primary()
        if signs:
            self._want(part, Kind.TRUTH if signs[0] == "!" else Kind.NUMBER, f"after {signs[0]}")
        if len(signs) % 2 == 0:
            return part
        inner = part.compute
        return _Part(part.kind, (lambda terms: not inner(terms)) if signs[0] == "!" else (lambda terms: -inner(terms)))

    def _primary(self) -> _Part:
        what, token = self._what, self._token
        if self._take("("):
            part = self._choice()
            if not self._take(")"):
                self._fail("`)` is missing")
            return part
        if what == "number":
            if "." not in token and "e" not in token.lower():
                self._fail(f"{token} is an integer in CEL; write {token}.0")
            value = float(token)
            self._advance()
            return _Part(Kind.NUMBER, lambda _: value)
        if what == "name":
            return self._named(token)
        self._fail("ends too early" if what == "end" else f"{token!r} stands where a value is wanted")

    def _named(self, name: str) -> _Part:
        if name in ("true", "false"):
            truth = name == "true"
            self._advance()
            return _Part(Kind.TRUTH, lambda _: truth)
        if name not in self._terms:
            self._fail(f"no term is called {name}; there are {', '.join(sorted(self._terms))}")
        self._advance()
        if self._token == "(":
            self._fail(f"{name} is a term and cannot be called; an expression has no functions")
        return _Part(self._terms[name], lambda terms: terms[name])

    def _take(self, token: str) -> bool:
        if self._what != "operator" or self._token != token:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        self._what, self._token, self._at = next(self._tokens)

    def _want(self, part: _Part, kind: Kind, where: str) -> None:
        if part.kind is not kind:
            self._fail(f"{part.kind.value} stands {where}, where {kind.value} is wanted")

    def _fail(self, what: str) -> NoReturn:
        raise ExpressionError(f"{_place(self._at)}: {what}")


def _chosen(condition: Compute, yes: Compute, no: Compute) -> Compute:
    return lambda terms: yes(terms) if condition(terms) else no(terms)


def _divide(one: Value, other: Value) -> float:
    """As IEEE 754 has it, and CEL: no exception."""
    if other:
        return one / other
    return math.nan if not one or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1.0, other)


def _place(at: int) -> str:
    return f"character {at + 1}"
