"""Waits until releases or rollouts are where they should be, and says which are not."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from e2e.bench.scale.subject import Subject

LIMIT_SECONDS: Final = 1200.0
LOOK_SECONDS: Final = 0.5


class TooLate(Exception):
    """They did not get where they should have; the message says which are where."""


@dataclass(frozen=True)
class Waiting:
    """For what one program does."""

    subject: Subject
    tell: Callable[[str], str]
    """Name -> where it is, for the message."""

    async def until(self, names: Sequence[str], is_so: Callable[[str], bool], what: str) -> None:
        """
        Raises:
            TooLate: after LIMIT_SECONDS.
            RuntimeError: when the program has ended.
        """
        end = time.monotonic() + LIMIT_SECONDS
        while late := [name for name in names if not is_so(name)]:
            self.subject.must_live()
            if time.monotonic() > end:
                raise TooLate(
                    f"{len(late)} of {len(names)} are not {what} after {LIMIT_SECONDS:.0f} s; "
                    f"{late[0]} is {self.tell(late[0])}"
                )
            await asyncio.sleep(LOOK_SECONDS)
