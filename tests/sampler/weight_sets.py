"""Tiny weight sets on a volume of the test's own, made on the spot. Imports torch: only `ml` tests may use it.

They check plumbing (files, reloads, tokens), never language.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rewriter_contract import weights
from rewriter_contract.messages import WeightsRef

CANARY = tuple(range(10, 42))
LINES = [
    "query: wireless headphones\nrewrite: bluetooth headphones without cable\n",
    "query: running shoes men\nrewrite: trail running shoes for men size 42\n",
]


def make_model(directory: Path, seed: int) -> Path:
    """Write a tiny Llama with weights of `seed`, and a byte-level BPE tokenizer that is always the same."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=128,  # 32 for each head: vLLM's attention on CPUs has no smaller
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=True,  # as most small models; a reload has to reach the head too
        initializer_range=0.2,  # far from uniform, so that two seeds differ in every greedy token
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).float().save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


def publish(
    root: Path, version: str, source: Path, spoil: Callable[[Path], None] = lambda _: None, tolerance: float = 0.01
) -> WeightsRef:
    """Publish `source` as a weight set; `spoil` changes the files BEFORE the manifest is made, so that they fit it."""

    def write_files(directory: Path) -> None:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        spoil(directory)

    def describe(directory: Path) -> weights.Manifest:
        return weights.Manifest(
            version=version,
            parent="",
            dtype="float32",
            files=weights.file_entries(directory),
            tensors_sha256=weights.tensors_digest(directory),
            reward_revision="",
            seed=0,
            canary=weights.Canary(CANARY, reference_logprobs(source), tolerance),
            created_by="test",
        )

    return WeightsRef(version, weights.publish(root, version, "test", write_files, describe))


def reference_logprobs(directory: Path) -> tuple[float, ...]:
    """Log-probabilities of the canary text by transformers: what vLLM has to agree with."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    tokens = torch.tensor([CANARY])
    with torch.no_grad():
        logprobs = model(tokens).logits[0, :-1].log_softmax(-1)
    return tuple(float(value) for value in logprobs.gather(1, tokens[0, 1:, None])[:, 0])


def without_tensor(directory: Path) -> None:
    """Take one tensor out of the checkpoint, as a broken exporter would."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, file, metadata={"format": "pt"})


def flip_bits(directory: Path) -> None:
    """Damage 64 bytes in the middle of the parameters."""
    file = directory / "model.safetensors"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    file.write_bytes(data)


def truncate(directory: Path) -> None:
    """Cut the file in half, as a full disk would."""
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
