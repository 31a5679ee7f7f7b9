"""Runs the program of a phase on a volume, as the control server does."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rewriter_contract import volume
from rewriter_contract.messages import PhaseOrder
from rewriter_trainer import phase_files
from tests.ports import free_port

PROGRAM = ("rewriter_trainer.phase",)


def run(root: Path, order: PhaseOrder, phase: int = 1, workers: int = 1, program: Sequence[str] = PROGRAM) -> int:
    """Run a program (a module and its first arguments) on the phase to its end; its exit code."""
    phase_files.write_order(root, 1, phase, order, "test")
    launcher = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={workers}", "--master-addr=127.0.0.1"]
    several = [*launcher, f"--master-port={free_port()}"] if workers > 1 else []
    arguments = [f"--root={root}", "--cycle=1", f"--phase={phase}", "--writer=test"]
    command = [sys.executable, *several, "-m", *program, *arguments]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, timeout=300).returncode


def train(root: Path, order: PhaseOrder, phase: int = 1, workers: int = 1, micro_batch_tokens: int = 1024) -> None:
    """Train the phase to its end, in micro-batches of some size."""
    assert run(root, order, phase, workers, ("tests.trainer.cut_phase", str(micro_batch_tokens))) == 0


def steps(root: Path, phase: int = 1) -> list[dict[str, float]]:
    """What the phase told of its optimizer steps."""
    return [json.loads(line) for line in (root / volume.metrics_file(1, phase)).read_text().splitlines()]


def tensors(root: Path, version: str) -> bytes:
    """The file of a published weight set."""
    return (root / volume.weights_dir(version) / "model.safetensors").read_bytes()
