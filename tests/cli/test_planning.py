"""`kubectl rewriter plan` shows what a cycle will do, of a release and of a file."""

import json
from pathlib import Path

import pytest

from rewriter_operator.api.status import Measured, RewardSpread
from rewriter_operator.cli.command import main
from rewriter_operator.cli.planning import plan_branch, plan_of
from rewriter_operator.cli.tree import lines
from rewriter_operator.core.cycle_plan import planned
from tests.builders import make_cycle, make_spec, make_status, stage

ROOT = Path(__file__).parents[2]
SPEC = make_spec(
    **{
        "rollout.stages": [
            stage("finerank", {"setShare": 10}, {"analysis": {}}, {"pause": {"duration": "5m"}}, {"setShare": 100}),
            stage("recall", {"pause": {}}, {"setShare": 100}, depends_on=("finerank",)),
        ],
        "rollout.windows": [{"from": "09:00", "to": "16:00"}],
        "rollout.freezes": [{"from": "2026-12-01T00:00:00Z", "to": "2026-12-27T00:00:00Z"}],
    }
)


def shown(**status: object) -> str:
    return "\n".join(lines(plan_branch("shop", plan_of(SPEC, make_status(SPEC, **status)))))


def test_an_idle_release_shows_the_next_cycle() -> None:
    text = shown(last_cycle_number=6)
    for words in (
        "shop  plan of cycle 7",
        "2 phases of 8 queries, 64 samples each; time not known yet, at most 6h a phase",
        "as many queries as spec.data.gate holds, at least 30, alpha 0.05",
        "set 10 %: verified on about 101 requests within 10m; tells from it 5.5 % and less, 31.2 % and more",
        "analysis at 10 %: 100 requests of the candidate within 1h, about 1000 of the stage, 0.28 a second",
        "pause 300 s at 10 %",
        "recall, after finerank",
        "pause at 0 % until a person approves",
        "bake: 30s at full share",
        "windows: daily 09:00-16:00 UTC",
        "freezes: 2026-12-01T00:00:00Z to 2026-12-27T00:00:00Z",
    ):
        assert words in text


def test_pods_that_a_share_waits_for_are_shown() -> None:
    spec = make_spec(**{"serving.replicas": 12, "serving.capacity": {"mode": "ScaleWithShare"}})
    text = "\n".join(lines(plan_branch("shop", plan_of(spec, make_status(spec)))))
    assert "set 10 %: with 2 pods ready, verified on about" in text
    assert "set 100 %: with 12 pods ready, verified" in text


def test_pods_that_copies_wait_for_are_shown() -> None:
    steps = ({"shadow": {"percent": 20, "duration": "1h"}}, {"setShare": 100})
    scaled = {"serving.replicas": 12, "serving.capacity": {"mode": "ScaleWithShare"}}
    spec = make_spec(**scaled, **{"rollout.stages": [stage("finerank", *steps)]})
    text = "\n".join(lines(plan_branch("shop", plan_of(spec, make_status(spec)))))
    assert "shadow: with 3 pods ready, 20 % of the requests mirrored" in text


def test_a_running_cycle_shows_its_own_plan_with_what_was_measured() -> None:
    cycle = make_cycle(SPEC, 7, gate_queries=400)
    first = planned(SPEC, cycle, None)
    known = Measured(
        work=first.training.work,
        phase_seconds=90,
        asked=first.gate.asked,
        reward=RewardSpread(deviation=0.4, queries=100),
    )
    text = shown(cycle=cycle, plan=planned(SPEC, cycle, known))
    assert "about 90 s a phase as measured before, 180 s in all" in text
    assert "gate: 400 queries, alpha 0.05; finds a reward gain of +0.0497 (deviation 0.4000 measured before)" in text


@pytest.mark.parametrize("sample", sorted((ROOT / "manifests" / "samples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_sample_has_a_plan_without_a_cluster(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", str(sample)]) == 0
    assert "plan of cycle 1" in capsys.readouterr().out


def test_scripts_get_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    sample = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))[0]
    assert main(["plan", "-f", str(sample), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["stages"]


def test_what_admission_refuses_has_no_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))[0]
    broken = tmp_path / "broken.yaml"
    broken.write_text(sample.read_text().replace("setShare: 100", "setShare: 101"))
    assert main(["plan", "-f", str(broken)]) == 1
    assert "setShare" in capsys.readouterr().err


def test_a_shadow_shows_what_it_copies_and_what_that_can_tell() -> None:
    shadow = {"shadow": {"percent": 10, "duration": "30m"}}
    spec = make_spec(**{"rollout.stages": [stage("finerank", shadow, {"setShare": 100})]})
    text = "\n".join(lines(plan_branch("shop", plan_of(spec, make_status(spec)))))
    assert (
        "shadow: 10 % of the requests mirrored for 1800 s, no answer of them used, at least 20 of them, "
        "about 200 of the stage, finds errors of 25.87% on so many, what is in doubt then has 10m more"
    ) in text
