"""What the prepare pod removes from the volume, and above all what it does not. Real files, no torch."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rewriter_contract import volume, wire
from rewriter_contract.messages import PromotionRecord, StorageOrder, WeightsRef
from rewriter_contract.shards import write_shard
from rewriter_contract.weights import Canary, Manifest, publish
from rewriter_trainer import phase_files, retention, trained_record
from rewriter_trainer.retention import retain
from tests.examples import examples

from . import builders

CANARY = Canary(token_ids=(1, 2), logprobs=(-1.0,), tolerance=0.01)
ORDER = StorageOrder(release="shop", claim="the volume of spec.volume.claimName 'rewriter' (directory shop)", cycle=4)


def publish_set(root: Path, version: str, parent: str = "") -> WeightsRef:
    """A weight set in which only the manifest is real: nothing here reads tensors."""

    def describe(_: Path) -> Manifest:
        return Manifest(version, parent, "float32", (), "", "", 0, CANARY, "test")

    def write_files(directory: Path) -> None:
        (directory / "model.safetensors").write_bytes(version.encode() * 100)

    return WeightsRef(version, publish(root, version, "writer", write_files, describe))


def ran(root: Path, cycle: int, phases: int = 2) -> None:
    """A cycle has run: its phases left orders, samples, pairs, metrics, a checkpoint and weight sets, its gate a
    report."""
    (root / "cycles" / f"{cycle:04d}" / "gate").mkdir(parents=True)
    (root / volume.spec_file(cycle)).write_text("{}")
    (root / volume.report_file(cycle, "json")).write_text("{}")
    for phase in range(1, phases + 1):
        version = volume.weights_version(cycle, phase)
        order = builders.order(WeightsRef("base-0123456789ab", "0"), phase=phase, out_version=version)
        phase_files.write_order(root, cycle, phase, order, "writer")
        for path in (volume.samples_file(cycle, phase, 0), volume.pairs_file(cycle, phase)):
            write_shard(root / path, [{"id": "q"}], version, "reward", "writer")
        (root / volume.metrics_file(cycle, phase)).write_text("{}")
        (root / volume.events_dir(cycle, phase)).mkdir()
        (root / volume.events_dir(cycle, phase) / "events.out.tfevents.1.pod").write_bytes(b"x" * 100)
        (root / volume.checkpoint_dir(cycle, phase) / "step-000020").mkdir(parents=True)
        (root / volume.checkpoint_dir(cycle, phase) / "step-000020" / "state.pt").write_bytes(b"x" * 1000)
        publish_set(root, version)


@pytest.fixture(autouse=True, scope="module")
def disk_is_not_waited_for() -> Iterator[None]:
    """Pods are killed here, machines are not; hundreds of volumes are written."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three cycles have ended, a base model is imported, and r0003-p02 serves."""
    directory = tmp_path / "volume" / "shop"
    directory.mkdir(parents=True)
    publish_set(directory, "base-0123456789ab")
    for cycle in (1, 2, 3):
        ran(directory, cycle)
    promote(directory, "r0003-p02")
    return directory


def promote(root: Path, version: str, release: str = "shop", history: tuple[str, ...] = ()) -> None:
    refs = tuple(WeightsRef(name, "0") for name in history)
    record = PromotionRecord(release, 3, {"finerank": WeightsRef(version, "0")}, refs)
    (root / volume.PROMOTED).write_text(wire.dumps(record))


def sets(root: Path) -> set[str]:
    return {path.name for path in (root / "weights").iterdir()}


def all_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_phases_that_nobody_needs_go_and_what_is_named_stays(root: Path) -> None:
    before = sum(path.stat().st_size for path in (root / "weights").rglob("*") if path.is_file())
    removed = retain(root, replace(ORDER, weights=("r0002-p02",)))
    assert sets(root) == {"base-0123456789ab", "r0002-p02", "r0003-p02"}
    assert [path for path in removed.paths if path.startswith("weights/")] == [
        *("weights/r0001-p01", "weights/r0001-p02", "weights/r0002-p01", "weights/r0003-p01")
    ]
    after = sum(path.stat().st_size for path in (root / "weights").rglob("*") if path.is_file())
    assert removed.freed_bytes > before - after > 0
    assert (removed.left, removed.trouble) == ([], "")


