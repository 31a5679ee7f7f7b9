"""Room on the volume is asked for before a cycle starts: the formula, the sentence, and what is not known."""

import errno
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import PrepareResult, Problem, PromotionRecord, StorageOrder, WeightsRef
from rewriter_contract.weights import FileEntry, Manifest, publish
from rewriter_trainer import free_space, prepare, termination
from rewriter_trainer.check_model import check_model
from rewriter_trainer.free_space import Need, need, room_problem
from rewriter_trainer.prepare import prepare as prepared

from .test_prepare import order, root, services  # noqa: F401
from .test_retention import CANARY, ORDER

MILLION = 1_000_000
STORAGE = replace(ORDER, cycle=3, phases=4, phase_bytes=1000)


def million_parameters(root: Path) -> None:  # noqa: F811
    """A model of a million parameters in float32, of which only the header is written."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4 * MILLION]}}).encode()
    (root / "base/model/model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)


def of(root: Path, dtype: str, storage: StorageOrder = STORAGE) -> Need:  # noqa: F811
    model = check_model(root, "base/model")
    found = need(root, model, order("http://x", dtype=dtype), storage, gate_queries=100)
    assert found is not None
    return found


@pytest.mark.parametrize("dtype, set_bytes, checkpoint", [("float32", 4, 16), ("bfloat16", 2, 14)])
def test_a_cycle_needs_its_sets_samples_two_checkpoints_and_evidence(
    root: Path,  # noqa: F811
    dtype: str,
    set_bytes: int,
    checkpoint: int,
) -> None:
    million_parameters(root)
    found = of(root, dtype)
    others = sum((root / "base/model" / name).stat().st_size for name in ("config.json", "tokenizer.json"))
    assert found.weight_set == set_bytes * MILLION + others
    base = others + (root / "base/model/model.safetensors").stat().st_size
    evidence = 2 * 100 * 2048
    assert found.total == base + 4 * (found.weight_set + 1000) + 2 * checkpoint * MILLION + evidence


def test_a_base_model_that_is_imported_needs_no_room_and_a_changed_one_does(root: Path) -> None:  # noqa: F811
    million_parameters(root)
    names = ("config.json", "model.safetensors", "tokenizer.json")
    files = tuple(FileEntry(name, (root / "base/model" / name).stat().st_size, "0") for name in names)
    manifest = Manifest("base-0123456789ab", "", "float32", files, "", "", 0, CANARY, "test")
    publish(root, "base-0123456789ab", "writer", lambda path: (path / "x").touch(), lambda _: manifest)
    assert of(root, "float32").base == 0
    (root / "base/model/tokenizer.json").write_text("another one")
    assert of(root, "float32").base > 0


@pytest.mark.parametrize(
    "header", ["[1]", '{"w": 1}', '{"w": {}}', '{"w": {"shape": 3}}', '{"w": {"shape": [1e999]}}', "{"]
)
def test_a_model_that_cannot_be_counted_needs_nothing_that_is_known(root: Path, header: str) -> None:  # noqa: F811
    data = struct.pack("<Q", len(header)) + header.encode()
    (root / "base/model/model.safetensors").write_bytes(data)
    assert need(root, check_model(root, "base/model"), order("http://x"), STORAGE, gate_queries=0) is None


def test_the_bootstrap_needs_room_for_the_base_model_only(root: Path) -> None:  # noqa: F811
    million_parameters(root)
    found = of(root, "float32", replace(STORAGE, cycle=0, phases=0))
    assert found.total == found.base + found.evidence


def test_a_cycle_that_would_not_fit_is_refused_with_claim_numbers_and_remedy_and_goes_on_once_there_is_room(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    million_parameters(root)
    monkeypatch.setattr(prepare, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    monkeypatch.setattr(free_space.os, "statvfs", lambda _: SimpleNamespace(f_bavail=10, f_frsize=4096, f_blocks=99))
    full = prepared(root, order(services), "pod", STORAGE)
    (problem,) = full.problems
    assert full.storage and full.storage.needed_bytes
    assert problem.reason == "VolumeFull"
    assert problem.message.startswith(
        "the volume of spec.volume.claimName 'rewriter' (directory shop): 0.0 MiB free (40960 bytes), cycle 3 needs "
    )
    assert (
        f"({full.storage.needed_bytes} bytes)" in problem.message and "4 phases x (3.8 MiB weights" in problem.message
    )
    assert "lower spec.retention.weights or spec.training.phases" in problem.message
    assert len(problem.message) <= termination.MAX_MESSAGE
    assert not (root / "cycles/0003/spec.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(prepare, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    assert prepared(root, order(services), "pod", STORAGE).problems == ()


def test_what_was_removed_makes_the_room_that_the_cycle_is_asked_for(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from .test_retention import promote, ran

    monkeypatch.setattr(prepare, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    ran(root, 1)
    promote(root, "r0001-p02")
    answer = prepared(root, order(services), "pod", STORAGE)
    assert answer.storage and answer.problems == ()
    assert answer.storage.removed[0] == "weights/r0001-p01" and answer.storage.freed_bytes > 0
    assert answer.storage.free_bytes and answer.storage.needed_bytes


def test_a_file_system_that_does_not_tell_its_room_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_space.os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096, f_blocks=0))
    assert free_space.free_bytes(Path("/")) is None
    huge = Need(base=0, weight_set=2**50, checkpoint=0, phases=4, phase_files=0, evidence=0)
    assert room_problem(huge, None, STORAGE) is None
    assert room_problem(None, 0, STORAGE) is None


def test_a_volume_that_fills_up_at_the_last_moment_is_told_as_such(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "_import", lambda *_: (WeightsRef("base-x", "0"), []))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepare, "replace_file", full)
    (problem,) = prepared(root, order(services), "pod", STORAGE).problems
    assert problem.reason == "VolumeFull"
    assert (
        "claimName 'rewriter' (directory shop) is full: cycles/0003/spec.json could not be written" in problem.message
    )


def test_without_a_storage_order_nothing_is_removed_asked_or_told(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from .test_retention import ran

    ran(root, 1)
    monkeypatch.setattr(prepare, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    assert prepared(root, order(services), "pod").storage is None
    assert (root / "weights/r0001-p01").exists()


def test_paths_are_left_out_of_an_answer_before_problems_and_history_are() -> None:
    long = tuple(f"weights/{'x' * 200}" for _ in range(5))
    storage = prepare._told(prepare.Removed(paths=list(long), left=list(long)), 1, None)
    history = tuple(WeightsRef(f"r{i:04d}-p01", "0" * 64) for i in range(20))
    problems = (Problem("VolumeFull", "x" * 600),)
    fitted = termination.fit(
        PrepareResult(problems=problems, storage=storage, promoted=PromotionRecord("s", 1, {}, history))
    )
    assert fitted.storage and (fitted.storage.removed, fitted.storage.removed_count) == ((), 5)
    assert fitted.problems == problems and fitted.promoted and len(fitted.promoted.history) == 20


@pytest.mark.parametrize(
    "error, full",
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (ValueError("no tensor"), False),
    ],
)
def test_a_full_volume_is_told_from_other_trouble(error: Exception, full: bool) -> None:
    assert is_full(error) is full
    wrapped = RuntimeError("the phase failed")
    wrapped.__cause__ = error
    assert is_full(wrapped) is full


def test_what_the_system_itself_says_of_a_full_device_is_understood() -> None:
    with pytest.raises(OSError) as raised, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    assert is_full(raised.value)
