"""Reads TensorBoard event files, record by record."""

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c


def events(directory: Path) -> list[Any]:
    """All events of a directory's files, in the order in which TensorBoard reads them; checksums are checked."""
    found = []
    for path in sorted(directory.iterdir()):
        assert "tfevents" in path.name, "TensorBoard finds files by this word"
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            record, checksum = data[12 : 12 + length], data[12 + length : 16 + length]
            assert struct.unpack("<II", data[8:12] + checksum) == (masked_crc32c(data[:8]), masked_crc32c(record))
            found.append(Event.FromString(record))
            data = data[16 + length :]
    return found


def steps(directory: Path) -> list[tuple[int, float, dict[str, float]]]:
    """Number, time and metrics of every step."""
    return [
        (event.step, event.wall_time, {value.tag: value.simple_value for value in event.summary.value})
        for event in events(directory)
        if event.HasField("summary")
    ]
