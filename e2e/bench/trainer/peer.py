"""The same phase by TRL's DPOTrainer: reads the order and the samples from the volume, reports steps like our trainer.

It gets our tokens (TRL would join prompt and completion before it tokenises, and end with another token) and our order
of pairs, and every choice of its own that makes it faster here: reference log-probabilities computed once,
no recomputed activations, its fused AdamW. Runs inside the trainer image with requirements.txt beside it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewriter_contract import volume
from rewriter_contract.messages import MpoConfig
from rewriter_trainer.pairs import build_pairs
from rewriter_trainer.phase import Job, read_samples, step_plan
from rewriter_trainer.phase_files import read_order
from rewriter_trainer.progress_lines import ProgressLine, Reporter, take_over_stdout


def loss_terms(mpo: MpoConfig) -> dict[str, list[Any]]:
    """TRL's names of the three terms and their weights; a term of weight 0 is left out."""
    named = {"sigmoid": mpo.preference, "bco_pair": mpo.quality, "sft": mpo.generation}
    used = {name: weight for name, weight in named.items() if weight}
    return {"loss_type": list(used), "loss_weights": list(used.values())}


def train(root: Path, cycle: int, phase: int, out: Path, report: Reporter) -> None:
    """Train the phase whose order lies on the volume."""
    order = read_order(root, cycle, phase)
    report.say(ProgressLine(message="loading torch and TRL"))
    import torch
    from datasets import Dataset
    from datasets.table import InMemoryTable
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from rewriter_trainer.sequences import token_pair

    base = root / volume.weights_dir(order.base.version)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    pairs = build_pairs(read_samples(Job(root, cycle, phase, "peer"), order), order.pairs).pairs
    plan = list(step_plan(pairs, order))
    rows = []
    for index in (index for step in plan for index in step):
        pair = token_pair(tokenizer, pairs[index], order.stop)
        rows.append(
            {
                "prompt": "",
                "prompt_ids": list(pair.chosen.prompt),
                "chosen_ids": list(pair.chosen.completion),
                "rejected_ids": list(pair.rejected.completion),
            }
        )

    class OurTokens(DPOTrainer):  # type: ignore[misc, unused-ignore]
        """DPOTrainer on rows that are tokens already."""

        losses: Sequence[float] = ()

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            result = super().compute_loss(*args, **kwargs)
            loss = result[0] if isinstance(result, tuple) else result
            self.losses = (*self.losses, float(loss.detach()))
            return result

    class Steps(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Says when training starts and when a step is done."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            report.say(ProgressLine(total=len(plan), message="training"))

        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            report.say(ProgressLine(done=state.global_step, total=len(plan), metrics={"loss": trainer.losses[-1]}))

    config = DPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=order.optimizer.pairs_per_step,
        num_train_epochs=order.optimizer.epochs,
        learning_rate=order.optimizer.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=order.optimizer.weight_decay,
        max_grad_norm=order.optimizer.max_grad_norm,
        beta=order.mpo.beta,
        **loss_terms(order.mpo),
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        max_length=None,
        train_sampling_strategy="sequential",
        use_cpu=not torch.cuda.is_available(),
        bf16=order.dtype == "bfloat16",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=order.seed,
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, order.dtype), local_files_only=True)
    trainer = OurTokens(
        model=model,
        args=config,
        # A name of our own: datasets 5.2 cannot hash its tables with this pyarrow.
        train_dataset=Dataset(InMemoryTable.from_pylist(rows), fingerprint="bench"),
        processing_class=tokenizer,
        callbacks=[Steps()],
    )
    trainer.train()
    trainer.save_model(str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("root", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("cycle", "phase"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    train(report=take_over_stdout(), **vars(arguments))


if __name__ == "__main__":
    main()
