"""The record pod: writes promoted.json, by which a re-created release finds what serves. Runs once.

    REWRITER_RECORD='{...}' python -m rewriter_trainer.record

Refuses (exit code 1) to point at a weight set that is not on the volume, or is another one: a promotion record that
cannot be served from is worse than the record before it. Writing the same record again changes nothing.
"""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from rewriter_contract import env, volume, wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, WeightsRef
from rewriter_contract.shards import replace_file
from rewriter_contract.weights import manifest_digest
from rewriter_trainer import termination

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordResult:
    """Termination message of the record pod."""

    ok: bool
    message: str = ""


def record(root: Path, promotion: PromotionRecord, writer: str) -> RecordResult:
    """Write promoted.json, or say why not."""
    refs = [*promotion.stages.values(), *promotion.history]
    wrong = list(dict.fromkeys(text for ref in refs if (text := difference(root, ref))))
    if wrong:
        return RecordResult(ok=False, message="; ".join(wrong)[:2000])
    path, data = root / volume.PROMOTED, wire.dumps(promotion).encode()
    if not path.exists() or path.read_bytes() != data:
        replace_file(path, data, writer)
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
    result = record(Path(os.environ[env.VOLUME_ROOT]), promotion, os.environ[env.POD_UID])
    termination.write(result)
    if not result.ok:
        log.error("promoted.json is not written: %s", result.message)
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