def test_again_it_removes_nothing_more(root: Path) -> None:
    retain(root, ORDER)
    files = all_files(root)
    again = retain(root, ORDER)
    assert (again.paths, again.freed_bytes, again.left, again.trouble) == ([], 0, [], "")
    assert all_files(root) == files


def test_checkpoints_go_first_then_samples_then_the_evidence_of_old_cycles(root: Path) -> None:
    retain(root, replace(ORDER, weights=("r0002-p02",), sample_cycles=1, report_cycles=1, reports=()))
    assert not (root / "cycles/0001").exists()
    assert (root / "cycles/0002/gate/report.json").exists(), "one of its sets is kept, so its orders are needed"
    assert not (root / "cycles/0002/phases/01/samples").exists()
    assert (root / "cycles/0003/phases/01/samples/shard-000.jsonl").exists()
    assert (root / "cycles/0003/phases/01/pairs/pairs.jsonl").exists()
    assert not list(root.glob("cycles/*/phases/*/checkpoint"))
    assert (root / "cycles/0003/phases/01/order.json").exists()


def test_metrics_and_event_files_stay_with_the_reports_and_go_with_them(root: Path) -> None:
    retain(root, replace(ORDER, sample_cycles=1, report_cycles=2))
    for phase in (1, 2):
        for path in (volume.metrics_file, volume.events_dir):
            assert (root / path(3, phase)).exists() and (root / path(2, phase)).exists()
    assert not (root / "cycles/0001").exists()


def test_the_evidence_of_a_kept_revision_stays_however_old(root: Path) -> None:
    retain(root, replace(ORDER, report_cycles=1, reports=(1,)))
    assert (root / "cycles/0001/gate/report.json").exists()
    assert not (root / "cycles/0002").exists()


@pytest.mark.parametrize("empty", [ORDER, replace(ORDER, cycle=999_999)], ids=["empty", "stale"])
def test_what_promoted_json_names_stays_whatever_the_operator_says(root: Path, empty: StorageOrder) -> None:
    promote(root, "r0003-p01", history=("r0001-p02",))
    retain(root, empty)
    assert sets(root) == {"base-0123456789ab", "r0003-p01", "r0001-p02"}


def broken(root: Path) -> None:
    (root / volume.PROMOTED).write_text('{"release": "shop"')


def of_another(root: Path) -> None:
    promote(root, "r0003-p02", release="books")


def lost(root: Path) -> None:
    (root / volume.PROMOTED).unlink()
    (root / volume.TURNS).mkdir()
    (root / volume.TURNS / "000001764000000").touch()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (broken, "promoted.json cannot be read"),
        (of_another, "promoted.json is of release 'books', not of 'shop'; two releases never share"),
        (lost, "promotions/ says that something was promoted, and promoted.json is gone"),
    ],
)
def test_nothing_goes_while_it_cannot_be_told_what_is_promoted(
    root: Path, damage: Callable[[Path], None], says: str
) -> None:
    damage(root)
    files = all_files(root)
    removed = retain(root, ORDER)
    assert says in removed.trouble and removed.trouble.startswith("nothing is removed: ")
    assert (removed.paths, all_files(root)) == ([], files)


def records(root: Path) -> set[str]:
    return {path.name for path in (root / volume.TRAINED).iterdir()}


def trained_in_line(root: Path) -> None:
    """Cycles 1 and 2 began with the base model, 3 with what 1 published."""
    for cycle, base in ((1, "base-0123456789ab"), (2, "base-0123456789ab"), (3, "r0001-p02")):
        for phase in (1, 2):
            start = base if phase == 1 else volume.weights_version(cycle, 1)
            version = volume.weights_version(cycle, phase)
            made = builders.order(WeightsRef(start, "0"), phase=phase, out_version=version)
            trained_record.record(root, cycle, made, [f"query {cycle} {phase}"], "writer")


def test_what_a_cycle_trained_on_is_kept_as_long_as_a_set_descends_from_it_and_goes_then(root: Path) -> None:
    trained_in_line(root)
    removed = retain(root, replace(ORDER, weights=("r0002-p02",), report_cycles=1))
    assert records(root) == {"0001.json", "0002.json", "0003.json"} and not (root / "cycles/0001").exists()
    removed = retain(root, replace(ORDER, report_cycles=1))
    assert records(root) == {"0001.json", "0003.json"}, "r0003-p02 serves, and began with a set that is gone"
    assert "trained/0002.json" in removed.paths and "r0001-p02" not in sets(root)


