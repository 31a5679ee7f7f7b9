"""Events of one pass, posted beside what the pass goes on with: no share waits until people were told of the last step.

The pass ends only once they are posted, so they are as late as its last write, and no later.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from rewriter_operator.cluster.act import Hands
from rewriter_operator.core.decision import Note
from rewriter_operator.errors import Retry

log = logging.getLogger(__name__)


@dataclass
class Telling:
    """Of one pass over one release."""

    hands: Hands
    _posts: "list[asyncio.Task[None]]" = field(default_factory=list)

    def say(self, live: dict[str, Any], notes: Iterable[Note]) -> None:
        """Begin to post Events about the release, one after the other."""
        before = self._posts[-1] if self._posts else None
        self._posts.append(asyncio.create_task(self._post(live, tuple(notes), before)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Until all are posted, or refused; a pass that is cancelled waits for none. A bug of a post is the pass's."""
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        for post in self._posts * cancelled:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=cancelled)

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
