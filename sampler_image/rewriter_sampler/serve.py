"""The serving pod's program: one revision's weights behind POST /v1/rewrite.

`python -m rewriter_sampler.serve`. Ready only when the wanted weight set is verified, loaded and its canary passed;
a set that is refused leaves the pod unready, with the reason in GET /v1/stats, and is looked at again from time to
time (a file may arrive late on a network volume). A pod never serves anything but the one set it was made for.
When the engine fails the process ends, so that kubelet starts a new one.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path

from rewriter_contract.agent import boot_id
from rewriter_contract.messages import EngineConfig, LoadState, Rewrite, ServingConfig, WeightsRef
from rewriter_contract.text import is_copy, normalise
from rewriter_contract.volume import OutsideVolume, resolve, weights_dir
from rewriter_contract.weights import Manifest, WeightsRefused, verify
from rewriter_sampler import canary
from rewriter_sampler.drawing import Completion, Draw, Drawn, EngineError, PromptTooLong
from rewriter_sampler.engine import Engine
from rewriter_sampler.engine_thread import EngineThread
from rewriter_sampler.prompts import BadTemplate, Prompts, check_template, rewrite_of
from rewriter_sampler.rewrite_api import Condition, RewriteApi, RewriteFailed, Rewrites
from rewriter_sampler.serving_process import run_until_stopped
from rewriter_sampler.settings import BadSettings, engine_config, pod_settings, serving_config, volume_root

SEQUENCES = 32
"""Completions side by side."""

MAX_WAITING = 128
"""Requests in the pod at once; more are refused at once, because they would only wait for their deadline."""

SAMPLING_TEMPERATURE = 0.7
"""For n > 1: enough for the rewrites to differ. One rewrite is drawn greedily."""

LOOK_AGAIN_SECONDS = 15.0
EXIT_ENGINE_LOST = 70

log = logging.getLogger(__name__)


class ServedRevision:
    """The backend of a serving pod: loads its weight set once, then rewrites."""

    def __init__(self, root: Path, serving: ServingConfig, wanted: WeightsRef, config: EngineConfig) -> None:
        self._root, self._serving, self._wanted, self._config = root, serving, wanted, config
        self._thread = EngineThread(lambda error: end_process(f"the engine died: {error}"))
        self._condition = Condition(LoadState.LOADING, weights=None)
        self._prompts: Prompts | None = None
        self._in_pod = 0

    @property
    def revision(self) -> str:
        """`r0007`"""
        return self._serving.revision

    def condition(self) -> Condition:
        """What readyz and stats say."""
        return self._condition

    async def rewrite(self, query: str, n: int) -> Rewrites:
        """At most min(n, max_rewrites) rewrites that differ from the query and from each other, best first."""
        if self._prompts is None:
            raise RewriteFailed(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady", "the weights are not loaded yet")
        if self._in_pod >= MAX_WAITING:
            raise RewriteFailed(HTTPStatus.SERVICE_UNAVAILABLE, "Overloaded", f"{MAX_WAITING} requests are waiting")
        self._in_pod += 1
        try:
            drawn = await self._draw(self._prompts.prompt(query), min(n, self._serving.max_rewrites))
        finally:
            self._in_pod -= 1
        return kept_rewrites(query, self._prompts, drawn.completions)

    def load(self) -> None:
        """Verify, build, canary. Ends the process when the engine cannot be had."""
        while (manifest := self._verified()) is None:
            time.sleep(LOOK_AGAIN_SECONDS)
        version = self._wanted.version
        try:
            self._thread.build(lambda: Engine(self._config, resolve(self._root, weights_dir(version)), SEQUENCES))
            self._thread.call(lambda engine: engine.name_weights(version))
            found = self._thread.call(lambda engine: engine.prompt_logprobs(manifest.canary.token_ids))
            canary.check(version, manifest.canary, found)
        except EngineError as error:
            end_process(str(error))
        except canary.CanaryFailed as error:  # a new process would find the same: stay, unready, and say why
            log.error("%s", error)
            self._condition = Condition(LoadState.FAILED, weights=None, message=str(error))
            return
        self._prompts = self._thread.call(
            lambda engine: Prompts(self._config.prompt, engine.bos_text(), engine.chat_text)
        )
        self._condition = Condition(LoadState.READY, self._wanted)
        log.info("revision %s is ready with weights %s", self.revision, version)

    def _verified(self) -> Manifest | None:
        try:
            return verify(resolve(self._root, weights_dir(self._wanted.version)), self._wanted.digest)
        except (WeightsRefused, OutsideVolume, OSError) as error:
            log.error("weights %s are refused: %s", self._wanted.version, error)
            self._condition = Condition(LoadState.FAILED, weights=None, message=str(error))
            return None

    async def _draw(self, prompt: str, n: int) -> Drawn:
        draw = Draw(
            prompt=prompt,
            n=n,
            temperature=0.0 if n == 1 else SAMPLING_TEMPERATURE,
            top_p=1.0,
            max_tokens=self._serving.max_tokens,
            stop=self._config.prompt.stop,
        )
        timeout = self._serving.request_timeout_seconds
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


def end_process(why: str) -> None:
    """End at once, without cleaning up: threads of a broken engine may never return."""
    log.critical("ending the process: %s", why)
    logging.shutdown()
    os._exit(EXIT_ENGINE_LOST)


def main() -> int:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings, root = pod_settings(os.environ), volume_root(os.environ)
        serving, config = serving_config(os.environ), engine_config(os.environ)
        if serving.weights is None:
            raise BadSettings(
                "REWRITER_SERVING.weights: missing; a pod without weights runs rewriter_sampler.passthrough"
            )
        check_template(config.prompt)
    except (BadSettings, BadTemplate) as error:
        log.critical("%s", error)
        return 2
    backend = ServedRevision(root, serving, serving.weights, config)
    threading.Thread(target=backend.load, name="load", daemon=True).start()
    api = RewriteApi(backend, settings.token, boot_id())
    asyncio.run(run_until_stopped(api, settings.port, serving.request_timeout_seconds))
    logging.shutdown()
    os._exit(0)  # everything was answered; vLLM's own teardown can take many seconds


if __name__ == "__main__":
    sys.exit(main())
