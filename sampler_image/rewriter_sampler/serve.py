"""The serving pod's program: one revision's weights behind POST /v1/rewrite.

`python -m rewriter_sampler.serve`. Ready only when the wanted weight set is verified, loaded and its canary passed;
a set that is refused leaves the pod unready, with the reason in GET /v1/stats, and is looked at again from time to
time (a file may arrive late on a network volume). A pod never serves anything but what it was told last: by its
variables once and for all, or by a file (serving_file.py), and then it changes revisions in place. What it is answering
then it answers first. When the engine fails, another one is needed, or a load does not end, the process ends, so that
kubelet starts a new one, which does what it is told.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from rewriter_contract.agent import boot_id
from rewriter_contract.messages import EngineConfig, LoadState, Rewrite, ServingConfig, ServingOrder, WeightsRef
from rewriter_contract.text import is_copy, normalise
from rewriter_contract.volume import OutsideVolume, resolve, weights_dir
from rewriter_contract.weights import WeightsRefused, verify
from rewriter_sampler import canary
from rewriter_sampler.drawing import Completion, Draw, Drawn, EngineError, PromptTooLong
from rewriter_sampler.engine import Engine
from rewriter_sampler.engine_thread import EngineThread
from rewriter_sampler.prompts import BadTemplate, Prompts, check_template, rewrite_of
from rewriter_sampler.rewrite_api import Condition, RewriteApi, RewriteFailed, Rewrites
from rewriter_sampler.same_model import check_same_model
from rewriter_sampler.serving_file import LOOK_AGAIN_SECONDS, ServingFile
from rewriter_sampler.serving_process import run_until_stopped
from rewriter_sampler.settings import (
    BadSettings,
    engine_config,
    pod_settings,
    serving_config,
    serving_file,
    volume_root,
)

SEQUENCES = 32
"""Completions side by side."""

MAX_WAITING = 128
"""Requests in the pod at once; more are refused at once, because they would only wait for their deadline."""

SAMPLING_TEMPERATURE = 0.7
"""For n > 1: enough for the rewrites to differ. One rewrite is drawn greedily."""

LONGEST_REQUEST_SECONDS = 3600.0
"""Where nothing says at the start how long a request may take; the pod's grace period is made for it."""

EXIT_ENGINE_LOST = 70
EXIT_OTHER_ENGINE = 71
EXIT_LOAD_HANGS = 72

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Serves:
    """What is served, whole: a request that has begun with it ends with it."""

    serving: ServingConfig
    prompts: Prompts


@dataclass(frozen=True)
class Built:
    """The engine that there is: what it was built from, and with."""

    directory: Path
    config: EngineConfig