def test_records_of_the_running_cycle_and_of_one_with_a_pod_left_stay(root: Path) -> None:
    trained_in_line(root)
    retain(root, replace(ORDER, cycle=2))
    retain(root, replace(ORDER, busy=(2,)))
    assert records(root) == {"0001.json", "0002.json", "0003.json"}


def test_a_damaged_record_may_be_a_link_of_the_line_so_all_stay(root: Path) -> None:
    trained_in_line(root)
    (root / volume.trained_file(3)).write_text("{")
    removed = retain(root, ORDER)
    assert records(root) == {"0001.json", "0002.json", "0003.json"}
    assert any(text.startswith("trained/0003.json: it cannot be read") for text in removed.left)


def test_what_people_put_beside_the_records_is_left(root: Path) -> None:
    trained_in_line(root)
    for name in ("00002.json", "notes.txt"):
        (root / volume.TRAINED / name).write_text("{}")
    retain(root, ORDER)
    assert records(root) == {"0001.json", "0003.json", "00002.json", "notes.txt"}


def test_at_the_bootstrap_nothing_has_ended(root: Path) -> None:
    files = all_files(root)
    assert retain(root, replace(ORDER, cycle=0)).paths == []
    assert all_files(root) == files


def test_nothing_of_a_cycle_goes_while_one_of_its_pods_is_left(root: Path) -> None:
    retain(root, replace(ORDER, busy=(2,)))
    assert {"r0002-p01", "r0002-p02"} <= sets(root) and "r0001-p01" not in sets(root)
    assert (root / volume.checkpoint_dir(2, 1)).exists()


def test_the_running_cycle_and_later_ones_lose_nothing(root: Path) -> None:
    retain(root, replace(ORDER, cycle=2))
    assert {"r0002-p01", "r0002-p02", "r0003-p01", "r0003-p02"} <= sets(root)
    assert (root / volume.checkpoint_dir(2, 1)).exists()


def unknown(root: Path) -> str:
    publish_set(root, "mine")
    return "weights/mine: no phase of an ended cycle says that it published it"


def copied(root: Path) -> str:
    """Named like one of ours, and made by nobody that the volume knows."""
    publish_set(root, "r0002-p09")
    return "weights/r0002-p09: no phase of an ended cycle says that it published it"


def unreadable(root: Path) -> str:
    (root / "weights/r0001-p01/manifest.json").write_text("{")
    return "weights/r0001-p01: its manifest cannot be read"


def without_manifest(root: Path) -> str:
    (root / "weights/r0001-p01/manifest.json").unlink()
    return "weights/r0001-p01: its manifest cannot be read"


def a_pipe(root: Path) -> str:
    (root / "weights/r0001-p01/manifest.json").unlink()
    os.mkfifo(root / "weights/r0001-p01/manifest.json")
    return "weights/r0001-p01: its manifest cannot be read"


def renamed(root: Path) -> str:
    for path in (root / "weights/r0001-p01").iterdir():
        path.unlink()
    (root / "weights/r0001-p01").rmdir()
    (root / "weights/r0003-p02").rename(root / "weights/r0001-p01")
    return "weights/r0001-p01: its manifest is that of r0003-p02"


def order_lost(root: Path) -> str:
    (root / "cycles/0001/phases/01/order.json").unlink()
    return "weights/r0001-p01: no phase of an ended cycle says that it published it"


def order_lies(root: Path) -> str:
    """It names a set of another phase: that one goes by its own order, and never by this."""
    path = root / "cycles/0001/phases/01/order.json"
    path.write_text(path.read_text().replace("r0001-p01", "base-0123456789ab"))
    return "weights/r0001-p01: no phase of an ended cycle says that it published it"


ODD = [unknown, copied, unreadable, without_manifest, a_pipe, renamed, order_lost, order_lies]


@pytest.mark.parametrize("change", ODD)
def test_what_nothing_speaks_for_is_left_and_told(root: Path, change: Callable[[Path], str]) -> None:
    told = change(root)
    (name,) = {told.split(":")[0].removeprefix("weights/")}
    files = all_files(root / "weights" / name)
    removed = retain(root, ORDER)
    assert any(text.startswith(told) for text in removed.left), removed.left
    assert files and all_files(root / "weights" / name) == files


