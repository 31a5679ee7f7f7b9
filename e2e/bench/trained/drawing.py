"""Draws rewrites from a weight set with transformers. Runs where torch is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewriter_contract.messages import DataRow, GenerationConfig, PromptConfig, SampledDraw
from rewriter_sampler.drawing import Completion
from rewriter_sampler.prompts import fill, rewrite_of

AT_ONCE: Final = 32


@dataclass(frozen=True)
class Drawn:
    """One completion."""

    text: str
    """The rewrite."""
    token_ids: tuple[int, ...]
    """Up to what ended it, that included."""
    finished: bool


class Drawer:
    """One weight set, or a model in memory beside the set whose tokenizer it has."""

    def __init__(self, directory: Path, prompt: PromptConfig, model: Any = None) -> None:
        self._prompt = prompt
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True, padding_side="left")
        self._model: Any = model or AutoModelForCausalLM.from_pretrained(directory, local_files_only=True).eval()

    def draw(self, rows: Sequence[DataRow], generation: GenerationConfig) -> list[list[Drawn]]:
        """`generation.n` completions of each row; the same seed draws the same ones."""
        torch.manual_seed(generation.seed)
        found: list[list[Drawn]] = []
        for start in range(0, len(rows), AT_ONCE):
            found += self._draw([fill(self._prompt, row.query) for row in rows[start : start + AT_ONCE]], generation)
        return found

    def completions(self, rows: list[DataRow], generation: GenerationConfig) -> list[list[Completion]]:
        """As the gate's evidence wants them."""
        return [
            [
                Completion(
                    drawn.text,
                    drawn.token_ids,
                    drawn.finished,
                    self._log_probability(row, drawn.token_ids) / len(drawn.token_ids),
                )
                for drawn in of_row
            ]
            for row, of_row in zip(rows, self.draw(rows, generation), strict=True)
        ]

    def weigh(self, rows: list[DataRow], drawn: list[SampledDraw | None]) -> list[tuple[float, ...] | None]:
        """log p of each row's rewrites, which other weights drew, in nats."""
        return [
            tuple(self._log_probability(row, ids) for ids in draw.token_ids) if draw else None
            for row, draw in zip(rows, drawn, strict=True)
        ]

    def _log_probability(self, row: DataRow, token_ids: Sequence[int]) -> float:
        prompt = self._tokenizer.encode(fill(self._prompt, row.query), add_special_tokens=False)
        with torch.inference_mode():
            logits = self._model(torch.tensor([[*prompt, *token_ids]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.float().log_softmax(-1).gather(1, torch.tensor(token_ids)[:, None])
        return float(chosen.sum())

    def _draw(self, prompts: list[str], generation: GenerationConfig) -> list[list[Drawn]]:
        given = self._tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        given.pop("token_type_ids", None)
        drawn = generation.temperature > 0
        choice = {"do_sample": True, "temperature": generation.temperature, "top_p": generation.top_p, "top_k": 0}
        with torch.inference_mode():
            out = self._model.generate(
                **given,
                **(choice if drawn else {"do_sample": False}),
                num_return_sequences=generation.n,
                max_new_tokens=generation.max_tokens,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        completions = [self._cut(ids.tolist()) for ids in out[:, given["input_ids"].shape[1] :]]
        return [completions[start : start + generation.n] for start in range(0, len(completions), generation.n)]

    def _cut(self, ids: list[int]) -> Drawn:
        """The completion up to its line break, or to the token that ends the text."""
        for end in range(1, len(ids) + 1):
            stopped = any(stop in self._tokenizer.decode(ids[:end]) for stop in self._prompt.stop)
            if stopped or ids[end - 1] == self._tokenizer.eos_token_id:
                return Drawn(self._text(ids[:end]), tuple(ids[:end]), True)
        return Drawn(self._text(ids), tuple(ids), False)

    def _text(self, ids: list[int]) -> str:
        return rewrite_of(self._prompt, self._tokenizer.decode(ids, skip_special_tokens=True))
