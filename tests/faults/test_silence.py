"""Pods that hang, as their callers see them."""

import asyncio
import multiprocessing
import socket
from pathlib import Path

import aiohttp
import pytest

from tests.faults.clock import Clock
from tests.faults.silence import Silence
from tests.ports import free_port


def _caller(clock: Clock, url: str) -> None:
    """A process that waits five minutes, by its clock, for an answer."""
    clock.install()

    async def live() -> str:
        timeout = aiohttp.ClientTimeout(total=300.0)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url):
                return "answered"
        except TimeoutError:
            return "gave up"

    (clock.path.parent / "came of it").write_text(asyncio.run(live()))


def test_who_waits_for_a_pod_that_hangs_gives_up_by_the_clock_and_nobody_waits_that_long(tmp_path: Path) -> None:
    clock = Clock.create(tmp_path / "clock", 2000.0)
    clock.begin_life()

    async def turn() -> None:
        silence, port = Silence(clock, lambda pod: True), free_port()
        await silence.begin("127.0.0.1", port)
        caller = multiprocessing.get_context("spawn").Process(target=_caller, args=(clock, f"http://127.0.0.1:{port}/"))
        running = asyncio.create_task(clock.run(lambda: True))
        caller.start()
        await asyncio.to_thread(caller.join, 60)
        running.cancel()
        silence.end("127.0.0.1")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 1)

    asyncio.run(turn())
    assert (tmp_path / "came of it").read_text() == "gave up"
