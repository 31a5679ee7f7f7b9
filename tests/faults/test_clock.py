"""Time flies only while nobody works, and never past the moment at which somebody wants to be woken."""

import asyncio
import multiprocessing
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.faults.clock import Clock
from tests.ports import free_port


def _sleeper(clock: Clock) -> None:
    """A process that sleeps ten minutes, works a little, and says what its clock said."""
    clock.install()

    async def live() -> None:
        began = time.time()
        await asyncio.sleep(600)
        slept = time.time() - began
        (clock.path.parent / "slept").write_text(str(slept))

    asyncio.run(live())


def _caller(clock: Clock, url: str) -> None:
    """A process that waits at most five seconds, by its clock, for an answer."""
    clock.install()

    async def live() -> None:
        timeout = aiohttp.ClientTimeout(total=5.0)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            (clock.path.parent / "answer").write_text(str(answer.status))

    asyncio.run(live())


def test_a_slow_answer_is_no_time_out(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 2000.0)
    clock.begin_life()

    async def answer(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response()

    async def turn() -> None:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        process = multiprocessing.get_context("spawn").Process(
            target=_caller, args=(clock, f"http://127.0.0.1:{port}/")
        )
        running = asyncio.create_task(clock.run(lambda: True))
        process.start()
        await asyncio.to_thread(process.join, 60)
        running.cancel()
        await runner.cleanup()

    asyncio.run(turn())
    assert (tmp_path / "answer").read_text() == "200"


def _keeper(clock: Clock) -> None:
    """A process in which somebody kept `time.monotonic` before the clock was installed."""
    from tests.faults import borrowed_time  # noqa: F401

    kept = time.monotonic
    clock.install()
    (clock.path.parent / "kept").write_text(str(kept() - clock.monotonic()))


def test_what_was_kept_of_time_follows_the_clock_too(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 20.0)
    process = multiprocessing.get_context("spawn").Process(target=_keeper, args=(clock,))
    process.start()
    process.join(60)
    assert float((tmp_path / "kept").read_text()) == 0


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


def _writer(clock: Clock) -> None:
    """A process that sets the time again and again, and never back."""
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        clock.advance(0.001)


def test_no_reader_sees_a_time_that_nobody_set(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 20.0)
    process = multiprocessing.get_context("spawn").Process(target=_writer, args=(clock,))
    process.start()
    seen = [clock.time()]
    while process.is_alive():
        seen += [clock.time() for _ in range(20_000)]
        assert seen == sorted(seen)
        seen = seen[-1:]


def test_time_crawls_while_somebody_works(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 2000.0)
    began = clock.time()

    async def turn() -> None:
        running = asyncio.create_task(clock.run(lambda: False))
        await asyncio.sleep(0.1)
        running.cancel()

    asyncio.run(turn())
    assert 0 < clock.time() - began < 1
