"""How fast a phase trains, and how long it still takes. Standard library only; the clock is the caller's."""

from collections.abc import Sequence


class Pace:
    """Counts the tokens of a phase's steps against the time that this process took for them.

    A step's tokens are those of its pairs, prompts included and counted once for each completion, on all workers.
    """

    def __init__(self, tokens_of_steps: Sequence[int], step: int, now: float) -> None:
        """`step` steps were done by an earlier process, whose speed is not this one's."""
        self._tokens = tokens_of_steps
        self._left = sum(tokens_of_steps[step:])
        self._done, self._step, self._begun = 0, step, now

    def finished_step(self, started: float, now: float) -> dict[str, float]:
        """The step that began at `started` ended at `now`, both in seconds.

        `tokens_per_s` is its own; `eta_seconds` is what the steps after it take at the mean speed so far, checkpoints
        and all, and 0 after the last one.
        """
        tokens = self._tokens[self._step]
        self._left, self._done, self._step = self._left - tokens, self._done + tokens, self._step + 1
        return {
            "tokens_per_s": tokens / max(now - started, 1e-9),
            "eta_seconds": self._left * (now - self._begun) / self._done,
        }
