"""What a running cluster says about itself, in `state.json`: written by its supervisor, read by everyone else.

A pid alone could belong to another process by now, so it is believed only together with its start time.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClusterState:
    """A supervisor and the host ports that its relays (or its control plane) listen on; 0 means "has none"."""

    supervisor: int
    supervisor_started: int
    namespaces_of: int
    api_port: int
    gateway_port: int
    registry_port: int

    def alive(self) -> bool:
        return start_time(self.supervisor) == self.supervisor_started


def start_time(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot; None when there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def write_state(path: Path, state: ClusterState) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(state), indent=1))
    os.replace(temporary, path)


def read_state(path: Path) -> ClusterState | None:
    """The last state written, alive or not; None when there never was one."""
    try:
        return ClusterState(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
