"""Which images exist, where their Dockerfiles are, and what a variant hands to them. Data only."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CPU_BASE = "docker.io/library/debian:bookworm-slim"
CUDA_BASE = "docker.io/vllm/vllm-openai:v0.32.0"
