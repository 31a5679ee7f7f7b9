"""The training engine: DeepSpeed around the policy, with torch's fused AdamW as the optimizer.

ZeRO spares memory by sharding between workers, and pays for it with flat copies of the weights and of the gradients
beside the model's own. One worker that trains in float32 has nobody to share with and needs no second precision: it
runs at stage 0, whatever the spec says, which is the same arithmetic on the model's own tensors. In bfloat16 the flat
copy is the float32 master weights, and stays: stage 0 is not for bfloat16.
"""

import math
import sys
from typing import Any

import deepspeed
import torch

from rewriter_contract.messages import PhaseOrder
from rewriter_trainer.recomputation import recompute_activations


def zero_stage(order: PhaseOrder, workers: int) -> int:
    """The ZeRO stage that the order's phase runs at."""
    return 0 if workers == 1 and order.dtype == "float32" else order.optimizer.zero_stage


def start_engine(scorer: Any, order: PhaseOrder, workers: int) -> Any:
    """A DeepSpeed engine that trains `scorer`. Gradients are accumulated locally and reduced once per step, so that
    workers may cut their share of a step into different numbers of micro-batches."""
    stage = zero_stage(order, workers)
    if order.optimizer.activation_checkpointing:
        recompute_activations(scorer.policy)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in scorer.parameters() if parameter.requires_grad],
        lr=order.optimizer.learning_rate,
        weight_decay=order.optimizer.weight_decay,
        fused=True,
    )
    config = engine_config(order, workers)
    engine, *_ = deepspeed.initialize(model=scorer, optimizer=optimizer, config=config, dist_init_required=False)
    engine.module.eval()
    if stage == 0:
        # finish_step does it, BEFORE it clips; and one worker would only copy all gradients to a flat buffer and back.
        engine.enable_backward_allreduce = False
    return engine


def engine_config(order: PhaseOrder, workers: int) -> dict[str, Any]:
    """DeepSpeed's configuration: torch's AdamW on whatever accelerator there is; the loop sets the rate."""
    stage = zero_stage(order, workers)
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": workers,
        "managed_gradient_accumulation": False,
        "gradient_clipping": order.optimizer.max_grad_norm if stage else 0.0,  # stage 0 keeps no norm: see finish_step
        "bf16": {"enabled": order.dtype == "bfloat16", "check_grad_overflow": True},
        "zero_optimization": {"stage": stage, "overlap_comm": False},
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": sys.maxsize,
    }


def finish_step(engine: Any, order: PhaseOrder) -> float:
    """Clip the accumulated gradients, update the weights, drop the gradients; the norm that they had before."""
    if engine.zero_optimization_stage():
        engine.step()
        return float(engine.get_global_grad_norm())
    if torch.distributed.get_world_size() > 1:
        engine.buffered_allreduce_fallback()
    norm = clip(list(engine.module.parameters()), order.optimizer.max_grad_norm)
    engine.step()
    return norm


def clip(parameters: list[Any], max_norm: float) -> float:
    """Scale the gradients down to `max_norm` where they are longer (0: never); the norm that they had."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if norm > (max_norm or math.inf):
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)


def forget_optimizer(engine: Any) -> None:
    """Free the optimizer's moments before the weights are published: they are twice the weights' memory."""
    engine.basic_optimizer.state.clear()
