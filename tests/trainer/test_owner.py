"""Two releases over one directory of the volume: the first keeps it, the second is told whose it is, and nothing of the
first is touched."""

from dataclasses import replace
from pathlib import Path

import pytest

from rewriter_contract import volume
from rewriter_contract.messages import PrepareResult, WeightsRef
from rewriter_trainer import owner
from rewriter_trainer import prepare as prepare_pod

from .test_prepare import order, root, services  # noqa: F401
from .test_retention import ORDER


def prepared(root: Path, services: str, release: str, monkeypatch: pytest.MonkeyPatch) -> PrepareResult:  # noqa: F811
    """As the prepare pod of this release, but for the import, for which torch would be loaded."""
    monkeypatch.setattr(prepare_pod, "_import", lambda *_: (WeightsRef("base-x", "0"), []))
    storage = replace(ORDER, cycle=3)
    return prepare_pod.prepare(root, order(services), "pod", storage, release)


def test_the_first_release_gets_the_directory_and_the_second_is_told_whose_it_is(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert prepared(root, services, "shop", monkeypatch).problems == ()
    left = root / "weights" / "r0001-p01"
    left.mkdir(parents=True)
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    (problem,) = prepared(root, services, "shop2", monkeypatch).problems
    assert problem.reason == "VolumeTaken"
    assert problem.message.startswith("spec.volume.subPath: the directory belongs to RewriterRelease 'shop'")
    assert "give this release another subPath, or remove that file" in problem.message
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before, "nothing of the first is removed"


def test_a_release_that_is_created_again_finds_its_directory_its_own(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        assert prepared(root, services, "shop", monkeypatch).problems == ()


def test_a_release_with_another_problem_takes_no_new_directory_from_anybody(
    root: Path,  # noqa: F811
    services: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (root / "data/train.jsonl").rename(root / "data/elsewhere.jsonl")
    assert prepared(root, services, "typo", monkeypatch).problems
    assert not (root / volume.OWNER).exists()
    (root / "data/elsewhere.jsonl").rename(root / "data/train.jsonl")
    assert prepared(root, services, "shop", monkeypatch).problems == ()


def test_a_directory_from_before_there_were_owners_is_claimed_before_anything_is_removed(tmp_path: Path) -> None:
    (tmp_path / "cycles").mkdir()
    assert owner.is_used(tmp_path)
    assert owner.claim(tmp_path, "shop") is None
    assert owner.claim(tmp_path, "shop") is None
    found = owner.claim(tmp_path, "other")
    assert found is not None and found.reason == "VolumeTaken"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "shop"}'])
def test_an_owner_that_cannot_be_read_is_a_problem_and_not_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / volume.OWNER).write_text(text)
    found = owner.owner_problem(tmp_path, "shop")
    assert found is not None and found.reason == "VolumeOwnerInvalid" and "remove it" in found.message
