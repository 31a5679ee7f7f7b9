"""How a start tells its progress: JSON lines that init appends and `up` follows."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class What(StrEnum):
    READY = "ready"
    RESTARTED = "restarted"
    UP = "up"
    FAILED = "failed"


@dataclass(frozen=True)
class Event:
    """`seconds` since init began; `text` says why, for RESTARTED and FAILED."""

    what: What
    part: str
    seconds: float
    text: str = ""


def append(path: Path, event: Event) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(asdict(event)) + "\n")


def read(path: Path, offset: int) -> tuple[list[Event], int]:
    """The events of the complete lines after `offset`, and the offset after them."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    complete = data[: data.rfind(b"\n") + 1]
    return list(_parse(complete)), offset + len(complete)


def _parse(lines: bytes) -> Iterator[Event]:
    for line in lines.splitlines():
        fields = json.loads(line)
        yield Event(What(fields["what"]), fields["part"], fields["seconds"], fields["text"])
