"""Draws rewrites from vLLM, scores them, gathers gate evidence, and serves the rewrite API.

Three programs: `sample_server` (sampler pods, during a cycle), `serve` (serving pods of a revision) and
`passthrough` (the built-in backend that answers "no rewrites"). Only `engine` imports vllm, so that the
passthrough starts at once and everything else can be tested without it.
"""
