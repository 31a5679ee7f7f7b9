"""What goes into the engine and what comes out, as values that need no vllm."""

from dataclasses import dataclass


class EngineError(RuntimeError):
    """The engine could not do what was asked; the message has vLLM's own words."""


class PromptTooLong(ValueError):
    """A prompt leaves no room for the completion; the message has both lengths."""


@dataclass(frozen=True)
class Draw:
    """One prompt to complete `n` times."""

    prompt: str
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int | None = None
    """The same seed gives the same completions; None draws freely."""


@dataclass(frozen=True)
class Completion:
    """One completion, cut before the stop string."""

    text: str
    token_ids: tuple[int, ...]
    """As drawn, the terminator included."""
    finished: bool
    """False when it was cut at max_tokens."""
    mean_logprob: float | None
    """Mean log-probability of its tokens, in nats."""


@dataclass(frozen=True)
class Drawn:
    """All completions of one Draw."""

    completions: tuple[Completion, ...]
