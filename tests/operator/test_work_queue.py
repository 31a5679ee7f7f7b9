"""The queue: events coalesce, one worker per key, errors become times, and nothing stops the others."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from rewriter_operator import queue as queue_module
from rewriter_operator.errors import Retry, Stalled, Waiting
from rewriter_operator.queue import Again, WorkQueue


class Recorder:
    """A reconcile that does what it is told and remembers."""

    def __init__(self, answer: Callable[[str], float | Again] | None = None, seconds: float = 0.0) -> None:
        self.calls: list[str] = []
        self.running: set[str] = set()
        self.together = 0
        self.answer, self.seconds = answer or (lambda _: 3600.0), seconds

    async def __call__(self, key: str, urgent: bool) -> Again:
        assert key not in self.running, "two workers have the same key"
        self.running.add(key)
        self.together = max(self.together, len(self.running))
        self.calls.append(key)
        try:
            await asyncio.sleep(self.seconds)
            answer = self.answer(key)
            return answer if isinstance(answer, Again) else Again(answer)
        finally:
            self.running.discard(key)


def play(recorder: Recorder, story: Callable[[WorkQueue], Coroutine[Any, Any, None]], workers: int = 4) -> WorkQueue:
    """Runs the queue while the story goes on."""

    async def run() -> WorkQueue:
        queue = WorkQueue(recorder, workers)
        task = asyncio.create_task(queue.run())
        await story(queue)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for timer in queue._timers.values():
            timer.cancel()
        return queue

    return asyncio.run(run())


def test_many_wakes_before_the_start_are_one_reconcile() -> None:
    async def story(queue: WorkQueue) -> None:
        for _ in range(50):
            queue.wake("shop")
        await asyncio.sleep(0.05)

    recorder = Recorder()
    play(recorder, story)
    assert recorder.calls == ["shop"]


def test_a_wake_during_a_reconcile_is_not_lost_and_never_runs_beside_it() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.02)
        for _ in range(10):
            queue.wake("shop")
        await asyncio.sleep(0.2)

    recorder = Recorder(seconds=0.05)
    play(recorder, story)
    assert recorder.calls == ["shop", "shop"]


def test_different_keys_run_side_by_side() -> None:
    async def story(queue: WorkQueue) -> None:
        for key in ("a", "b", "c"):
            queue.wake(key)
        await asyncio.sleep(0.15)

    recorder = Recorder(seconds=0.05)
    play(recorder, story)
    assert recorder.together == 3


def test_the_answer_is_when_to_look_again() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.12)

    recorder = Recorder(lambda _: 0.05)
    play(recorder, story)
    assert len(recorder.calls) in (2, 3)


def test_a_key_that_is_gone_is_forgotten() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.05)

    queue = play(Recorder(lambda _: math.inf), story)
    assert queue._timers == {} and queue._failures == {}


def raising(error: Exception) -> Callable[[str], float]:
    def answer(key: str) -> float:
        if key == "poison":
            raise error
        return 0.02

    return answer


@pytest.mark.parametrize(
    "error",
    [Retry("409"), Stalled("a person must act"), Waiting(5, "a while"), KeyError("a bug")],
    ids=["retry", "stalled", "waiting", "bug"],
)
def test_an_error_of_one_key_never_stops_the_others(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(queue: WorkQueue) -> None:
        queue.wake("poison")
        queue.wake("shop")
        async with asyncio.timeout(10):
            while recorder.calls.count("shop") < 3:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(queue_module, "BACKOFF_SECONDS", (60.0, 60.0))
    recorder = Recorder(raising(error))
    queue = play(recorder, story, workers=1)
    assert recorder.calls.count("poison") == 1, "it waits before it is tried again"
    assert "poison" in queue._timers


def test_retries_back_off_and_a_success_forgets_the_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "BACKOFF_SECONDS", (0.01, 0.08))
    tries: list[int] = []

    def answer(key: str) -> float:
        tries.append(1)
        if len(tries) < 5:
            raise Retry("the API server is away")
        return 3600.0

    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.5)

    queue = play(Recorder(answer), story)
    assert len(tries) == 5
    assert queue._failures == {}


def test_the_wait_doubles_up_to_a_minute() -> None:
    queue = WorkQueue(Recorder())
    waits = [queue._backoff("shop") for _ in range(12)]
    assert 0.4 <= waits[0] <= 0.6
    assert all(later > earlier for earlier, later in pairwise(waits[:6]))
    assert 48 <= waits[-1] <= 72


def test_a_resync_wakes_what_is_new_and_leaves_each_other_key_its_own_time() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.meet("shop")
        await asyncio.sleep(0.05)
        for key in ("shop", "books"):
            queue.meet(key)
        await asyncio.sleep(0.05)

    recorder = Recorder()
    play(recorder, story)
    assert recorder.calls == ["shop", "books"]


def test_a_key_that_asks_for_hours_is_looked_at_within_the_resync_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "RESYNC_SECONDS", 0.05)

    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.3)

    recorder = Recorder(lambda _: 3600.0)
    play(recorder, story)
    assert len(recorder.calls) >= 2


def test_what_is_urgent_goes_before_all_that_waits() -> None:
    async def story(queue: WorkQueue) -> None:
        for name in ("a", "b", "c", "shop"):
            queue.wake(name)
        queue.wake("shop", urgent=True)
        queue.wake("toys", urgent=True)
        await asyncio.sleep(0.2)

    recorder = Recorder(seconds=0.01)
    play(recorder, story, workers=1)
    assert recorder.calls == ["shop", "toys", "a", "b", "c"]


def test_what_gets_urgent_while_it_is_worked_on_is_next() -> None:
    async def story(queue: WorkQueue) -> None:
        queue.wake("shop")
        await asyncio.sleep(0.01)
        for name in ("a", "b"):
            queue.wake(name)
        queue.wake("shop", urgent=True)
        await asyncio.sleep(0.4)

    recorder = Recorder(seconds=0.05)
    play(recorder, story, workers=1)
    assert recorder.calls == ["shop", "shop", "a", "b"]


def test_what_is_urgent_does_not_wait_for_workers_that_are_busy() -> None:
    async def story(queue: WorkQueue) -> None:
        for name in ("a", "b", "c", "d"):
            queue.wake(name)
        await asyncio.sleep(0.02)
        queue.wake("shop", urgent=True)
        await asyncio.sleep(0.02)
        assert recorder.running == {"a", "b", "shop"}, "and what is not urgent waits for one of the two"

    recorder = Recorder(seconds=0.2)
    play(recorder, story, workers=2)


@pytest.mark.parametrize("told_of_its_write", [False, True])
def test_what_follows_from_an_urgent_change_is_as_urgent_until_nothing_more_is_written(told_of_its_write: bool) -> None:
    """An approval is a step, then its share, then the route: three writes, and none of them waits for a crowd."""
    writes = iter([Again(0.0, goes_on=True)] * 2)
    crowd = [f"other-{number}" for number in range(20)]

    def answer(key: str) -> Again:
        if key != "shop":
            return Again(3600.0)
        if told_of_its_write:
            queues[0].wake("shop")
        return next(writes, Again(0.0))

    async def story(queue: WorkQueue) -> None:
        queues.append(queue)
        for name in crowd:
            queue.wake(name)
        queue.wake("shop", urgent=True)
        await asyncio.sleep(0.1)
        queue.forget("shop")

    queues: list[WorkQueue] = []
    recorder = Recorder(answer, seconds=0.002)
    play(recorder, story, workers=1)
    first = recorder.calls[: 3 + 4]
    assert first.count("shop") == 3, first
    assert recorder.calls[len(first) : 20].count("shop") == 0, "the fourth stands behind those who waited"


def test_what_goes_on_without_urgency_waits_its_turn() -> None:
    async def story(queue: WorkQueue) -> None:
        for name in ("shop", "a", "b"):
            queue.wake(name)
        await asyncio.sleep(0.1)

    answers = iter([Again(0.0, goes_on=True)])
    recorder = Recorder(lambda key: next(answers, 3600.0) if key == "shop" else 3600.0, seconds=0.01)
    play(recorder, story, workers=1)
    assert recorder.calls == ["shop", "a", "b", "shop"]
