"""Activation checkpointing: what a layer computed on its way forward is dropped, and computed again on the way back.

Not by transformers' own switch: that acts in train mode only, and the policy stays in eval mode, because rewards
compare two models and not two dropout masks. The layers are those that transformers itself would checkpoint, so a model
of which it knows none is refused instead of trained at a memory that nobody expects.
"""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from rewriter_contract.agent import WorkFailed


def recompute_activations(policy: Any) -> None:
    """Let each layer of `policy`, a transformers model in eval mode, keep nothing but its input.

    The same function of the same input gives the same bits, so neither losses nor weights change.

    Raises:
        WorkFailed: for a model without such layers.
    """
    layers = [module for module in policy.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise WorkFailed(
            f"{type(policy).__name__} has no layers whose activations can be computed again; "
            "set spec.training.optimizer.activationCheckpointing to false"
        )
    for layer in layers:
        # In eval mode nothing is random: no state of a generator has to be saved and put back.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
