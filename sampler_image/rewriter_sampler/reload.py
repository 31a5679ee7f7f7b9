"""Puts weight sets into the sampler's one engine, and keeps anything else from using it meanwhile.

Order matters, and each step prevents a fault that was measured: verify the files BEFORE the pause (a bad set costs no
generation time); compare the model (vLLM keeps the old values of a tensor that is not in the set); wait for running
work (a mixture of two policies must not be trained on); reload; drop the prefix cache (stale keys answer with text of
neither model); canary (the only look at the end of the path). After a failure the previous set is reloaded at once,
before anything is drawn, because drawing from a half-loaded engine kills it. When even that fails the process ends:
a new one starts empty, with a new boot id, and the operator orders again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from rewriter_contract.agent import Refused, WorkFailed, boot_id
from rewriter_contract.messages import LoadState, SamplerState, WeightsOrder, WeightsRef
from rewriter_contract.volume import OutsideVolume, resolve, weights_dir
from rewriter_contract.weights import Manifest, WeightsRefused, verify
from rewriter_sampler import canary
from rewriter_sampler.drawing import EngineError
from rewriter_sampler.engine_thread import DrawingEngine, EngineThread
from rewriter_sampler.same_model import check_same_model

log = logging.getLogger(__name__)


class ReloadableEngine(DrawingEngine, Protocol):
    """What a reload needs of an engine."""

    def reload(self, directory: Path, version: str) -> None: ...
    def name_weights(self, version: str) -> None: ...
    def reset_prefix_cache(self) -> bool: ...
    def prompt_logprobs(self, token_ids: tuple[int, ...]) -> list[float]: ...


class LoadFailed(RuntimeError):
    """A weight set could not be put into the engine."""


@dataclass(frozen=True)
class WeightSet:
    """A verified set on the volume."""

    ref: WeightsRef
    directory: Path
    manifest: Manifest


class SamplerWeights:
    """The engine of a sampler pod and the weight set in it.

    Args:
        build: makes an engine from a verified directory; called once, with the first set that is ordered.
        end_process: called with a sentence when no good weights can be had; must not return.
    """

    def __init__(
        self, root: Path, build: Callable[[Path], ReloadableEngine], end_process: Callable[[str], None]
    ) -> None:
        self._root, self._build, self._end_process = root, build, end_process
        self._thread = EngineThread(lambda error: end_process(f"the engine died: {error}"))
        self._engine_use = threading.Lock()  # held by whoever draws or reloads
        self._order_lock = threading.Lock()
        self._wanted: WeightsRef | None = None
        self._loaded: WeightSet | None = None
        self._built_from: Path | None = None
        self._state = SamplerState(boot_id=boot_id(), state=LoadState.EMPTY, weights=None)
        self._must_yield = threading.Event()  # a reload has waited its time: running work has to stop drawing

    def state(self) -> SamplerState:
        """What GET /v1/state answers."""
        return replace(self._state, in_flight=self._thread.in_flight())

    def order(self, order: WeightsOrder) -> SamplerState:
        """Start loading, or say that it is done or under way.

        Raises:
            Refused: 409 while another set is being loaded.
        """
        ref = WeightsRef(order.version, order.digest)
        with self._order_lock:
            if self._state.state is LoadState.LOADING and ref != self._wanted:
                message = f"{self._wanted.version if self._wanted else 'another set'} is being loaded; ask again later"
                raise Refused(HTTPStatus.CONFLICT, "Loading", message)
            if self._state.state is LoadState.LOADING or self._is_ready(ref):
                return self.state()
            self._wanted = ref
            self._state = replace(self._state, state=LoadState.LOADING, message="")
            threading.Thread(target=self._load, args=(order,), name="load", daemon=True).start()
            return self.state()

    def check_loaded(self, ref: WeightsRef) -> None:
        """Refuse work for other weights than those that are loaded.

        Raises:
            Refused: 412, with both versions.
        """
        loaded = self._loaded.ref if self._loaded else None
        if self._state.state is LoadState.LOADING or loaded != ref:
            has = "loading" if self._state.state is LoadState.LOADING else (loaded.version if loaded else "nothing")
            message = f"the order is for weights {ref.version}, this sampler has {has}; order the weights first"
            raise Refused(HTTPStatus.PRECONDITION_FAILED, "OtherWeights", message)

    def check_ready(self) -> None:
        """
        Raises:
            Refused: 503 while no weights are loaded, with the reason where there is one.
        """
        state = self._state
        if state.state is not LoadState.READY:
            message = state.message or "the weights are not loaded yet"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady", message)

    def check_may_draw(self) -> None:
        """For running work, often: whether it may go on drawing.

        Raises:
            WorkFailed: when other weights were ordered and have waited long enough.
        """
        if self._must_yield.is_set():
            raise WorkFailed("stopped, because the operator ordered other weights")

    @contextmanager
    def drawing(self, ref: WeightsRef) -> Iterator[EngineThread]:
        """The engine, for one piece of work; no reload happens until it is given back.

        Raises:
            Refused: 412 when the weights were changed between the order and now.
        """
        with self._engine_use:
            self.check_loaded(ref)
            yield self._thread

    def _is_ready(self, ref: WeightsRef) -> bool:
        return self._state.state is LoadState.READY and self._loaded is not None and self._loaded.ref == ref

    def _load(self, order: WeightsOrder) -> None:
        try:
            new = self._verified(order)
            with self._paused(order.pause_timeout_seconds):
                self._put_in(new)
        except (WeightsRefused, OutsideVolume, OSError, LoadFailed) as error:
            log.error("weights %s were not loaded: %s", order.version, error)
            self._settle(LoadState.FAILED, message=str(error))
        else:
            log.info("weights %s loaded", order.version)
            self._settle(LoadState.READY)

    def _verified(self, order: WeightsOrder) -> WeightSet:
        directory = resolve(self._root, weights_dir(order.version))
        manifest = verify(directory, order.digest)
        if self._built_from is not None:
            check_same_model(self._built_from, directory)
        return WeightSet(WeightsRef(order.version, order.digest), directory, manifest)

    @contextmanager
    def _paused(self, timeout: float) -> Iterator[None]:
        """Hold the engine: waits for running work, then tells it to stop, then gives up."""
        if not self._engine_use.acquire(timeout=timeout):
            self._must_yield.set()
            if not self._engine_use.acquire(timeout=timeout):
                self._must_yield.clear()
                raise LoadFailed(f"running work did not stop within {2 * timeout:g} s; the old weights stay")
        self._must_yield.clear()
        since = time.monotonic()
        try:
            yield
        finally:
            self._state = replace(self._state, paused_seconds=time.monotonic() - since)
            self._engine_use.release()

    def _put_in(self, new: WeightSet) -> None:
        """Load `new`, or bring back what was there before.

        Raises:
            LoadFailed: `new` is not loaded; what was there before is.
        """
        previous, self._loaded = self._loaded, None
        try:
            gap = self._fill_engine(new)
        except (EngineError, canary.CanaryFailed, LoadFailed) as error:
            if previous is not None:
                self._bring_back(previous, because=error)
            raise LoadFailed(str(error)) from error
        self._loaded = new
        reloads = self._state.reloads + (previous is not None)
        self._state = replace(self._state, reloads=reloads, canary_difference=gap)

    def _bring_back(self, previous: WeightSet, because: Exception) -> None:
        try:
            self._fill_engine(previous)
        except (EngineError, canary.CanaryFailed, LoadFailed) as error:
            self._end_process(f"{because}; and the previous weights could not be brought back: {error}")
            raise
        self._loaded = previous

    def _fill_engine(self, weights: WeightSet) -> float:
        version = weights.ref.version
        if self._built_from is None:
            self._thread.build(lambda: self._build(weights.directory))
            self._built_from = weights.directory
            self._thread.call(lambda engine: engine.name_weights(version))
        else:
            self._thread.call(lambda engine: engine.reload(weights.directory, version))
            if not self._thread.call(lambda engine: engine.reset_prefix_cache()):
                raise LoadFailed(f"reloading {version}: the prefix cache of the old weights could not be dropped")
        expected = weights.manifest.canary
        found = self._thread.call(lambda engine: engine.prompt_logprobs(expected.token_ids))
        return canary.check(version, expected, found)

    def _settle(self, state: LoadState, message: str = "") -> None:
        loaded = self._loaded.ref if self._loaded else None
        self._state = replace(self._state, state=state, weights=loaded, message=message)
