"""Tells kopf's tasks from ours: when one of its watches fails, kopf cancels every task that began after it did.

That would be the workers of the term that was won meanwhile, and with them the process. So each task that is made by
the watches, or by a task of theirs, is remembered, and all others are what kopf is told to ignore.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

_BY_A_WATCH: ContextVar[bool] = ContextVar("by_a_watch", default=False)


class NotOfWatches(Collection["asyncio.Task[Any]"]):
    """All tasks of this loop but those of the watches, at any time."""

    def __init__(self) -> None:
        self._of_watches: WeakSet[asyncio.Task[Any]] = WeakSet()
        asyncio.get_running_loop().set_task_factory(self._made)

    def watch(self) -> None:
        """The task that calls this becomes a watch."""
        _BY_A_WATCH.set(True)

    def _made(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        if _BY_A_WATCH.get():
            self._of_watches.add(task)
        return task

    def __contains__(self, task: object) -> bool:
        return task not in self._of_watches

    def __iter__(self) -> "Iterator[asyncio.Task[Any]]":
        return iter([task for task in asyncio.all_tasks() if task in self])

    def __len__(self) -> int:
        return len(list(iter(self)))
