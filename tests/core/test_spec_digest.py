"""What a cycle hangs on, and what it does not: also across versions of the operator."""

from typing import Any

import pytest

from rewriter_operator.api.release import Reward, RewriterReleaseSpec
from rewriter_operator.core.begun_spec import learnt_digest, spec_digest
from tests.builders import make_spec, stage


class NewerReward(Reward):
    """As a later version may have it."""

    certainty: float = 0.5


class NewerSpec(RewriterReleaseSpec):
    """The whole of it."""

    reward: NewerReward


def newer(**changes: Any) -> RewriterReleaseSpec:
    parts = make_spec().to_api()
    return NewerSpec.model_validate(parts | {"reward": parts["reward"] | changes})


def test_a_version_with_more_fields_ends_no_cycle_until_one_is_used() -> None:
    assert spec_digest(newer()) == spec_digest(make_spec())
    assert spec_digest(newer(certainty=0.7)) != spec_digest(make_spec())


def test_a_default_that_is_written_out_is_no_change() -> None:
    assert spec_digest(make_spec(**{"reward.lambda": 0.5, "reward.expression": ""})) == spec_digest(make_spec())


@pytest.mark.parametrize(
    "path, value",
    [
        ("volume.subPath", "other"),
        ("model.prompt.template", "{query} ->"),
        ("reward.lambda", 0.25),
        ("reward.expression", "logR"),
        ("reward.penalties", {"numbersKept": 0.1}),
        ("training.phases", 9),
        ("gate.minimumQueries", 77),
    ],
)
def test_what_a_cycle_depends_on(path: str, value: Any) -> None:
    assert spec_digest(make_spec(**{path: value})) != spec_digest(make_spec())


@pytest.mark.parametrize("path, value", [("suspend", True), ("historyLimit", 7), ("rollout.bake", "17s")])
def test_what_it_does_not_depend_on(path: str, value: Any) -> None:
    assert spec_digest(make_spec(**{path: value})) == spec_digest(make_spec())


OTHER_PODS = {"resources": {"limits": {"nvidia.com/gpu": "2"}}, "nodeSelector": {"pool": "new"}}


@pytest.mark.parametrize(
    "path, value",
    [
        ("model.maxLength", 256),
        ("data.train", "data/new.jsonl"),
        ("reward.lambda", 0.25),
        ("training.seed", 7),
        ("training.trainer.image", "registry.test/trainer:2"),
        ("training.samplers.replicas", 2),
        ("gate.minimumQueries", 77),
        ("gate.onInconclusive", "Extend"),
    ],
)
def test_what_a_cycle_learns_from_or_is_judged_by(path: str, value: Any) -> None:
    assert learnt_digest(make_spec(**{path: value})) != learnt_digest(make_spec())


@pytest.mark.parametrize(
    "path, value",
    [
        ("rollout.stages", [stage("finerank", {"setShare": 100})]),
        ("training.trainer", OTHER_PODS),
        ("training.samplers", OTHER_PODS),
        ("training.phaseDeadline", "7h"),
        ("training.stallTimeout", "20m"),
        ("gate.holdTimeout", "5h"),
        ("suspend", True),
    ],
)
def test_what_it_only_goes_by(path: str, value: Any) -> None:
    assert learnt_digest(make_spec(**{path: value})) == learnt_digest(make_spec())
    assert learnt_digest(newer()) == learnt_digest(make_spec()), "nor a default of a later version"
