"""Who replaces promoted.json: the highest order, however the writers' steps fall between each other's."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from rewriter_contract import volume
from rewriter_trainer.turns import NotMyTurn, Turn

STEPS = 5


def steps(turn: Turn, data: bytes) -> list[Callable[[], None]]:
    """What `replace` does, to be played one by one."""
    return [lambda: turn.stage(data), turn.claim, turn.give_way, turn.clear, lambda: turn.publish(data)]


def played(steps: list[Callable[[], None]], upto: int) -> bool:
    """The next step of a writer; False once it gave up."""
    try:
        steps[upto]()
    except NotMyTurn:
        return False
    return True


def content(root: Path) -> bytes:
    return (root / volume.PROMOTED).read_bytes()


def test_steps_are_what_replace_does(tmp_path: Path) -> None:
    whole, single = tmp_path / "whole", tmp_path / "single"
    for root in (whole, single):
        root.mkdir()
    Turn(whole, 7, "pod").replace(b"new")
    for step in steps(Turn(single, 7, "pod"), b"new"):
        step()
    trees = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (whole, single)]
    assert trees[0] == trees[1] == ["promoted.json", "promotions", "promotions/000000000000007"]


def test_the_later_record_stands_after_every_interleaving_of_two_writers(tmp_path: Path) -> None:
    refused = 0
    for number, early in enumerate(combinations(range(2 * STEPS), STEPS)):
        root = tmp_path / str(number)
        root.mkdir()
        writers = {7: steps(Turn(root, 7, "old"), b"old"), 8: steps(Turn(root, 8, "new"), b"new")}
        done, ended = {7: 0, 8: 0}, {7: False, 8: False}
        for moment in range(2 * STEPS):
            order = 7 if moment in early else 8
            if not ended[order]:
                ended[order] = not played(writers[order], done[order])
                done[order] += 1
        assert content(root) == b"new", f"steps of the earlier writer at {early}"
        assert not ended[8], "the later writer is never refused"
        refused += ended[7]
    assert 0 < refused < 252


def test_a_writer_that_was_paused_right_before_its_rename_is_refused_with_a_sentence(tmp_path: Path) -> None:
    late = steps(Turn(tmp_path, 7, "late"), b"old")
    for step in late[:-1]:
        step()
    Turn(tmp_path, 9, "newer").replace(b"new")
    with pytest.raises(NotMyTurn, match="record 7 comes too late: record 9 is on the volume already"):
        late[-1]()
    assert content(tmp_path) == b"new"


def test_a_rename_whose_answer_was_lost_counts_as_done(tmp_path: Path) -> None:
    turn = Turn(tmp_path, 7, "pod")
    turn.replace(b"new")
    turn.publish(b"new")


def test_what_was_staged_and_removed_by_hand_is_no_success(tmp_path: Path) -> None:
    turn = Turn(tmp_path, 7, "pod")
    turn.stage(b"new")
    turn.claim()
    for path in (tmp_path / volume.TURNS).glob("*.staged"):
        path.unlink()
    with pytest.raises(FileNotFoundError):
        turn.publish(b"new")


def test_the_same_record_may_be_written_again_and_nothing_piles_up(tmp_path: Path) -> None:
    (tmp_path / volume.TURNS).mkdir()
    (tmp_path / volume.TURNS / "README").write_text("not ours")
    for order in (7, 8, 8, 9):
        Turn(tmp_path, order, f"pod-{order}").replace(b"%d" % order)
    assert content(tmp_path) == b"9"
    assert {path.name for path in (tmp_path / volume.TURNS).iterdir()} == {"000000000000009", "README"}
