"""Draws completions for rows of the user's data, all at once, and hands them on in order as they become ready.

The whole shard goes into the engine at once, so that vLLM can fill its batch to the last query; what is ready is
yielded at once, so that scoring runs beside generation.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from rewriter_contract.messages import DataRow, GenerationConfig
from rewriter_sampler.drawing import Completion, Draw, Drawn, PromptTooLong
from rewriter_sampler.engine_thread import EngineThread
from rewriter_sampler.prompts import Prompts

CHECK_SECONDS = 0.5
ABORT_SECONDS = 30.0


@dataclass(frozen=True)
class DrawnRow:
    """The completions of one row."""

    row: DataRow
    prompt: str
    completions: tuple[Completion, ...]
    missing: str = ""
    """Why there are no completions; empty when there are."""


def draw_rows(
    thread: EngineThread,
    prompts: Prompts,
    rows: Sequence[DataRow],
    generation: GenerationConfig,
    may_go_on: Callable[[], None],
) -> Iterator[DrawnRow]:
    """Draw `generation.n` completions of every row; yields in the order of `rows`.

    The seed of a row depends on the order's seed and the row's id alone, and the prefix cache is dropped first, so
    the same order gives the same completions again.

    `may_go_on` is called at least every half second; what it raises ends the drawing, with the engine left idle.
    """
    thread.call(lambda engine: engine.reset_prefix_cache())
    texts = [prompts.prompt(row.query) for row in rows]
    futures = [
        thread.draw(draw_of(prompts, text, generation, row_seed(generation.seed, row.id)))
        for row, text in zip(rows, texts, strict=True)
    ]
    try:
        for row, text, future in zip(rows, texts, futures, strict=True):
            _wait_for(future, may_go_on)
            yield _drawn_row(row, text, future)
    finally:
        _abort(thread, futures)


def draw_of(prompts: Prompts, prompt: str, generation: GenerationConfig, seed: int | None) -> Draw:
    """What the engine is asked for one prompt."""
    return Draw(
        prompt=prompt,
        n=generation.n,
        temperature=generation.temperature,
        top_p=generation.top_p,
        max_tokens=generation.max_tokens,
        stop=prompts.config.stop,
        seed=seed,
    )


def row_seed(seed: int, row_id: str) -> int:
    """A seed that only the order's seed and the row's id decide; below 2^31, with room for +n."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{row_id}".encode()).digest()[:4], "big") >> 2


def _wait_for(future: "Future[Drawn]", may_go_on: Callable[[], None]) -> None:
    may_go_on()
    while not wait([future], timeout=CHECK_SECONDS).done:
        may_go_on()


def _drawn_row(row: DataRow, prompt: str, future: "Future[Drawn]") -> DrawnRow:
    try:
        return DrawnRow(row, prompt, future.result().completions)
    except PromptTooLong as error:
        return DrawnRow(row, prompt, (), missing=str(error))


def _abort(thread: EngineThread, futures: "Sequence[Future[Drawn]]") -> None:
    """Take unfinished draws out of the engine and wait for it to be idle: a reload may come next."""
    for future in futures:
        future.cancel()
    deadline = time.monotonic() + ABORT_SECONDS
    while thread.call(lambda _: thread.in_flight()) and time.monotonic() < deadline:
        time.sleep(0.01)
