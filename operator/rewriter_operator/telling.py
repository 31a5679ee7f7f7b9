"""Events of one pass, posted beside what the pass goes on with: no share waits until people were told of the last step.

The pass waits a moment for them, so that they are mostly no later than its last write. Where the API server is slow
with Events, the pass ends all the same: its release is to be watched, and others wait for its worker. What is left is
posted before what the next pass tells.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from rewriter_operator.cluster.act import Hands
from rewriter_operator.core.decision import Note
from rewriter_operator.errors import Retry

PATIENCE_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


@dataclass
class Telling:
    """Of one pass over one release."""

    hands: Hands
    before: "Telling | None" = None
    """Of the pass before."""
    _posts: "list[asyncio.Task[None]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self._posts += self.before._left() if self.before else ()
        self.before = None

    def say(self, live: dict[str, Any], notes: Iterable[Note]) -> None:
        """Begin to post Events about the release, one after the other."""
        before = self._posts[-1] if self._posts else None
        self._posts.append(asyncio.create_task(self._post(live, tuple(notes), before)))

    def cancel(self) -> None:
        """Post nothing more."""
        for post in self._posts:
            post.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Until all are posted, or refused, or a moment has passed; a pass that is cancelled waits for none, and posts
        none. A bug of a post is the pass's."""
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self.cancel()
        elif self._posts:
            ended, _left = await asyncio.wait(self._posts, timeout=PATIENCE_SECONDS)
            await asyncio.gather(*ended)

    def _left(self) -> "list[asyncio.Task[None]]":
        return [post for post in self._posts if not post.done()]

    async def _post(self, live: dict[str, Any], notes: tuple[Note, ...], before: "asyncio.Task[None] | None") -> None:
        if before:
            await before
        name = live["metadata"]["name"]
        for note in notes:
            log.info("%s: %s: %s", name, note.reason, note.message)
            try:
                await self.hands.tell(live, note)
            except Retry as error:  # an Event is for people; a release never waits for one
                log.warning("%s: event %s not written: %s", name, note.reason, error)
