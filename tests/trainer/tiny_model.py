"""A causal language model of a few hundred kilobytes with a tokenizer of its own, made on the spot.

It checks plumbing (files, tokens, gradients), never language. Imports torch: only tests marked `ml` may use it.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewriter_contract import volume, weights
from rewriter_contract.messages import WeightsRef
from rewriter_trainer import canary

LINES = [
    "query: wireless headphones\nrewrite: bluetooth headphones without cable\n",
    "query: running shoes men\nrewrite: trail running shoes for men size 42\n",
    "query: coffee stain carpet\nrewrite: how to remove coffee from a wool carpet\n",
    "query: flights lisbon oslo\nrewrite: cheap flights from Lisbon to Oslo\n",
]


def make_model(directory: Path, seed: int = 0) -> None:
    """Write a tiny Llama and a byte-level BPE tokenizer to `directory`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    fast.save_pretrained(directory)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    model: Any = LlamaForCausalLM
    model(config).float().save_pretrained(directory)


def publish_base(root: Path, source: Path, version: str = "base-tiny") -> WeightsRef:
    """Publish the model in `source` as a weight set of the volume at `root`."""

    def write_files(directory: Path) -> None:
        for file in source.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())

    def describe(directory: Path) -> weights.Manifest:
        return weights.Manifest(
            version=version,
            parent="",
            dtype="float32",
            files=weights.file_entries(directory),
            tensors_sha256=weights.tensors_digest(directory),
            reward_revision="",
            seed=0,
            canary=canary.measure(directory, "float32", canary.token_ids_of(directory)),
            created_by="test",
        )

    digest = weights.publish(root, version, "test", write_files, describe)
    assert (root / volume.weights_dir(version)).is_dir()
    return WeightsRef(version=version, digest=digest)
