"""Where things are on the shared volume, as functions of (cycle, phase, version); see DESIGN, section 6.

All paths are relative to the release's own directory and use `/`. The operator hands out paths that these
functions make; the pods resolve them below their volume root and refuse anything that would leave it.
"""

from pathlib import Path
from typing import Final

PROMOTED: Final = "promoted.json"
OWNER: Final = "release.json"
"""Names the release whose directory it is (rewriter_trainer/owner.py)."""

MANIFEST: Final = "manifest.json"
TRAINED: Final = "trained"
"""Directory of what each cycle trained on (rewriter_trainer/trained_record.py)."""
TURNS: Final = "promotions"
"""Directory in which the writers of promoted.json take turns (rewriter_trainer/turns.py)."""


def cycle_dir(cycle: int) -> str:
    """`cycles/0007`"""
    return f"cycles/{cycle:04d}"


def spec_file(cycle: int) -> str:
    """The resolved spec of a cycle: seeds, digests; immutable once written."""
    return f"{cycle_dir(cycle)}/spec.json"


def phase_dir(cycle: int, phase: int) -> str:
    """`cycles/0007/phases/02`"""
    return f"{cycle_dir(cycle)}/phases/{phase:02d}"


def samples_file(cycle: int, phase: int, shard: int) -> str:
    """Samples with their scores, one JSON row per query."""
    return f"{phase_dir(cycle, phase)}/samples/shard-{shard:03d}.jsonl"


def checkpoint_dir(cycle: int, phase: int) -> str:
    """DeepSpeed state of a running phase."""
    return f"{phase_dir(cycle, phase)}/checkpoint"


def pairs_file(cycle: int, phase: int) -> str:
    """The preference pairs that a phase trained on."""
    return f"{phase_dir(cycle, phase)}/pairs/pairs.jsonl"


def metrics_file(cycle: int, phase: int) -> str:
    """One JSON row per optimizer step."""
    return f"{phase_dir(cycle, phase)}/metrics.jsonl"


def events_dir(cycle: int, phase: int) -> str:
    """The same rows as a TensorBoard event file."""
    return f"{phase_dir(cycle, phase)}/tensorboard"


def pairs_dir(cycle: int, phase: int) -> str:
    """Where `pairs_file` is."""
    return pairs_file(cycle, phase).rpartition("/")[0]


def samples_dir(cycle: int, phase: int) -> str:
    """Where `samples_file`s are."""
    return samples_file(cycle, phase, 0).rpartition("/")[0]


def order_file(cycle: int, phase: int) -> str:
    """The order that a phase's process works on; it says which weight set the phase publishes."""
    return f"{phase_dir(cycle, phase)}/order.json"


def trained_file(cycle: int) -> str:
    """Digests of the queries that the cycle's phases were trained on; outlives the cycle's directory."""
    return f"{TRAINED}/{cycle:04d}.json"


def weights_version(revision: int, phase: int) -> str:
    """`r0007-p02`: the weight set that phase 2 of cycle 7 publishes."""
    return f"r{revision:04d}-p{phase:02d}"


def base_version(content_digest: str) -> str:
    """`base-0a1b2c3d4e5f`: a base model imported as a weight set, named by its content."""
    return f"base-{content_digest[:12]}"


def weights_dir(version: str) -> str:
    """`weights/r0007-p02`"""
    return f"weights/{version}"


def validation_file(cycle: int, phase: int, shard: int) -> str:
    """What the weights that a phase published do on the validation queries."""
    return f"{phase_dir(cycle, phase)}/validation/shard-{shard:03d}.jsonl"


def evidence_file(cycle: int, side: str, shard: int) -> str:
    """Gate evidence of one side (`candidate` or `incumbent`)."""
    return f"{cycle_dir(cycle)}/gate/{side}-{shard:03d}.jsonl"


def report_file(cycle: int, suffix: str) -> str:
    """The gate's report, `suffix` json or html."""
    return f"{cycle_dir(cycle)}/gate/report.{suffix}"


class OutsideVolume(ValueError):
    """A path that would leave the release's directory on the volume."""


def resolve(root: Path, relative: str) -> Path:
    """The absolute path of `relative` below `root`, symlinks followed.

    Raises:
        OutsideVolume: if the result is not below `root`, whatever way `..`, a leading `/` or a symlink took it there.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise OutsideVolume(f"path {relative!r} leaves the volume root; use a path below the release's directory")
    return path
