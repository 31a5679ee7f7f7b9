"""The record pod: writes promoted.json, by which a re-created release finds what serves. Runs once.

    REWRITER_RECORD='{...}' REWRITER_RECORD_ORDER=1764000000 python -m rewriter_trainer.record

Refuses (exit code 1) to point at a weight set that is not on the volume, or is another one: a promotion record that
cannot be served from is worse than the record before it. Refuses as well to replace a record of a higher order (see
turns.py). Writing the same record again changes nothing.
"""

import logging
import os
import sys
from pathlib import Path

from rewriter_contract import env, volume, wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, RecordResult, WeightsRef
from rewriter_contract.shards import replace_file
from rewriter_contract.weights import manifest_digest
from rewriter_trainer import termination
from rewriter_trainer.turns import NotMyTurn, Turn

log = logging.getLogger(__name__)


def record(root: Path, promotion: PromotionRecord, writer: str, order: int | None = None) -> RecordResult:
    """Write promoted.json, or say why not. Without an order (an operator from before orders) the last writer wins."""
    refs = [*promotion.stages.values(), *promotion.history]
    wrong = list(dict.fromkeys(text for ref in refs if (text := difference(root, ref))))
    if wrong:
        return RecordResult(ok=False, message="; ".join(wrong)[:2000])
    data = wire.dumps(promotion).encode()
    if order is None:
        replace_file(root / volume.PROMOTED, data, writer)
        return RecordResult(ok=True)
    try:
        Turn(root, order, writer).replace(data)
    except NotMyTurn as late:
        return RecordResult(ok=False, message=str(late), newer=late.newer)
    return RecordResult(ok=True)


def difference(root: Path, ref: WeightsRef) -> str:
    """Why `ref` does not name a weight set on the volume; empty when it does. The passthrough needs none."""
    if ref.version == PASSTHROUGH:
        return ""
    directory = volume.resolve(root, volume.weights_dir(ref.version))
    if not (directory / volume.MANIFEST).is_file():
        return f"weight set {ref.version} is not on the volume; restore it, or promote another revision"
    found = manifest_digest(directory)
    if found != ref.digest:
        return f"weight set {ref.version} has manifest digest {found[:12]}, the record says {ref.digest[:12]}"
    return ""


def main() -> int:
    """Do the order in the environment."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    promotion = wire.loads(PromotionRecord, os.environ[env.RECORD], env.RECORD)
    order = os.environ.get(env.RECORD_ORDER)
    root, writer = Path(os.environ[env.VOLUME_ROOT]), os.environ[env.POD_UID]
    result = record(root, promotion, writer, int(order) if order else None)
    termination.write(result)
    if not result.ok:
        log.error("promoted.json is not written: %s", result.message)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
