"""A frozen value as the key of a cache: for pure functions that a pass asks again and again about the very same value.

Told by identity, which costs nothing, where equality would cost as much as the answer. Whatever holds a key keeps its
value alive, so such a cache is small: what one pass asks, for as many passes as there are at once.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

PASSES: Final = 32
"""Values that a cache keeps."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Same(Generic[_Value]):
    """Equal only to the same value."""

    value: _Value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
