"""Time flies only while nobody works, and never past the moment at which somebody wants to be woken."""

import asyncio
import multiprocessing
import time
from pathlib import Path

from tests.faults.clock import Clock


def _sleeper(clock: Clock) -> None:
    """A process that sleeps ten minutes, works a little, and says what its clock said."""
    clock.install()

    async def live() -> None:
        began = time.time()
        await asyncio.sleep(600)
        slept = time.time() - began
        (clock.path.parent / "slept").write_text(str(slept))

    asyncio.run(live())


def test_ten_minutes_of_sleep_pass_in_a_moment_and_are_ten_minutes(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 2000.0)
    clock.begin_life()
    process = multiprocessing.get_context("spawn").Process(target=_sleeper, args=(clock,))
    process.start()

    async def turn() -> None:
        running = asyncio.create_task(clock.run(lambda: True))
        await asyncio.to_thread(process.join, 60)
        running.cancel()

    asyncio.run(turn())
    assert process.exitcode == 0
    assert 600 <= float((tmp_path / "slept").read_text()) < 601


def test_time_crawls_while_somebody_works(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 2000.0)
    began = clock.time()

    async def turn() -> None:
        running = asyncio.create_task(clock.run(lambda: False))
        await asyncio.sleep(0.1)
        running.cancel()

    asyncio.run(turn())
    assert 0 < clock.time() - began < 1
