"""Files on the volume: complete and checked, or not there; and never outside of the release's directory."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from rewriter_contract import shards, volume, wire
from rewriter_contract.messages import DataRow, SampleRow, Selection
from rewriter_contract.selection import read_requests, select
from rewriter_contract.text import is_copy, normalise, words

ROWS = [{"id": "1", "text": "größe"}, {"id": "2", "text": "x"}]


def written(root: Path) -> tuple[Path, shards.ShardDone]:
    path = root / "samples" / "shard-000.jsonl"
    return path, shards.write_shard(path, ROWS, "r0001-p01", "reward", "uid-1")


def test_a_shard_reads_back_and_is_announced(tmp_path: Path) -> None:
    path, done = written(tmp_path)
    assert shards.read_done(path) == done
    assert (done.rows, done.sha256) == (2, hashlib.sha256(path.read_bytes()).hexdigest())
    assert list(shards.read_shard(path, done.sha256)) == ROWS
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".tmp")] == []


def test_half_a_shard_is_refused(tmp_path: Path) -> None:
    path, done = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(shards.ShardError, match=r"sha256 \w{12}, the order says \w{12}; sample it again"):
        list(shards.read_shard(path, done.sha256))


def test_a_shard_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(shards.ShardError, match="is missing; sample it again"):
        list(shards.read_shard(tmp_path / "shard-000.jsonl", "0" * 64))


def of_rewards(*revisions: str | None) -> list[SampleRow]:
    return [SampleRow(str(index), "q", "q", (), revision) for index, revision in enumerate(revisions)]


def scored(path: Path, done: shards.ShardDone) -> tuple[SampleRow, ...]:
    return shards.read_scored(SampleRow, path, done.sha256, done.reward_revision)


def test_rows_that_say_which_reward_scored_them_are_read_beside_those_from_before_they_did(tmp_path: Path) -> None:
    path, rows = tmp_path / "shard-000.jsonl", of_rewards("reward", None)
    done = shards.write_shard(path, rows, "r0001-p01", "reward", "uid-1")
    assert path.read_text().splitlines()[1] == '{"id": "1", "query": "q", "prompt": "q", "samples": []}', "as before"
    assert scored(path, done) == tuple(rows)


def test_a_shard_in_which_rows_of_two_rewards_are_mixed_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "shard-000.jsonl"
    done = shards.write_shard(path, of_rewards("reward", "other"), "r0001-p01", "reward", "uid-1")
    with pytest.raises(shards.ShardError, match=r"shard-000.jsonl line 2: reward other in a shard of reward reward"):
        scored(path, done)


@pytest.mark.parametrize("text", ["", "{", '{"rows": 2}', "null"])
def test_an_announcement_that_is_torn_announces_nothing(tmp_path: Path, text: str) -> None:
    path, _ = written(tmp_path)
    shards.done_path(path).write_text(text)
    assert shards.read_done(path) is None


def test_a_writer_that_fails_announces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shard-000.jsonl"
    with pytest.raises(ValueError):
        shards.write_shard(path, [{"score": float("nan")}], "r0001-p01", "reward", "uid-1")
    assert not path.exists() and shards.read_done(path) is None


@pytest.mark.parametrize("relative", ["../other/file", "/etc/passwd", "a/../../x", "link/passwd"])
def test_a_path_that_leaves_the_volume_is_refused(tmp_path: Path, relative: str) -> None:
    root = tmp_path / "release"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    with pytest.raises(volume.OutsideVolume, match="leaves the volume root"):
        volume.resolve(root, relative)


def test_a_path_below_the_root_is_resolved(tmp_path: Path) -> None:
    assert volume.resolve(tmp_path, "weights/r0001-p01") == (tmp_path / "weights" / "r0001-p01").resolve()
    assert volume.resolve(tmp_path, "a/../b") == (tmp_path / "b").resolve()


DATA = [DataRow(id=str(index), query=f"q{index}") for index in range(23)]


@pytest.mark.parametrize("count", [5, 22])
def test_shards_of_a_selection_are_disjoint_and_cover_it(count: int) -> None:
    whole = select(DATA, Selection(seed=1, offset=3, count=count))
    parts = [select(DATA, Selection(seed=1, offset=3, count=count, shard=n, shards=4)) for n in range(4)]
    assert Counter(row.id for part in parts for row in part) == Counter(row.id for row in whole)
    assert len({row.id for row in whole}) == count


def test_a_selection_goes_round_and_repeats_only_when_the_file_is_used_up() -> None:
    seen = [row.id for phase in range(5) for row in select(DATA, Selection(seed=1, offset=phase * 5, count=5))]
    assert len(set(seen[:23])) == 23
    assert seen[23:] == seen[:2]


def test_a_selection_depends_on_seed_and_ids_and_not_on_the_order_of_rows() -> None:
    choice = Selection(seed=1, count=5)
    assert select(DATA, choice) == select(list(reversed(DATA)), choice)
    assert select(DATA, choice) != select(DATA, Selection(seed=2, count=5))


def test_count_zero_means_every_row_once_and_more_than_there_are_means_all() -> None:
    for count in (0, 1000):
        assert {row.id for row in select(DATA, Selection(seed=1, count=count))} == {row.id for row in DATA}
    assert select([], Selection(seed=1)) == []


def test_a_requests_file_that_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(wire.dumps(row) for row in DATA) + "\n\n")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert read_requests(file, digest) == DATA
    file.write_text(file.read_text() + '{"id": "x", "query": "y"}\n')
    with pytest.raises(shards.ShardError, match="changed during the cycle"):
        read_requests(file, digest)


def test_a_row_of_a_requests_file_that_is_odd_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"id": "1", "query": "a"}\n{"id": 2, "query": "b"}\n')
    with pytest.raises(shards.ShardError, match=r"train\.jsonl line 2\.id"):
        read_requests(file, hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(shards.ShardError, match="is missing"):
        read_requests(tmp_path / "gone.jsonl", "")


@pytest.mark.parametrize(
    "text, same",
    [
        pytest.param("Red  Shoes", "red shoes", id="case-and-spaces"),
        pytest.param("ＲＥＤ　shoes", "red shoes", id="full-width"),
        pytest.param("red\u200b sho\u00ades", "red shoes", id="zero-width-and-soft-hyphen"),
        pytest.param("red\tshoes\n", "red shoes", id="tab-and-newline"),
        pytest.param("STRASSE", "straße", id="sharp-s"),
    ],
)
def test_texts_that_differ_only_in_form_are_copies(text: str, same: str) -> None:
    assert is_copy(text, same)
    assert normalise(normalise(text)) == normalise(text)


def test_a_different_word_is_no_copy() -> None:
    assert not is_copy("red shoes", "red shoe")


def test_scripts_without_spaces_count_letters() -> None:
    assert words("靴 red-shoes, 42!") == ["靴", "red", "shoes", "42"]
    assert len(words("무선 헤드폰")) == 2
