"""The record pod: promoted.json points at weight sets that are there, or stays as it was."""

import json
from pathlib import Path

import pytest

from rewriter_contract import env, volume, wire
from rewriter_contract.messages import PASSTHROUGH, PromotionRecord, WeightsRef
from rewriter_contract.weights import manifest_digest
from rewriter_trainer import record as record_pod
from rewriter_trainer import termination


def weight_set(root: Path, version: str) -> WeightsRef:
    directory = root / volume.weights_dir(version)
    directory.mkdir(parents=True)
    (directory / volume.MANIFEST).write_text(json.dumps({"version": version}))
    return WeightsRef(version, manifest_digest(directory))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    log = tmp_path / "termination-log"
    monkeypatch.setenv(env.VOLUME_ROOT, str(tmp_path))
    monkeypatch.setenv(env.POD_UID, "pod")
    monkeypatch.setenv(termination.LOG_VARIABLE, str(log))

    def run(promotion: PromotionRecord) -> tuple[int, dict[str, object]]:
        monkeypatch.setenv(env.RECORD, wire.dumps(promotion))
        return record_pod.main(), json.loads(log.read_text())

    return run


def test_a_promotion_is_written_and_writing_it_again_changes_nothing(tmp_path: Path, run) -> None:  # type: ignore[no-untyped-def]
    new, old = weight_set(tmp_path, "r0007-p02"), weight_set(tmp_path, "r0006-p02")
    promotion = PromotionRecord("shop", 7, {"recall": new}, history=(old, WeightsRef(PASSTHROUGH, "")))
    for _ in range(2):
        code, answer = run(promotion)
        assert (code, answer["ok"]) == (0, True)
        assert wire.loads(PromotionRecord, (tmp_path / volume.PROMOTED).read_bytes()) == promotion
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (WeightsRef("r0009-p01", "0" * 64), "r0009-p01 is not on the volume"),
        (WeightsRef("r0007-p02", "0" * 64), "the record says 000000000000"),
    ],
)
def test_a_weight_set_that_is_absent_or_another_one_is_refused_and_the_old_record_stays(
    tmp_path: Path,
    run,  # type: ignore[no-untyped-def]
    ref: WeightsRef,
    words: str,
) -> None:
    good = PromotionRecord("shop", 7, {"recall": weight_set(tmp_path, "r0007-p02")})
    run(good)
    code, answer = run(PromotionRecord("shop", 8, {"recall": ref}))
    assert code == 1 and answer["ok"] is False and words in str(answer["message"])
    assert wire.loads(PromotionRecord, (tmp_path / volume.PROMOTED).read_bytes()) == good


def test_a_late_pod_leaves_a_newer_record_alone_and_says_so(tmp_path: Path, run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    new, old = weight_set(tmp_path, "r0007-p02"), weight_set(tmp_path, "r0006-p02")
    newer, older = PromotionRecord("shop", 7, {"recall": new}), PromotionRecord("shop", 6, {"recall": old})
    monkeypatch.setenv(env.RECORD_ORDER, "1764000100")
    assert run(newer)[0] == 0
    monkeypatch.setenv(env.RECORD_ORDER, "1764000000")
    code, answer = run(older)
    assert (code, answer["ok"], answer["newer"]) == (1, False, 1764000100)
    assert "record 1764000000 comes too late" in str(answer["message"])
    assert wire.loads(PromotionRecord, (tmp_path / volume.PROMOTED).read_bytes()) == newer


def test_a_record_from_before_orders_is_replaced_by_one_with_an_order(tmp_path: Path, run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    new, old = weight_set(tmp_path, "r0007-p02"), weight_set(tmp_path, "r0006-p02")
    assert run(PromotionRecord("shop", 6, {"recall": old}))[0] == 0
    monkeypatch.setenv(env.RECORD_ORDER, "1")
    assert run(PromotionRecord("shop", 7, {"recall": new}))[0] == 0
    assert wire.loads(PromotionRecord, (tmp_path / volume.PROMOTED).read_bytes()).revision == 7
