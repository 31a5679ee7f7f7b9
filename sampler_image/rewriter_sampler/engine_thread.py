"""One thread that owns the engine: everything that touches it runs here, one thing at a time.

Callers hand in draws and get futures; `call` runs a function between two steps. When a step fails the engine is
beyond use: every waiting future fails and `on_death` is told, which ends the process so that kubelet starts a new one.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rewriter_sampler.drawing import Draw, Drawn, PromptTooLong

T = TypeVar("T")

log = logging.getLogger(__name__)


class DrawingEngine(Protocol):
    """What the thread needs of an engine."""

    def submit(self, draw: Draw) -> str: ...
    def step(self) -> dict[str, Drawn]: ...
    def busy(self) -> bool: ...
    def abort(self, keys: list[str]) -> None: ...


@dataclass(frozen=True)
class _Submit:
    draw: Draw
    future: "Future[Drawn]"


@dataclass(frozen=True)
class _Abort:
    future: "Future[Drawn]"


@dataclass(frozen=True)
class _Call:
    function: Callable[[Any], Any]
    future: "Future[Any]"


class EngineThread:
    """Runs one engine. The engine is made by the first `call`, see `build`."""

    def __init__(self, on_death: Callable[[Exception], None]) -> None:
        self._on_death = on_death
        self._inbox: queue.SimpleQueue[_Submit | _Abort | _Call] = queue.SimpleQueue()
        self._engine: Any = None
        self._waiting: dict[str, Future[Drawn]] = {}
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def build(self, make: Callable[[], DrawingEngine]) -> None:
        """Make the engine in its thread; what `make` raises is raised here."""

        def keep(_: Any) -> None:
            self._engine = make()

        self.call(keep)

    def call(self, function: Callable[[Any], T]) -> T:
        """Run `function(engine)` between two steps and return its result."""
        future: Future[T] = Future()
        self._inbox.put(_Call(function, future))
        return future.result()

    def draw(self, draw: Draw) -> "Future[Drawn]":
        """Start a draw. Cancelling the future takes it out of the engine.

        The future raises PromptTooLong, or EngineError when the engine died.
        """
        future: Future[Drawn] = Future()
        future.add_done_callback(self._forget_when_cancelled)
        self._inbox.put(_Submit(draw, future))
        return future

    def in_flight(self) -> int:
        """How many draws the engine is working on."""
        return len(self._waiting)

    def _forget_when_cancelled(self, future: "Future[Drawn]") -> None:
        if future.cancelled():
            self._inbox.put(_Abort(future))

    def _run(self) -> None:
        try:
            while True:
                self._take_mail()
                if self._waiting:
                    self._step()
        except Exception as error:  # the end of this thread is the end of the process
            log.exception("the engine died")
            self._fail_all(error)
            self._on_death(error)

    def _take_mail(self) -> None:
        """Handle all mail; waits for some only when there is nothing to draw."""
        while True:
            try:
                mail = self._inbox.get(block=not self._waiting)
            except queue.Empty:
                return
            self._handle(mail)

    def _handle(self, mail: "_Submit | _Abort | _Call") -> None:
        match mail:
            case _Submit(draw, future):
                self._submit(draw, future)
            case _Abort(future):
                self._abort(future)
            case _Call(function, future):
                _resolve(future, function, self._engine)

    def _submit(self, draw: Draw, future: "Future[Drawn]") -> None:
        if future.cancelled():
            return
        try:
            self._waiting[self._engine.submit(draw)] = future
        except PromptTooLong as error:
            _give_up(future, error)

    def _abort(self, future: "Future[Drawn]") -> None:
        keys = [key for key, waiting in self._waiting.items() if waiting is future]
        for key in keys:
            del self._waiting[key]
        if keys:
            self._engine.abort(keys)

    def _step(self) -> None:
        for key, drawn in self._engine.step().items():
            future = self._waiting.pop(key, None)
            if future is not None and future.set_running_or_notify_cancel():
                future.set_result(drawn)

    def _fail_all(self, error: Exception) -> None:
        for future in self._waiting.values():
            _give_up(future, error)
        self._waiting.clear()


def _give_up(future: "Future[Drawn]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _resolve(future: "Future[Any]", function: Callable[[Any], Any], engine: Any) -> None:
    try:
        future.set_result(function(engine))
    except Exception as error:  # it is the caller's: raised there by `call`
        future.set_exception(error)