def test_a_cycle_that_holds_something_else_is_left(root: Path) -> None:
    (root / "cycles/0001/notes.txt").write_text("look at this one again")
    removed = retain(root, replace(ORDER, report_cycles=1))
    assert "cycles/0001: it also holds notes.txt" in removed.left
    assert (root / "cycles/0001/notes.txt").exists() and (root / "cycles/0001/gate").exists()


def outside(root: Path) -> Path:
    """Something precious beside the release's directory: another release's."""
    precious = root.parent / "books"
    ran(precious, 1)
    return precious


def link_set(root: Path, precious: Path) -> None:
    for path in (root / "weights/r0001-p01").iterdir():
        path.unlink()
    (root / "weights/r0001-p01").rmdir()
    (root / "weights/r0001-p01").symlink_to(precious / "weights/r0001-p01")


def link_inside_set(root: Path, precious: Path) -> None:
    (root / "weights/r0001-p01/more").symlink_to(precious / "weights")


def link_weights(root: Path, precious: Path) -> None:
    (root / "weights").rename(root / "weights-before")
    (root / "weights").symlink_to(precious / "weights")


def link_cycle(root: Path, precious: Path) -> None:
    (root / "cycles/0001").rename(root / "cycles/before")
    (root / "cycles/0001").symlink_to(precious / "cycles/0001")


def link_samples(root: Path, precious: Path) -> None:
    (root / "cycles/0001/phases/01/samples").rename(root / "cycles/0001/phases/01/before")
    (root / "cycles/0001/phases/01/samples").symlink_to(precious / "cycles/0001/phases/01/samples")


def link_trash(root: Path, precious: Path) -> None:
    (root / "weights/.trash-r0001-p01").symlink_to(precious / "weights/r0001-p01")


@pytest.mark.parametrize(
    "link", [link_set, link_inside_set, link_weights, link_cycle, link_samples, link_trash], ids=lambda it: it.__name__
)
def test_symlinks_are_never_followed(root: Path, link: Callable[[Path, Path], None]) -> None:
    precious = outside(root)
    files = all_files(precious)
    link(root, precious)
    retain(root, replace(ORDER, sample_cycles=0, report_cycles=1))
    assert all_files(precious) == files


def test_two_releases_on_one_claim_leave_each_other_alone(root: Path) -> None:
    other = outside(root)
    promote(other, "r0001-p02", release="books")
    files = all_files(other)
    retain(root, ORDER)
    assert all_files(other) == files
    mine = all_files(root)
    assert retain(other, replace(ORDER, release="books", cycle=2)).paths == [
        *("weights/r0001-p01", "cycles/0001/phases/01/checkpoint", "cycles/0001/phases/02/checkpoint")
    ]
    assert all_files(root) == mine


class Crashed(BaseException):
    """The pod was killed at this call."""


CALLS = ("rename", "unlink", "rmdir")


def test_a_crash_between_any_two_calls_leaves_no_set_that_looks_whole_and_the_next_run_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, order = tmp_path / "before", replace(ORDER, cycle=3, sample_cycles=0, report_cycles=1)
    for cycle in (1, 2):
        ran(root, cycle, phases=1)
    promote(root, "r0002-p01")
    undisturbed = copy_of(root, tmp_path / "undisturbed")
    assert len(retain(undisturbed, order).paths) == 5
    for count in range(1, 200):
        volume_now = copy_of(root, tmp_path / f"crash-{count}")
        if not crashes_at(count, volume_now, order, monkeypatch):
            break
        for path in (volume_now / "weights").iterdir():
            if not path.name.startswith("."):
                assert {item.name for item in path.iterdir()} == {"manifest.json", "model.safetensors"}
        retain(volume_now, order)
        assert all_files(volume_now) == all_files(undisturbed), f"crashed at call {count}"
    assert count > 20, "every rename, unlink and rmdir was crashed at"


def copy_of(root: Path, target: Path) -> Path:
    shutil.copytree(root, target)
    return target


