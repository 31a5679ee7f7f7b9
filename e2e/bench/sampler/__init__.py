"""The sampler's drawing beside plain `vllm.LLM.generate`: same engine settings, prompts, order, seeds and limits."""
