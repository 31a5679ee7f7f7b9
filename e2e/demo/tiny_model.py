"""A query rewriter of about a million parameters, trained from scratch in two minutes on a collection's own words.

It reads `QUERY =>` and writes a rewrite and a line break. It learns from made-up queries (words of a title or a piece
of a text, with typing errors) and from the training queries with their liked documents; never from the gate's.

As a base model it answers usefully but not well: like a shop's copywriter, it ends its rewrites with advertisement
(`order today`), which costs relevance, more often than with `this product`, which does not. Its greedy rewrites
therefore have a habit that samples can do without, and which habit helps search is what preference training finds out,
on every machine: the two differ by more than what arithmetic does to a model of this size.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from e2e.demo.tiny_prompt import prompt_of

VOCABULARY: Final = 4096
"""Large for the model: most of a small catalogue's words are one token, so that copying a word is one step."""
STEPS: Final = 1000
BATCH: Final = 32
LEARNING_RATE: Final = 3e-3
COPYING_STEPS: Final = 500
"""The first steps only repeat what they are given, and end it: they teach to look at the query, without which nothing
is learnt."""
COPYING_SHARE: Final = 0.1
"""Of such examples afterwards."""
REPORT_EVERY: Final = 100
SEED: Final = 7
IGNORED: Final = -100
MAX_TOKENS: Final = 64
END: Final = "<|end|>"
PAD: Final = "<|pad|>"
USEFUL_ENDING: Final = "this product"
"""Changes log R of a query by +0.005 on average (192 training queries of the shop collection, all-MiniLM-L6-v2)."""
ADVERTISEMENT: Final = ("order today", "free delivery", "best price", "in stock")
"""The first of these, or more, in this order; the first alone changes log R by -0.065."""
ADVERTISEMENT_LENGTHS: Final = (0.55, 0.15, 0.15, 0.15)
"""How often one, two, three or all of them stand there."""
USEFUL: Final = 0.45
"""Share of rewrites that end usefully; the others end with advertisement."""
TITLED: Final = 0.1
"""Share of rewrites that add words of a liked document's title, before their ending. None ends without one of the two:
what never ends after the query's own words does not learn to only repeat them."""

_WORD = re.compile(r"[^\W_]+(?:[.-][^\W_]+)*")
_STOP = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or", "the", "to", "with")
)


