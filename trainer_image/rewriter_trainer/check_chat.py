"""Checks that the base model's tokenizer has a chat template that renders, where spec.model.prompt.chat asks for one.

A sampler finds out otherwise, when its GPU is taken and the model is loaded. Loads transformers, and no torch.
"""

import json
from pathlib import Path
from typing import Any, Final

from rewriter_contract.messages import Problem

QUERY: Final = "red shoes"
"""What every template must bring through to the model."""

REMEDY: Final = "put one beside the model (chat_template.jinja), use the model's instruct variant, or set it to false"


def chat_message(resolved_spec: str) -> str | None:
    """The message of the user that the spec makes of a query; None where it asks for no chat template."""
    prompt = json.loads(resolved_spec).get("model", {}).get("prompt", {})
    return str(prompt.get("template", "{query}")).replace("{query}", QUERY) if prompt.get("chat") else None


def check_chat(model_path: str, directory: Path, message: str) -> list[Problem]:
    """Render the chat template of the tokenizer in `directory`, as a sampler does."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if not tokenizer.chat_template:
        text = f"spec.model.prompt.chat is true, and the tokenizer of {model_path} has no chat template; {REMEDY}"
        return [Problem("ChatTemplateMissing", text)]
    try:
        turns = [{"role": "user", "content": message}]
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program, and raises whatever it stumbles over
        found = f"does not render one message of a user ({type(error).__name__}: {error})"
    else:
        found = "" if QUERY in text else f"leaves out what the user says: it makes {text[:80]!r} of {message[:80]!r}"
    return [Problem("ChatTemplateInvalid", f"{model_path}: the chat template {found}; {REMEDY}")] if found else []
