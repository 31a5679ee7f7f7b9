"""How a query becomes the model's prompt, and a completion becomes a rewrite. Pure.

The prompt text is complete: special tokens (BOS, chat markers) are written out in it, so every program that
tokenises it does so with `add_special_tokens=False` and trains on exactly what was sampled from.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rewriter_contract.messages import PromptConfig

PLACEHOLDER = "{query}"


class BadTemplate(ValueError):
    """The prompt template cannot be used; the message says what it must contain."""


@dataclass(frozen=True)
class Prompts:
    """Makes the prompt of each query for one tokenizer."""

    config: PromptConfig
    bos_text: str
    """What the tokenizer itself puts before every prompt; empty for most models."""
    chat_text: Callable[[str], str]
    """The chat template's text for one user message, up to where the model's answer starts."""

    def __post_init__(self) -> None:
        check_template(self.config)

    def prompt(self, query: str) -> str:
        """The exact text that goes to the model."""
        text = fill(self.config, query)
        return self.chat_text(text) if self.config.chat else self.bos_text + text


def check_template(config: PromptConfig) -> None:
    """Refuse a template that would ask every query the same, or quote the query twice.

    Raises:
        BadTemplate: unless `{query}` is in the template exactly once.
    """
    count = config.template.count(PLACEHOLDER)
    if count != 1:
        raise BadTemplate(f"prompt.template contains {PLACEHOLDER} {count} times; it must contain it once")


def fill(config: PromptConfig, query: str) -> str:
    """The template with the query in it.

    White space of the query is collapsed: a line break in a query would look like the end of a template line, and
    would let a query add lines of its own to the prompt.
    """
    return config.template.replace(PLACEHOLDER, " ".join(query.split()))


def rewrite_of(config: PromptConfig, completion: str) -> str:
    """The rewrite in a completion: cut at the first stop string, white space collapsed."""
    cuts = [position for stop in config.stop if stop and (position := completion.find(stop)) >= 0]
    return " ".join(completion[: min(cuts, default=len(completion))].split())