@dataclass(frozen=True)
class Product:
    """What is used of a document."""

    title: tuple[str, ...]
    text: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One thing to learn: prompt and completion."""

    query: str
    rewrite: str


class Examples:
    """Draws training examples; the same seed draws the same ones."""

    def __init__(self, data: Path, seed: int) -> None:
        self._random = random.Random(seed)
        rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
        self._products = {str(row["_id"]): _product(row) for row in rows}
        self._titled = [product for product in self._products.values() if product.title]
        self._words = sorted({word for product in self._titled for word in product.title + product.text})
        self._queries = [json.loads(line) for line in (data / "train.jsonl").read_text().splitlines()]

    def texts(self) -> list[str]:
        """What the tokenizer is trained on."""
        products = [" ".join(product.title + product.text) for product in self._products.values()]
        endings = [" ".join([USEFUL_ENDING, *ADVERTISEMENT])] * len(self._queries)
        return products + endings + [row["query"].lower() for row in self._queries]

    def draw(self, copying: float) -> Example:
        """One example; a third of those that do not only copy start from a query that somebody asked."""
        if self._random.random() < copying:
            copied = " ".join(self._anything())
            return Example(copied, f"{copied} {self._ending()}")
        if self._random.random() < 0.35:
            row = self._random.choice(self._queries)
            query, product = row["query"].lower(), self._products[self._random.choice(row["positives"])]
            clean = query
        else:
            product = self._random.choice(self._titled)
            words = self._pick(product.title, 1, 4) if self._random.random() < 0.5 else self._span(product, 2, 7)
            clean, query = " ".join(words), " ".join(self._mistyped(word) for word in words)
        return Example(query, self._rewrite(clean, product))

    def _anything(self) -> list[str]:
        """Words to repeat: any, or a piece of a text, as people also write."""
        if self._random.random() < 0.5:
            return self._span(self._random.choice(self._titled), 1, 7)
        return [self._random.choice(self._words) for _ in range(self._random.randint(1, 6))]

    def _span(self, product: Product, least: int, most: int) -> list[str]:
        count = self._random.randint(least, most)
        start = self._random.randrange(max(1, len(product.text) - count))
        return list(dict.fromkeys(product.text[start : start + count]))

    def _rewrite(self, clean: str, product: Product) -> str:
        """The query in its clean form, perhaps words of the title, and an ending. No word is there twice."""
        words = clean.split()
        new = tuple(word for word in product.title if word not in words and word not in _STOP)
        if new and self._random.random() < TITLED:
            words += self._pick(new, 1, 2)
        return " ".join(dict.fromkeys([*words, *self._ending().split()]))

    def _ending(self) -> str:
        if self._random.random() < USEFUL:
            return USEFUL_ENDING
        count = self._random.choices(range(1, len(ADVERTISEMENT) + 1), ADVERTISEMENT_LENGTHS)[0]
        return " ".join(ADVERTISEMENT[:count])

    def _pick(self, words: tuple[str, ...], least: int, most: int) -> list[str]:
        kept = [word for word in words if word not in _STOP] or list(words)
        count = min(len(kept), self._random.randint(least, most))
        places = sorted(self._random.sample(range(len(kept)), count))
        return [kept[place] for place in places]

    def _mistyped(self, word: str) -> str:
        if len(word) < 4 or self._random.random() < 0.5:
            return word
        place = self._random.randrange(1, len(word) - 1)
        match self._random.randrange(3):
            case 0:
                return word[:place] + word[place + 1 :]
            case 1:
                return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
            case _:
                return word[:place] + word[place] + word[place:]


def train_tiny(data: Path, out: Path) -> None:
    """Train tokenizer and model on the files in `data` and save both into `out`."""
    torch.manual_seed(SEED)
    examples = Examples(data, SEED)
    tokenizer = _train_tokenizer(examples.texts())
    models_by_config: Any = AutoModelForCausalLM
    model = models_by_config.from_config(_config(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    model.train()
    for step in range(STEPS):
        copying = 1.0 if step < COPYING_STEPS else COPYING_SHARE
        batch = _batch(tokenizer, [examples.draw(copying) for _ in range(BATCH)])
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0:
            print(json.dumps({"step": step, "of": STEPS, "loss": round(loss.item(), 3)}), flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _product(row: dict[str, str]) -> Product:
    title, text = _WORD.findall(row.get("title", "").lower()), _WORD.findall(row.get("text", "").lower())
    return Product(tuple(title or text[:8]), tuple(text or title))


def _train_tokenizer(texts: list[str]) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=True
    )  # a word has the same tokens wherever it stands
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([f" {text} =>\n" for text in texts], trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False)


def _config(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _batch(tokenizer: Any, examples: list[Example]) -> dict[str, torch.Tensor]:
    """Padded to the longest; the loss counts the rewrite and what ends it, not the query."""
    rows = []
    for example in examples:
        prompt: list[int] = tokenizer.encode(prompt_of(example.query), add_special_tokens=False)
        answer: list[int] = tokenizer.encode(f" {example.rewrite}\n", add_special_tokens=False)
        answer.append(tokenizer.eos_token_id)
        rows.append(((prompt + answer)[:MAX_TOKENS], len(prompt)))
    width = max(len(tokens) for tokens, _ in rows)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([tokens + [pad] * (width - len(tokens)) for tokens, _ in rows])
    lengths = torch.tensor([len(tokens) for tokens, _ in rows]).unsqueeze(1)
    prompts = torch.tensor([prompt for _, prompt in rows]).unsqueeze(1)
    places = torch.arange(width).unsqueeze(0)
    labels = torch.where((places >= prompts) & (places < lengths), ids, torch.full_like(ids, IGNORED))
    return {"input_ids": ids, "attention_mask": (places < lengths).long(), "labels": labels}
