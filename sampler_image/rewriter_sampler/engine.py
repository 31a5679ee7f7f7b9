"""The vLLM engine of this process: build, draw, reload in place, measure. The only module that imports vllm.

vLLM runs inside our process and is stepped by us, so pausing is "not stepping", and none of vLLM's own HTTP
endpoints (which know no authentication) exists. Not thread-safe: EngineThread owns it. Never loads pickles or
code from a model directory (`trust_remote_code` stays False, safetensors only), and never talks to a hub.
"""

import json
import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from rewriter_contract.messages import EngineConfig
from rewriter_sampler.drawing import Completion, Draw, Drawn, EngineError, PromptTooLong

PREFILL_TOKENS = 2048
"""Prompt tokens in one step; at least one whole prompt."""


class Engine:
    """One model in memory.

    Args:
        directory: a verified weight set; its config and tokenizer stay for the life of the engine.
        sequences: how many completions run side by side.

    Raises:
        EngineError: when vLLM cannot be built from the directory.
    """

    def __init__(self, config: EngineConfig, directory: Path, sequences: int) -> None:
        prepare_environment(config)
        self._config = config
        self._keys = count()
        try:
            self._engine = _build(config, directory, sequences)
        except Exception as error:  # vLLM raises whatever its layers raise
            raise EngineError(f"building the engine from {directory.name}: {_words(error)}") from error
        self._tokenizer: Any = self._engine.get_tokenizer()

    def submit(self, draw: Draw) -> str:
        """Queue a draw; `step` returns it under the key that this returns.

        Raises:
            PromptTooLong: when prompt and completion do not fit into `max_length` tokens.
        """
        token_ids = self._tokenizer.encode(draw.prompt, add_special_tokens=False)
        if len(token_ids) + draw.max_tokens > self._config.max_length:
            raise PromptTooLong(
                f"prompt of {len(token_ids)} tokens and {draw.max_tokens} to draw exceed {self._config.max_length}"
            )
        return self._add(token_ids, _sampling(draw))

    def step(self) -> dict[str, Drawn]:
        """Run the model once; the draws that ended with this step, by key.

        Raises:
            EngineError: the engine cannot be used any more; the process has to end.
        """
        return {output.request_id: _drawn(output) for output in self._step() if output.finished}

    def busy(self) -> bool:
        """Whether any draw is unfinished."""
        return bool(self._engine.has_unfinished_requests())

    def abort(self, keys: Iterable[str]) -> None:
        """Forget draws; they will not be returned."""
        self._engine.abort_request(list(keys))

    def reload(self, directory: Path, version: str) -> None:
        """Replace the parameters in place. Only when not busy.

        Raises:
            EngineError: parameters may be a mixture now; reload a good directory BEFORE anything is drawn.
        """
        try:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(directory)})
            self._engine.collective_rpc(_tie_head_again)
            self.name_weights(version)
        except Exception as error:  # vLLM raises whatever its layers raise
            raise EngineError(f"reloading {version}: {_words(error)}") from error

    def name_weights(self, version: str) -> None:
        """Tell vLLM the version; `reload_weights` does not."""
        self._engine.engine_core.set_weight_version(version)

    def reset_prefix_cache(self) -> bool:
        """Drop cached keys and values of earlier prompts; False means that some are still in use."""
        return bool(self._engine.reset_prefix_cache())

    def prompt_logprobs(self, token_ids: tuple[int, ...]) -> list[float]:
        """log p(token[i+1] | token[..i]) in nats, one fewer than tokens. Only when not busy.

        Raises:
            EngineError: when the model cannot be run.
        """
        from vllm import SamplingParams

        key = self._add(list(token_ids), SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0))
        while self.busy():
            for output in self._step():
                if output.request_id == key and output.finished:
                    pairs = zip(token_ids[1:], output.prompt_logprobs[1:], strict=True)
                    return [float(position[token].logprob) for token, position in pairs]
        raise EngineError("the engine gave no prompt log-probabilities")

    def log_probability(self, prompt: str, token_ids: tuple[int, ...]) -> float | None:
        """log p of a completion, in nats at temperature 1; None where it does not fit behind the prompt.

        Only when not busy.
        """
        before = self._tokenizer.encode(prompt, add_special_tokens=False)
        if not before or len(before) + len(token_ids) >= self._config.max_length:
            return None
        return sum(self.prompt_logprobs((*before, *token_ids))[len(before) - 1 :])

    def bos_text(self) -> str:
        """The text of the token that the tokenizer puts before every prompt; empty for most models."""
        token_ids = self._tokenizer.encode("")
        bos = self._tokenizer.bos_token_id
        return str(self._tokenizer.bos_token) if bos is not None and token_ids[:1] == [bos] else ""

    def chat_text(self, message: str) -> str:
        """The chat template's text for one user message, up to where the answer starts."""
        turns = [{"role": "user", "content": message}]
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def _add(self, token_ids: list[int], sampling: Any) -> str:
        from vllm import TokensPrompt

        key = str(next(self._keys))
        self._engine.add_request(key, TokensPrompt(prompt_token_ids=token_ids), sampling)
        return key

    def _step(self) -> list[Any]:
        try:
            return list(self._engine.step())
        except Exception as error:  # vLLM raises whatever its layers raise
            raise EngineError(f"running the model: {_words(error)}") from error


