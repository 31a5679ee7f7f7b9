"""What both sides of the comparison can be asked to do, in the words of this project's releases."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from e2e.bench.scale.moments import Awaited, Moments
from e2e.bench.scale.subject import Subject

Act = tuple[Awaited, Callable[[], Awaitable[None]]]
"""What will be seen, and what is done for it."""


CREATE_AT_ONCE: Final = 10


async def create_all(names: Sequence[str], create: Callable[[str], Awaitable[None]]) -> None:
    """Both sides' objects, so many at once."""
    gate = asyncio.Semaphore(CREATE_AT_ONCE)

    async def one(name: str) -> None:
        async with gate:
            await create(name)

    await asyncio.gather(*(one(name) for name in names))


class Side(Protocol):
    """The operator with its releases, or the peer with its rollouts."""

    subject: Subject
    moments: Moments
    service_account: str
    namespace: str

    async def create(self, names: Sequence[str]) -> None:
        """Make releases that start nothing, and wait until each serves and rests."""

    async def hold(self, names: Sequence[str]) -> None:
        """Bring a candidate of each to its first share, where it waits for a person."""

    def edit(self, name: str) -> Act:
        """Change the spec in something that only has to be taken note of; seen when the status says so."""

    def abort(self, name: str) -> Act:
        """Take the candidate back; seen when the route has no share for it."""

    def approve(self, name: str) -> Act:
        """Let a candidate that waits at its first share go on; seen when the route gives it everything."""

    async def promoted(self, names: Sequence[str]) -> None:
        """Wait until those that were let go on are promoted, and rest."""

    async def rest(self, names: Sequence[str]) -> None:
        """Wait until nothing is left of what was aborted."""

    async def make_one_to_promote(self, name: str) -> None:
        """One release more, at rest, whose rollout will wait for nobody: a share of 20, a look, all of it."""

    async def promote(self, name: str) -> None:
        """Its rollout, from a change of the spec to the promotion."""
