"""Evidence of models that were really trained, as files: one per trial, for the bench of the gate.

Written from a cycle's evidence, read by gate.py. It judges nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRows


@dataclass(frozen=True)
class Trial:
    """One training run and what the gate is shown of it."""

    source: str
    """What was trained, on what, with which settings."""
    flaw: str
    """The relevance model's planted flaw; empty for an honest one."""
    seed: int
    candidate: EvidenceRows
    incumbent: EvidenceRows


def read_trials(directory: Path) -> list[Trial]:
    """All trials of a directory, by file name; none when it does not exist.

    Raises:
        WireError: naming the file that is none.
    """
    return [wire.loads(Trial, path.read_bytes(), path.name) for path in sorted(directory.glob("*.json"))]


def write_trial(directory: Path, trial: Trial) -> Path:
    """`flaw-length-0.15-seed-3.json`"""
    directory.mkdir(parents=True, exist_ok=True)
    kind = f"flaw-{trial.flaw.replace(':', '-')}" if trial.flaw else "honest"
    path = directory / f"{kind}-seed-{trial.seed}.json"
    path.write_text(wire.dumps(trial))
    return path
