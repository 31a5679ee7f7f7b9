"""What is published, recorded and loaded on a volume that is full, broken, read-only or hung: all of it, or nothing."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rewriter_contract import shards, weights
from rewriter_contract import volume as places
from rewriter_contract.full_volume import is_full
from rewriter_contract.messages import LoadState, PromotionRecord, WeightsOrder, WeightsRef
from rewriter_trainer.record import record
from tests.faulty_volume.conftest import BROKEN, FULL, READ_ONLY, STALE, FaultyVolume
from tests.sampler.test_reload import Bench, published

CHANGES = ("mkdir", "create", "write", "fsync", "fsyncdir", "rename")
NAMES = {FULL: "full", BROKEN: "EIO", STALE: "ESTALE", READ_ONLY: "read-only"}


def named(error: int) -> str:
    return NAMES[error]


def is_whole(root: Path, ref: WeightsRef) -> bool:
    """The set is there and verifies."""
    weights.verify(root / "weights" / ref.version, ref.digest)
    return True


@pytest.mark.parametrize("error", [FULL, BROKEN, READ_ONLY], ids=named)
def test_a_publication_that_fails_at_any_call_publishes_nothing_and_can_be_done_again(
    volume: FaultyVolume, error: int
) -> None:
    old = published(volume.root, "old")
    volume.works()
    published(volume.root, "counted")
    changes = [call for call in volume.calls() if call in CHANGES]
    assert len(changes) > 10
    for after in range(len(changes)):
        volume.fails(*CHANGES, error=error, after=after)
        version = f"new-{after}"
        try:
            published(volume.root, version)
        except OSError as told:
            assert told.errno == error and is_full(told) == (error == FULL)
        else:
            pytest.fail(f"call {after} ({changes[after]}) failed, and nobody noticed")
        volume.works()
        assert is_whole(volume.root, old), "what serves is as it was"
        if (volume.root / "weights" / version).exists():  # renamed, and only the last fsync of the directory failed
            assert changes[after:] == ["fsyncdir"]
        assert is_whole(volume.root, published(volume.root, version)), "the same phase, told again"
    left = [path.name for path in (volume.root / "weights").iterdir() if path.name.startswith(".tmp")]
    assert left == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file whose close failed
def test_an_error_that_comes_only_with_the_close_of_a_file_is_not_overheard(volume: FaultyVolume) -> None:
    """As NFS tells of a full disk."""
    volume.fails("flush", error=FULL)
    with pytest.raises(OSError) as told:
        published(volume.root, "new")
    assert told.value.errno == FULL
    volume.works()
    assert not (volume.root / "weights" / "new").exists()


def test_a_volume_that_is_really_full_keeps_what_serves_and_takes_the_next_set_when_there_is_room(
    small_volume: Path,
) -> None:
    old = published(small_volume, "old")
    with (small_volume / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"x" * 4096)
    with pytest.raises(OSError) as told:
        published(small_volume, "new")
    assert told.value.errno == FULL and is_full(told.value)
    assert [path.name for path in (small_volume / "weights").iterdir()] == ["old"]
    assert is_whole(small_volume, old)
    (small_volume / "filler").unlink()
    assert is_whole(small_volume, published(small_volume, "new"))


def ref_of(revision: int, ref: WeightsRef) -> PromotionRecord:
    return PromotionRecord(release="shop", revision=revision, stages={"finerank": ref})


@pytest.mark.parametrize("error", [FULL, BROKEN, READ_ONLY], ids=named)
def test_a_promotion_that_cannot_be_written_leaves_the_one_before_whole(volume: FaultyVolume, error: int) -> None:
    old, new = published(volume.root, "old"), published(volume.root, "new")
    assert record(volume.root, ref_of(1, old), "pod", 1).ok
    before = (volume.root / places.PROMOTED).read_bytes()
    volume.works()
    assert record(volume.root, ref_of(1, old), "pod", 2).ok
    count = sum(call in CHANGES for call in volume.calls())
    for after in range(count):
        volume.fails(*CHANGES, error=error, after=after)
        with pytest.raises(OSError) as told:
            record(volume.root, ref_of(2, new), "pod", 10 * after + 10)
        assert told.value.errno == error
        volume.works()
        found = (volume.root / places.PROMOTED).read_bytes()
        assert found == before or (b"new" in found and b'"revision":2' in found), "one of the two, and whole"
        assert record(volume.root, ref_of(1, old), "pod", 10 * after + 15).ok
        before = (volume.root / places.PROMOTED).read_bytes()


@pytest.mark.parametrize("error", [BROKEN, FULL], ids=named)
def test_a_shard_whose_fsync_fails_is_not_announced(volume: FaultyVolume, error: int) -> None:
    path = volume.root / "samples" / "shard-000.jsonl"
    volume.fails("fsync", error=error)
    with pytest.raises(OSError):
        shards.write_shard(path, [{"a": 1}], "r0001-p01", "reward", "pod")
    volume.works()
    assert shards.read_done(path) is None


@pytest.mark.parametrize("error", [BROKEN, STALE], ids=named)
@pytest.mark.parametrize("call", ["open", "read", "readdir"])
def test_weights_that_cannot_be_read_are_not_loaded_and_the_old_ones_serve_on(
    volume: FaultyVolume, call: str, error: int
) -> None:
    bench = Bench(volume.root)
    old, new = published(volume.root, "old"), published(volume.root, "new")
    assert bench.load(old).state is LoadState.READY
    volume.fails(call, error=error)
    state = bench.load(new)
    assert state.state is LoadState.FAILED and os.strerror(error) in state.message
    assert state.weights == old, "nothing of the engine was touched"
    volume.works()
    assert bench.load(new).weights == new, "opened again by its path"


def test_a_volume_that_hangs_keeps_a_sampler_loading_and_answering(volume: FaultyVolume) -> None:
    """A hard NFS mount whose server is gone: the operator replaces the pod after spec.training.stallTimeout."""
    bench = Bench(volume.root)
    old, new = published(volume.root, "old"), published(volume.root, "new")
    assert bench.load(old).state is LoadState.READY
    volume.hangs("read", "open", "readdir")
    bench.weights.order(WeightsOrder(new.version, new.digest, pause_timeout_seconds=0.2))
    began = time.monotonic()
    state = bench.weights.state()
    assert time.monotonic() - began < 1, "whoever asks is answered"
    assert (state.state, state.weights) == (LoadState.LOADING, old)
    threading.Event().wait(0.3)
    assert bench.weights.state().state is LoadState.LOADING
    volume.works()
    assert bench.settled().weights == new, "when the server is back, it goes on by itself"
