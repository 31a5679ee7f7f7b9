"""A file system that is really full: a tmpfs of a megabyte, mounted in a mount namespace of the child's own."""

import json
import logging
import os
import shutil
import subprocess
import sys
from logging.handlers import BufferingHandler
from pathlib import Path

import pytest

from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import StorageOrder
from rewriter_contract.weights import publish
from rewriter_trainer.event_files import EventFile
from rewriter_trainer.free_space import Need, free_bytes, room_problem
from rewriter_trainer.metrics_log import MetricsLog
from tests.trainer.test_retention import CANARY, Manifest

MEGABYTE = 2**20
ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.trainer.test_full_file_system"


def publish_megabytes(root: Path, version: str, size: float) -> str:
    """Publish a set of this size; what the error says where it does not fit."""

    def write_files(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(b"x" * int(size * MEGABYTE))

    def describe(_: Path) -> Manifest:
        return Manifest(version, "", "float32", (), "", "", 0, CANARY, "test")

    try:
        publish(root, version, "writer", write_files, describe)
    except OSError as error:
        return f"full: {is_full(error)}"
    return "published"


def train_where_nothing_fits(root: Path) -> tuple[int, list[str]]:
    """A phase's progress files on what is left of the volume: the rows that it knows, and what it said of them."""
    told = BufferingHandler(capacity=1000)
    logging.getLogger().addHandler(told)
    log = MetricsLog(root / "metrics.jsonl", from_step=0, speaks=True)
    events = EventFile(root / "tensorboard", log.rows, speaks=True)
    for step in range(1, 5000):
        events.append(log.append(step, {f"metric_{number}": 1.0 for number in range(20)}, now=1000.0 + step))
    events.close()
    return len(log.rows), [record.getMessage() for record in told.buffer]


def play(root: Path) -> dict[str, object]:
    """What the child finds."""
    first = publish_megabytes(root, "r0001-p01", 0.4)
    second = publish_megabytes(root, "r0001-p02", 0.8)
    left = sorted(path.name for path in (root / "weights").iterdir())
    need = Need(base=0, weight_set=MEGABYTE, checkpoint=0, phases=1, phase_files=0, evidence=0)
    free = free_bytes(root)
    vague = RuntimeError("basic_ios::clear: iostream error")  # all that torch says
    told = [is_full(vague), is_full(vague, root), is_full(vague, Path(sys.executable))]
    problem = room_problem(need, free, StorageOrder("shop", "the volume", 2))
    again = publish_megabytes(root, "r0001-p02", 0.3)
    rows, told_of = train_where_nothing_fits(root)
    return {
        "rows": rows,
        "told_of": told_of,
        "first": first,
        "second": second,
        "left": left,
        "free": free,
        "problem": problem.message if problem else "",
        "again": again,
        "told": told,
    }


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux")
def test_a_set_that_does_not_fit_leaves_nothing_and_the_room_that_is_left_is_seen(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -m {MODULE} {tmp_path}"
    namespaces = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    done = subprocess.run([*namespaces, "sh", "-c", mount], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["first"], found["second"], found["left"]) == ("published", "full: True", ["r0001-p01"])
    assert 0.4 * MEGABYTE < found["free"] < 0.6 * MEGABYTE
    assert f"({found['free']} bytes), cycle 2 needs 1.0 MiB (1048576 bytes)" in found["problem"]
    assert found["told"] == [False, True, False], "only a file system that is seen to be full"
    assert found["again"] == "published", "what failed before is published once it fits"
    assert found["rows"] == 4999, "a phase goes on without its progress files"
    assert sorted(found["told_of"]) == [
        "metrics.jsonl ends here ([Errno 28] No space left on device); the phase trains on",
        "no event files of this phase any more (OSError: [Errno 28] No space left on device); it trains on",
    ]


if __name__ == "__main__":
    print(json.dumps(play(Path(sys.argv[1]))))
