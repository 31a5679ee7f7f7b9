"""Runs a control plane's processes in the background (`python -m e2e.cluster.api_only_supervisor NAME OWNER`).

OWNER is the pid of the process after which to end, or 0.
"""

import os
import shutil
import signal
import sys

from e2e.cluster.api_only import paths_of
from e2e.cluster.detach import detached
from e2e.cluster.init import Init
from e2e.cluster.linux import adopt_orphans
from e2e.cluster.plan import Plan
from e2e.cluster.state import ClusterState, start_time, write_state


def main(name: str, owner: int) -> None:
    paths = paths_of(name)
    port = int((paths.config / "api-port").read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    adopt_orphans()
    write_state(paths.state, ClusterState(os.getpid(), start_time(os.getpid()) or 0, 0, port, 0, 0))
    init = Init(Plan.read(paths.config / "plan.json"))
    owner_started = start_time(owner)

    def is_orphan() -> bool:
        return owner != 0 and (owner_started is None or start_time(owner) != owner_started)

    try:
        init.run(None, lambda: not is_orphan())
    finally:
        init.end()
        if is_orphan():
            shutil.rmtree(paths.root, ignore_errors=True)  # nobody is left to read its logs, or to call `down`


if __name__ == "__main__":
    detached(paths_of(sys.argv[1]).progress, "supervisor", lambda: main(sys.argv[1], int(sys.argv[2])))
