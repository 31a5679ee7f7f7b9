"""The first process of a local cluster's namespaces (`python -m e2e.cluster.isolated_init PLAN LIFELINE`).

Its end, of whatever kind, is the end of everything in them.
"""

import signal
import sys
from pathlib import Path

from e2e.cluster.init import Init
from e2e.cluster.isolation import set_up_isolation
from e2e.cluster.plan import Plan


def main(plan_file: str, lifeline: int) -> None:
    """`lifeline` is a file descriptor whose end-of-file means that the supervisor is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    set_up_isolation()
    init = Init(Plan.read(Path(plan_file)))
    try:
        init.run(lifeline)
    finally:
        init.end()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