class ServedRevision:
    """The backend of a serving pod: loads a weight set, then rewrites; another one when it is told to."""

    def __init__(self, root: Path, first: ServingOrder | None) -> None:
        self._root = root
        self._thread = EngineThread(lambda error: end_process(f"the engine died: {error}"))
        self._condition = Condition(LoadState.LOADING if first else LoadState.EMPTY, weights=None)
        self._revision = first.serving.revision if first else ""
        self._order, self._lives = first, 0
        self._built: Built | None = None
        self._loaded: WeightsRef | None = None
        self._serves: Serves | None = None
        self._in_pod = 0

    @property
    def revision(self) -> str:
        """`r0007`; empty while it was told nothing."""
        return self._revision

    @property
    def lives(self) -> int:
        """How many orders it has been given since its start; one that is tried again is no other."""
        return self._lives

    def condition(self) -> Condition:
        """What readyz and stats say."""
        return self._condition

    async def rewrite(self, query: str, n: int) -> Rewrites:
        """At most min(n, max_rewrites) rewrites that differ from the query and from each other, best first."""
        self._in_pod += 1  # before the look at what is served: whoever changes that waits for those that are in
        try:
            serves = self._serves
            if serves is None:
                raise RewriteFailed(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady", "the weights are not loaded yet")
            if self._in_pod > MAX_WAITING:
                raise RewriteFailed(HTTPStatus.SERVICE_UNAVAILABLE, "Overloaded", f"{MAX_WAITING} requests are waiting")
            drawn = await self._draw(serves, query, n)
            return kept_rewrites(query, serves.prompts, drawn.completions)
        finally:
            self._in_pod -= 1

    def load(self, order: ServingOrder, digest: str = "") -> bool:
        """Verify, build or reload, canary; the same for the first set and for every later one.

        False: the files are refused, and may be others later. Ends the process when the engine cannot be had.
        `digest`: of the order as it was written, which is told once it is carried out.
        """
        wanted = order.serving.weights
        assert wanted is not None
        is_another = self._loaded != wanted or self._revision != order.serving.revision or self._needs_engine(order)
        if self._serves is None or is_another:
            self._stop_answering(order)
        try:
            self._check_engine(order)
            if self._loaded != wanted:
                self._put_in(order, wanted)
            check_template(order.engine.prompt)
            prompts = self._thread.call(
                lambda engine: Prompts(order.engine.prompt, engine.bos_text(), engine.chat_text)
            )
        except EngineError as error:
            end_process(str(error))
        except (canary.CanaryFailed, BadTemplate) as error:  # a new process would find the same: stay, and say why
            return self._failed(str(error), look_again=False)
        except (WeightsRefused, OutsideVolume, OSError) as error:
            return self._failed(f"weights {wanted.version} are refused: {error}", look_again=True)
        self._begin(order)
        self._serves = Serves(order.serving, prompts)
        self._condition = Condition(LoadState.READY, wanted, order=digest)
        log.info("revision %s is ready with weights %s", self.revision, wanted.version)
        return True

    def refuse(self, why: str) -> None:
        """What it is told to serve cannot be read: it goes on answering as before, for nobody asked for anything."""
        log.error("%s", why)
        self._condition = replace(self._condition, message=why)

    def _stop_answering(self, order: ServingOrder) -> None:
        """Unready, as another life; what is being answered is answered first, by the weights that it began with."""
        self._serves = None
        self._condition = Condition(LoadState.LOADING, weights=None)
        while self._in_pod:
            time.sleep(0.01)
        self._begin(order)

    def _begin(self, order: ServingOrder) -> None:
        """Another life, once with each order, before anything is answered by it."""
        self._revision = order.serving.revision
        if self._order is not order:
            self._order, self._lives = order, self._lives + 1

    def _put_in(self, order: ServingOrder, wanted: WeightsRef) -> None:
        """
        Raises:
            WeightsRefused, OutsideVolume, OSError: before the engine was touched.
            EngineError, CanaryFailed: it holds whatever it holds, and nothing is served from it.
        """
        directory = resolve(self._root, weights_dir(wanted.version))
        manifest = verify(directory, wanted.digest)
        if self._built is not None:
            _same_model_or_end(self._built, directory)
        self._loaded = None
        if self._built is None:
            self._thread.build(lambda: Engine(order.engine, directory, SEQUENCES))
            self._built = Built(directory, order.engine)  # also where the canary then fails: there is an engine now
            self._thread.call(lambda engine: engine.name_weights(wanted.version))
        else:
            self._thread.call(lambda engine: engine.reload(directory, wanted.version))
            if not self._thread.call(lambda engine: engine.reset_prefix_cache()):
                raise EngineError(f"reloading {wanted.version}: the old prefix cache could not be dropped")
        found = self._thread.call(lambda engine: engine.prompt_logprobs(manifest.canary.token_ids))
        canary.check(wanted.version, manifest.canary, found)
        self._loaded = wanted
        self._built = Built(
            directory, order.engine
        )  # the same model; what is served stays on the volume, unlike others

    def _needs_engine(self, order: ServingOrder) -> bool:
        """Whether the engine was built otherwise than the order says. The prompt is none of the engine's."""
        return self._built is not None and replace(self._built.config, prompt=order.engine.prompt) != order.engine

    def _check_engine(self, order: ServingOrder) -> None:
        """An engine that is not as the order says is never served from: a new process makes one that is."""
        if self._needs_engine(order):
            end_process(f"{order.serving.revision} needs another engine than this one", EXIT_OTHER_ENGINE)

    def _failed(self, why: str, look_again: bool) -> bool:
        log.error("%s", why)
        self._condition = Condition(LoadState.FAILED, weights=None, message=why)
        return not look_again

    async def _draw(self, serves: Serves, query: str, n: int) -> Drawn:
        serving, count = serves.serving, min(n, serves.serving.max_rewrites)
        draw = Draw(
            prompt=serves.prompts.prompt(query),
            n=count,
            temperature=0.0 if count == 1 else SAMPLING_TEMPERATURE,
            top_p=1.0,
            max_tokens=serving.max_tokens,
            stop=serves.prompts.config.stop,
        )
        timeout = serving.request_timeout_seconds
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._thread.draw(draw)), timeout)
        except TimeoutError as error:
            raise RewriteFailed(HTTPStatus.GATEWAY_TIMEOUT, "Timeout", f"no rewrite within {timeout:g} s") from error
        except PromptTooLong as error:
            raise RewriteFailed(HTTPStatus.BAD_REQUEST, "QueryTooLong", str(error)) from error
        except EngineError as error:
            raise RewriteFailed(HTTPStatus.SERVICE_UNAVAILABLE, "EngineLost", str(error)) from error