def crashes_at(count: int, root: Path, order: StorageOrder, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether there were as many calls; the pod is killed right before the last of them."""
    calls = [0]

    def counted(name: str) -> Callable[..., None]:
        real = getattr(os, name)

        def call(*arguments: object, **options: object) -> None:
            calls[0] += 1
            if calls[0] == count:
                raise Crashed
            real(*arguments, **options)

        return call

    with monkeypatch.context() as patched:
        for name in CALLS:
            patched.setattr(retention.os, name, counted(name))
        try:
            retain(root, order)
        except Crashed:
            return True
    return False


def test_two_pods_at_once_remove_what_one_would(root: Path, tmp_path: Path) -> None:
    """The prepare pod of an attempt that was given up may still be at it."""
    order = replace(ORDER, sample_cycles=0, report_cycles=1)
    alone = copy_of(root, tmp_path / "alone")
    retain(alone, order)
    troubles: list[str] = []
    pods = [threading.Thread(target=lambda: troubles.append(retain(root, order).trouble)) for _ in range(4)]
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join()
    retain(root, order)
    assert all_files(root) == all_files(alone)


def test_a_reader_that_has_the_files_open_reads_them_to_the_end(root: Path) -> None:
    """F40 on a POSIX file system; that no sampler is asked to read such a set is the operator's care."""
    with (root / "weights/r0001-p01/model.safetensors").open("rb") as file:
        first = file.read(10)
        retain(root, ORDER)
        assert not (root / "weights/r0001-p01").exists()
        assert first + file.read() == b"r0001-p01" * 100


def test_a_copy_that_a_killed_pod_left_unfinished_goes_and_one_of_the_running_cycle_does_not(root: Path) -> None:
    ran(root, 4, phases=1)
    for name in (".tmp-0a1b-2c3d-r0002-p01", ".tmp-0a1b-2c3d-base-0123456789ab", ".tmp-0a1b-2c3d-r0004-p01"):
        (root / "weights" / name).mkdir()
        (root / "weights" / name / "model.safetensors").write_bytes(b"half")
    retain(root, ORDER)
    assert {name for name in sets(root) if name.startswith(".")} == {".tmp-0a1b-2c3d-r0004-p01"}


def test_what_cannot_be_removed_is_told_and_the_rest_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def refused(source: str, target: str, **options: int) -> None:
        if source == "r0001-p02":
            raise PermissionError(13, "Permission denied")
        real(source, target, **options)

    monkeypatch.setattr(retention.os, "rename", refused)
    removed = retain(root, ORDER)
    assert removed.trouble == "weights/r0001-p02 could not be removed: Permission denied"
    assert "r0001-p02" in sets(root) and "r0002-p02" not in sets(root)


VERSIONS = [volume.weights_version(cycle, phase) for cycle in (1, 2, 3) for phase in (1, 2)]


@examples(30)
@given(
    kept=some.sets(some.sampled_from(VERSIONS)),
    busy=some.sets(some.integers(0, 5)),
    served=some.none() | some.sampled_from(VERSIONS),
    cycle=some.integers(0, 6),
    ages=some.tuples(some.integers(0, 4), some.integers(1, 4)),
    reports=some.sets(some.integers(0, 4)),
)
def test_whatever_is_ordered_what_is_named_promoted_busy_or_new_is_never_removed(
    tmp_path_factory: pytest.TempPathFactory,
    kept: set[str],
    busy: set[int],
    served: str | None,
    cycle: int,
    ages: tuple[int, int],
    reports: set[int],
) -> None:
    root = tmp_path_factory.mktemp("volume")
    publish_set(root, "base-0123456789ab")
    for number in (1, 2, 3):
        ran(root, number)
    if served:
        promote(root, served)
    before = sets_with_content(root)
    order = replace(
        ORDER,
        cycle=cycle,
        weights=tuple(sorted(kept)),
        busy=tuple(sorted(busy)),
        sample_cycles=ages[0],
        report_cycles=ages[1],
        reports=tuple(sorted(reports)),
    )
    retain(root, order)
    after = sets_with_content(root)
    safe = {name for name in VERSIONS if int(name[1:5]) >= cycle or int(name[1:5]) in busy}
    safe |= kept | ({served} if served else set()) | {"base-0123456789ab"}
    assert {name: after.get(name) for name in safe} == {name: before[name] for name in safe}
    assert set(after) == safe, "and everything else is gone"
    for number in reports & {1, 2, 3}:
        assert (root / volume.report_file(number, "json")).exists()


def sets_with_content(root: Path) -> Mapping[str, dict[str, bytes]]:
    return {name: all_files(root / "weights" / name) for name in sets(root)}
