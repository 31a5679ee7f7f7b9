"""What the API server itself refuses: each rule once obeyed, once broken, and a message with field and remedy."""

from typing import Any

import pytest

from e2e.cluster import ClusterError
from tests.builders import stage
from tests.integration.conftest import Space, release

pytestmark = pytest.mark.integration

FULL = {"setShare": 100}


def stages(*steps: dict[str, Any], name: str = "finerank", depends_on: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"rollout.stages": [stage(name, *steps, depends_on=depends_on)]}


RULES = [
    pytest.param(
        {"model.prompt": {"template": "no query"}},
        {"model.prompt": {"template": "q: {query}"}},
        ["spec.model.prompt", "{query} exactly once"],
        id="template-names-the-query",
    ),
    pytest.param(
        stages({"setShare": 50}),
        stages({"setShare": 50}, FULL),
        ["last setShare of a stage must be 100"],
        id="ends-at-100",
    ),
    pytest.param(
        stages({"setShare": 50}, {"setShare": 20}, FULL),
        stages({"setShare": 20}, {"setShare": 50}, FULL),
        ["shares of a stage's steps must rise"],
        id="shares-rise",
    ),
    pytest.param(
        stages({"setShare": 5, "pause": {}}, FULL),
        stages({"setShare": 5}, {"pause": {}}, FULL),
        ["exactly one of setShare, pause, analysis"],
        id="one-kind-per-step",
    ),
    pytest.param(stages({}, FULL), stages(FULL), ["exactly one of setShare, pause, analysis"], id="no-empty-step"),
    pytest.param(stages(FULL, depends_on=("finerank",)), stages(FULL), ["cannot depend on itself"], id="not-on-itself"),
    pytest.param(
        stages(FULL, name="recall", depends_on=("finerank",)),
        {"rollout.stages": [stage("finerank", FULL), stage("recall", FULL, depends_on=("finerank",))]},
        ["dependsOn must name stages of this release"],
        id="on-a-stage-that-exists",
    ),
    pytest.param(
        {"training.pairs": {"topK": 8}},
        {"training.pairs": {"topK": 4}},
        ["spec.training.pairs.topK must be at most half"],
        id="pairs-fit-samples",
    ),
    pytest.param(
        {"serving.maxTokens": 600}, {"serving.maxTokens": 64}, ["spec.serving.maxTokens must be below"], id="tokens-fit"
    ),
    pytest.param(
        {"data.gate": "data/train.jsonl"},
        {"data.gate": "data/other.jsonl"},
        ["spec.data.gate must not be the training file"],
        id="gate-is-held-out",
    ),
    pytest.param(
        {"rollout.bake": "1 day"}, {"rollout.bake": "24h"}, ["spec.rollout.bake", "should match"], id="durations"
    ),
    pytest.param(
        {"model.path": "../other"}, {"model.path": "base/other"}, ["spec.model.path", "should match"], id="paths"
    ),
    pytest.param({"trainng": {}}, {}, ['unknown field "spec.trainng"'], id="misspelt"),
]


@pytest.mark.parametrize("broken, obeyed, says", RULES)
def test_a_rule_refuses_what_breaks_it_and_says_why(
    space: Space, broken: dict[str, Any], obeyed: dict[str, Any], says: list[str]
) -> None:
    space.create(release(**obeyed), "--dry-run=server")
    with pytest.raises(ClusterError) as refusal:
        space.create(release(**broken), "--dry-run=server")
    for words in says:
        assert words in str(refusal.value)


@pytest.mark.parametrize("name", ["9shop", "shop.search", "s" * 41])
def test_a_name_that_children_could_not_carry_is_refused(space: Space, name: str) -> None:
    with pytest.raises(ClusterError, match=r"metadata\.name must"):
        space.create(release(name), "--dry-run=server")


def test_the_volume_of_a_release_is_for_life(space: Space) -> None:
    space.create(release())
    space.apply(release(suspend=True))
    with pytest.raises(ClusterError, match=r"spec\.volume cannot be changed; create a release with another name"):
        space.apply(release(**{"volume.subPath": "elsewhere"}))


def test_explain_teaches(space: Space) -> None:
    told = space.kubectl("explain", "rr.spec.training")
    assert "one weight sync per phase" in " ".join(told.split())
    assert "phaseDeadline" in told


def test_defaults_are_written_out(space: Space) -> None:
    space.create(release())
    spec = space.get("rr", "shop")["spec"]
    assert spec["rollout"]["limits"]["maxErrorRate"] == 0.01
    assert spec["training"]["mpo"]["beta"] == 0.1


def test_columns_tell_the_state(space: Space) -> None:
    space.create(release())
    heading = space.kubectl("get", "rr").splitlines()[0].split()
    assert heading[:4] == ["NAME", "STATE", "CYCLE", "SERVES"]