def kept_rewrites(query: str, prompts: Prompts, completions: Iterable[Completion]) -> Rewrites:
    """Rewrites worth sending, most likely first: not empty, not the query itself, none twice."""
    kept: dict[str, Rewrite] = {}
    copies = 0
    ranked = sorted(completions, key=lambda completion: -(completion.mean_logprob or 0.0))
    for completion in ranked:
        text = rewrite_of(prompts.config, completion.text)
        if is_copy(query, text):
            copies += 1
        elif normalise(text):
            kept.setdefault(normalise(text), Rewrite(text, completion.mean_logprob))
    return Rewrites(tuple(kept.values()), copies)


def _same_model_or_end(built: Built, directory: Path) -> None:
    """Another model is never put into the engine of this one: a new process makes its own."""
    try:
        check_same_model(built.directory, directory)
    except (WeightsRefused, OSError) as error:  # or what it was built from is not there to compare with any more
        end_process(f"another model: {error}", EXIT_OTHER_ENGINE)


def end_process(why: str, code: int = EXIT_ENGINE_LOST) -> None:
    """End at once, without cleaning up: threads of a broken engine may never return."""
    log.critical("ending the process: %s", why)
    logging.shutdown()
    os._exit(code)


def _to_the_end(follow: Callable[[], None]) -> None:
    """A pod that no longer does what it is told is worth less than one that starts anew."""
    try:
        follow()
    except Exception as error:
        log.exception("loading ended")
        end_process(f"loading ended: {error}")


def _load(backend: ServedRevision, order: ServingOrder | None) -> None:
    while order is not None and not backend.load(order):
        time.sleep(LOOK_AGAIN_SECONDS)


def _order(environ: Mapping[str, str]) -> ServingOrder:
    """What the variables say.

    Raises:
        BadSettings, BadTemplate: when they say it badly.
    """
    serving, config = serving_config(environ), engine_config(environ)
    if serving.weights is None:
        raise BadSettings("REWRITER_SERVING.weights: missing; a pod without weights runs rewriter_sampler.passthrough")
    check_template(config.prompt)
    return ServingOrder(serving, config)


def main() -> int:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings, root = pod_settings(os.environ), volume_root(os.environ)
        path = serving_file(os.environ)
        order = None if path else _order(os.environ)
    except (BadSettings, BadTemplate) as error:
        log.critical("%s", error)
        return 2
    backend = ServedRevision(root, order)
    hangs = partial(end_process, code=EXIT_LOAD_HANGS)
    follow = ServingFile(path, backend, hangs).follow if path else partial(_load, backend, order)
    threading.Thread(target=_to_the_end, args=(follow,), name="load", daemon=True).start()
    api = RewriteApi(backend, settings.token, boot_id())
    longest = order.serving.request_timeout_seconds if order else LONGEST_REQUEST_SECONDS
    asyncio.run(run_until_stopped(api, settings.port, longest))
    logging.shutdown()
    os._exit(0)  # everything was answered; vLLM's own teardown can take many seconds


if __name__ == "__main__":
    sys.exit(main())
