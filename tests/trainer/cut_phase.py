"""The program of a phase, with micro-batches of another size: `python -m tests.trainer.cut_phase TOKENS --root ...`."""

import sys

from rewriter_trainer import phase

if __name__ == "__main__":
    phase.MAX_MICRO_BATCH_TOKENS = dict.fromkeys(phase.MAX_MICRO_BATCH_TOKENS, int(sys.argv.pop(1)))  # type: ignore[misc]
    sys.exit(phase.main())
