"""Files of one phase that only the trainer reads and writes: its order, and its result. Standard library only.

They make a phase repeatable by a new pod: the same order finds its checkpoint, or its finished result, and another
order under the same number is told apart from it.
"""

from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import volume, wire
from rewriter_contract.messages import PhaseOrder, WeightsRef
from rewriter_contract.shards import replace_file


@dataclass(frozen=True)
class PhaseResult:
    """result.json: written before the weight set is published, so it counts only when that set is there."""

    order_sha256: str
    metrics: dict[str, float]
    out_version: str
    reference: WeightsRef
    delta_total: float
    """Sum of all rewards against `reference` so far, earlier phases included; see loss.RunningMean."""
    delta_count: int


def result_file(cycle: int, phase: int) -> str:
    """What the phase came to."""
    return f"{volume.phase_dir(cycle, phase)}/result.json"


def order_sha256(order: PhaseOrder) -> str:
    """Digest of an order, equal for equal orders."""
    return wire.digest(wire.dumps(order))


def write_order(root: Path, cycle: int, phase: int, order: PhaseOrder, writer: str) -> None:
    """Leave the order for the phase's process."""
    replace_file(volume.resolve(root, volume.order_file(cycle, phase)), wire.dumps(order).encode(), writer)


def read_order(root: Path, cycle: int, phase: int) -> PhaseOrder:
    """The order that `write_order` left."""
    return wire.loads(PhaseOrder, volume.resolve(root, volume.order_file(cycle, phase)).read_bytes(), "order.json")


def write_result(root: Path, cycle: int, phase: int, result: PhaseResult, writer: str) -> None:
    """Record what the phase came to; publishing the weight set makes it count."""
    replace_file(volume.resolve(root, result_file(cycle, phase)), wire.dumps(result).encode(), writer)


def read_result(root: Path, cycle: int, phase: int) -> PhaseResult | None:
    """What the phase came to, or None where there is no result that can be read."""
    try:
        return wire.loads(PhaseResult, volume.resolve(root, result_file(cycle, phase)).read_bytes(), "result.json")
    except (FileNotFoundError, wire.WireError):
        return None
