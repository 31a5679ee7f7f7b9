"""The file that tells init what to run: written at each start, read once."""

import json
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.programs import Program


@dataclass(frozen=True)
class Plan:
    """All programs, the directory of their logs, and the file that progress is reported in."""

    programs: tuple[Program, ...]
    logs: Path
    progress: Path

    def write(self, path: Path) -> None:
        document = {
            "programs": [program.to_json() for program in self.programs],
            "logs": str(self.logs),
            "progress": str(self.progress),
        }
        path.write_text(json.dumps(document, indent=1))

    @classmethod
    def read(cls, path: Path) -> "Plan":
        data = json.loads(path.read_text())
        programs = tuple(Program.from_json(program) for program in data["programs"])
        return cls(programs, Path(data["logs"]), Path(data["progress"]))
