"""What the harness does to events, calls and pods is what it says that it does."""

import asyncio
import json
import multiprocessing
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.clock import Clock
from tests.faults.plans import Fault, Plan
from tests.faults.poison import Poison
from tests.faults.proxy import FaultProxy, Injector, Relay
from tests.faults.silence import Silence
from tests.ports import free_port


def relayed(fault: Fault, directory: Path, events: int) -> list[int]:
    """The events 1, 2, 3... of one watch, as the operator gets them."""

    async def run() -> list[int]:
        clock = Clock.create(directory / "clock", 20.0)
        nothing: Any = None
        injector = Injector(Plan("promote", fault), clock, kill=nothing, terminate=nothing, delete_release=nothing)
        injector.begin()
        relay = Relay(FaultProxy(nothing, injector, clock), nothing, "pods", "")
        return [int(line) for number in range(events) for line in relay.told(str(number + 1).encode())]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.ERRORS, [1, 2, 3, 4, 5, 6, 7]),
        (Fault.EVENTS_TWICE, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]),
        (Fault.EVENTS_REORDERED, [4, 3, 2, 1]),
        (Fault.EVENTS_OLD, [1, 2, 3, 4, 5, 6, 1, 7, 2]),
    ],
)
def test_events_come_as_the_plan_says(fault: Fault, told: list[int], tmp_path: Path) -> None:
    assert relayed(fault, tmp_path, 7) == told


def test_calls_about_a_release_that_errs_are_told_from_those_about_others() -> None:
    poison, place = Poison(erring="errs"), "/apis/rewriter.dev/v1alpha1/namespaces/x"
    children = "/api/v1/namespaces/x/pods?labelSelector=rewriter.dev%2Frelease%3D"
    for path in (f"{place}/rewriterreleases/errs", f"{place}/rewriterreleases/errs/status", f"{place}/pods/errs-r0001"):
        assert poison.errs(path, b"") and poison.errs(f"{path}?fieldManager=x", b"")
        assert not poison.errs(path.replace("errs", "shop"), b"")
    assert poison.errs(f"{children}errs", b"") and not poison.errs(f"{children}shop", b"")
    assert poison.errs(f"{place}/pods", b'{"metadata": {"name": "errs-c0001-trainer-0"}}')
    assert not poison.errs(f"{place}/pods", b'{"metadata": {"name": "shop-c0001-trainer-0"}}')
    assert not Poison().errs(f"{place}/rewriterreleases/errs", b"")


def test_a_release_that_cannot_be_read_lacks_its_model() -> None:
    body = json.dumps({"spec": {"model": {"path": "base"}, "volume": {}}}).encode()
    poison = Poison(unreadable="odd")
    assert json.loads(poison.told("/x/rewriterreleases/odd", body)) == {"spec": {"volume": {}}}
    assert poison.told("/x/rewriterreleases/shop", body) == body


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
