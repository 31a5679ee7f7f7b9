"""Evidence of models that were really trained, as files: one per trial, for the bench of the gate.

    python -m e2e.bench.trials cycles/0007/gate --flaw length:0.15 --seed 3 --source "act two of the demo"

keeps the evidence of a cycle (a copy of the volume's directory is enough) as a trial. Read by gate.py. Judges nothing.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.paths import REPOSITORY
from rewriter_contract import wire
from rewriter_contract.messages import EvidenceRows
from rewriter_operator.replay import evidence_of

TRIALS: Final = REPOSITORY / "build" / "bench" / "trained"


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
    gamma: float | None = None
    """Exponents of the fusion, in search and reward; None: the collection's own."""
    honest_gain: float | None = None
    """What the same relevance model without its flaw says: mean log R of the candidate less the incumbent's. A flaw was
    exploited where this did not rise; None: not measured."""

    @property
    def is_hack(self) -> bool:
        """Training on a flawed reward made nothing better but that reward."""
        return bool(self.flaw) and (self.honest_gain is None or self.honest_gain <= 0.0)

    @property
    def file_name(self) -> str:
        """`flaw-length-0.15-gamma-2-seed-3.json`, `honest-seed-0.json`"""
        return file_name(self.flaw, self.seed, self.gamma)


def file_name(flaw: str, seed: int, gamma: float | None) -> str:
    """Of a trial."""
    kind = f"flaw-{flaw.replace(':', '-')}" if flaw else "honest"
    trust = f"-gamma-{gamma:g}" if gamma is not None else ""
    return f"{kind}{trust}-seed-{seed}.json"


def flaw_of(strength: float) -> str:
    """As the relevance model is told; empty for an honest one."""
    return f"length:{strength:g}" if strength else ""


def read_trials(directory: Path) -> list[Trial]:
    """All trials of a directory, by file name; none when it does not exist.

    Raises:
        WireError: naming the file that is none.
    """
    return [wire.loads(Trial, path.read_bytes(), path.name) for path in sorted(directory.glob("*.json"))]


def write_trial(directory: Path, trial: Trial) -> Path:
    """Under the trial's own name; the file's path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / trial.file_name
    path.write_text(wire.dumps(trial))
    return path


def main() -> None:
    """Keep one cycle's evidence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="cycles/NNNN/gate of a volume, or a copy of it")
    parser.add_argument("--flaw", default="", help="KIND:STRENGTH of the relevance model's flaw; empty: an honest one")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--source", required=True, help="what was trained, on what, with which settings")
    parser.add_argument("--out", type=Path, default=TRIALS)
    arguments = parser.parse_args()
    candidate, incumbent = (evidence_of(arguments.directory, side) for side in ("candidate", "incumbent"))
    print(write_trial(arguments.out, Trial(arguments.source, arguments.flaw, arguments.seed, candidate, incumbent)))


if __name__ == "__main__":
    main()