def prepare_environment(config: EngineConfig) -> None:
    """Set vLLM's variables; must run before vllm is imported anywhere in the process."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_DO_NOT_TRACK="1",
        VLLM_SERVER_DEV_MODE="0",
        VLLM_ALLOW_INSECURE_SERIALIZATION="0",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        VLLM_CPU_KVCACHE_SPACE=str(config.kv_cache_gib),
    )
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def engine_options(config: EngineConfig, directory: Path, sequences: int) -> dict[str, Any]:
    """vLLM's engine arguments for this machine's platform; prepares the platform, so call it before the engine."""
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if on_cpu:
        _start_faster_on_cpu(directory)
    return {
        "model": str(directory),
        "tokenizer": str(directory),
        "load_format": "safetensors",
        "trust_remote_code": False,
        "dtype": config.dtype,
        "seed": config.seed,
        "max_model_len": config.max_length,
        "max_num_seqs": sequences,
        "tensor_parallel_size": config.tensor_parallel,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "enforce_eager": on_cpu,  # on a CPU, compiling costs minutes and gains little
        "enable_prefix_caching": True,  # all prompts share the template's beginning
        "enable_chunked_prefill": not on_cpu,  # a seeded draw whose prompt is cut in two kills the engine on a CPU
        "max_num_batched_tokens": max(PREFILL_TOKENS, config.max_length),
        "disable_log_stats": True,
    }


def _build(config: EngineConfig, directory: Path, sequences: int) -> Any:
    options = engine_options(config, directory, sequences)
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    return LLMEngine.from_engine_args(EngineArgs(**options))


def _start_faster_on_cpu(directory: Path) -> None:
    """Two things that cost over 40 s of processor time in every new pod, and that only make sense with a GPU.

    vLLM compiles two small sampling functions with a C++ compiler even in eager mode, and inspects the model's class
    in a second interpreter so that CUDA is not initialised in the first.
    """
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    from vllm import ModelRegistry

    for architecture in json.loads((directory / "config.json").read_text()).get("architectures") or []:
        if architecture in ModelRegistry.models:
            ModelRegistry.register_model(architecture, ModelRegistry.models[architecture].load_model_cls())


def _sampling(draw: Draw) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        n=draw.n,
        temperature=draw.temperature,
        top_p=draw.top_p,
        max_tokens=draw.max_tokens,
        stop=list(draw.stop),
        seed=draw.seed,
        logprobs=0,  # of the drawn token alone: gives cumulative_logprob
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _drawn(output: Any) -> Drawn:
    return Drawn(tuple(_completion(completion) for completion in output.outputs))


def _completion(output: Any) -> Completion:
    token_ids = tuple(output.token_ids)
    total = output.cumulative_logprob
    return Completion(
        text=output.text,
        token_ids=token_ids,
        finished=output.finish_reason == "stop",
        mean_logprob=float(total) / len(token_ids) if total is not None and token_ids else None,
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _tie_head_again(worker: Any) -> None:
    """Give a head that shares the embedding's weights what was just loaded into the embedding.

    vLLM's reload processes each parameter once, for the layer that owns it. Where the head is tied to the embedding it
    keeps what it was built from (on the CPU a packed copy of the old weights): measured as a canary that is off by 0.3.
    """
    model = worker.model_runner.get_model()
    head = getattr(model, "lm_head", None)
    embedding = getattr(getattr(model, "model", None), "embed_tokens", None)
    if head is None or embedding is None or not getattr(model.config, "tie_word_embeddings", False):
        return
    head.weight = embedding.weight
    head.quant_method.process_weights_after_loading(head)
