"""Low-rank adapters (LoRA, Hu et al. 2021), by peft: trained in place of all weights, and merged into them at the end.

The policy stays the transformers model that it is; peft puts its layers into it, and takes them out again. They begin
as nothing (B is 0), so that a phase starts at its reference. Nothing is random after that: there is no dropout, because
rewards compare two models and not two dropout masks.
"""

from typing import Any

from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import LoraConfig


def add_adapters(policy: Any, config: LoraConfig) -> Any:
    """Put adapters into every linear layer of `policy` but the output's, and freeze all else; peft's handle of them.

    Raises:
        WorkFailed: for a model in which peft finds no such layer.
    """
    import peft  # here, because no phase without adapters needs it

    wanted = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    try:
        return peft.LoraModel(policy, wanted, "default")
    except ValueError as error:
        raise WorkFailed(
            f"{type(policy).__name__} takes no adapters ({error}); leave spec.training.lora out and train all weights"
        ) from error


def merged(adapters: Any) -> Any:
    """The policy with its adapters' weights in its own, and their layers gone. All weights must be whole (ZeRO 3).

    Raises:
        WorkFailed: when what would be published is not finite.
    """
    try:
        return adapters.merge_and_unload(progressbar=False, safe_merge=True)
    except ValueError as error:
        raise WorkFailed(f"the adapters were not merged: {error}; nothing is published") from error
