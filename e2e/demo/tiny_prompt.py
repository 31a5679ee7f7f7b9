"""The prompt that the tiny model is trained with and asked with; apart, so that it is known without torch."""

from typing import Final

TEMPLATE: Final = "{query} =>"


def prompt_of(query: str) -> str:
    """The prompt of one query."""
    return TEMPLATE.replace("{query}", query)
