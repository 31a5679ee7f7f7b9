"""kopf is a watcher here and no more: nothing that it does by itself may end or change anything."""

import asyncio
import random
from typing import Any

import kopf
import pytest

from rewriter_operator import __main__ as main
from rewriter_operator.handlers import configure
from rewriter_operator.leading import Leading
from rewriter_operator.settings import from_environment
from rewriter_operator.watch_tasks import NotOfWatches


def test_a_failed_watch_is_never_the_process_death_sentence() -> None:
    """By default kopf sends SIGKILL some time after a failure, whether or not the watches run again by then."""
    settings = kopf.OperatorSettings()
    assert settings.process.ultimate_exiting_timeout is not None
    configure(settings)
    assert settings.process.ultimate_exiting_timeout is None


def test_of_all_tasks_only_those_of_the_watches_are_kopfs_to_cancel() -> None:
    async def story() -> None:
        ours = NotOfWatches()
        never = asyncio.Event()
        made: dict[str, asyncio.Task[Any]] = {}

        async def watches() -> None:
            ours.watch()
            made["stream"] = asyncio.create_task(never.wait())
            async with asyncio.TaskGroup() as group:
                made["grouped"] = group.create_task(never.wait())

        watching = asyncio.create_task(watches())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        worker = asyncio.create_task(never.wait())
        assert made["stream"] not in ours and made["grouped"] not in ours
        assert worker in ours and watching in ours, "kopf itself leaves out the one that runs it"
        assert set(ours) >= {worker} and len(ours) >= 2
        never.set()
        await asyncio.gather(worker, watching, *made.values())

    asyncio.run(story())


def test_a_watch_that_fails_for_good_is_begun_again_and_our_own_tasks_work_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = 0

    async def fails(**_: Any) -> Any:
        nonlocal begun
        begun += 1
        return [asyncio.create_task(broken())]

    async def broken() -> None:
        raise KeyError("versions")

    monkeypatch.setattr(kopf, "spawn_tasks", fails)
    monkeypatch.setattr(random, "uniform", lambda *_: 0.01)

    async def no_istio(_: object) -> bool:
        return False

    monkeypatch.setattr(main, "has_istio", no_istio)
    monkeypatch.setattr(main.handlers, "register", lambda *_: None)
    settings = from_environment({"WATCH_NAMESPACE": "x", "TRAINER_IMAGE": "a:1", "SAMPLER_IMAGE": "b:1"})

    async def story() -> None:
        stop, ours = asyncio.Event(), NotOfWatches()
        watching = asyncio.create_task(main.watch(settings, Leading(settings), stop, ours))
        await asyncio.sleep(0.02)
        worker = asyncio.create_task(asyncio.sleep(3600))  # the term was won after the watches began
        while begun < 3:
            await asyncio.sleep(0.01)
        assert not worker.done() and not watching.done()
        worker.cancel()
        stop.set()
        await asyncio.wait([watching])

    asyncio.run(asyncio.wait_for(story(), 60))
