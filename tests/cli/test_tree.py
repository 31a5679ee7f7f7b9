"""What a person is shown of a release and of its revisions."""

from rewriter_operator.api.conditions import ConditionType, set_condition
from rewriter_operator.api.states import State
from rewriter_operator.api.status import CycleRecord, GateResult, Outcome, PhaseResult, RetentionStatus, StageStatus
from rewriter_operator.cli.asking import Refusal
from rewriter_operator.cli.reading import revision_of
from rewriter_operator.cli.revisions import diff, pick, row, where_the_report_is
from rewriter_operator.cli.tree import lines, tree
from tests.builders import NOW, make_cycle, make_spec, serving, stage, weights
from tests.cli.release_objects import revision_object, world

SPEC = make_spec(**{"rollout.stages": [stage("finerank", {"setShare": 10}, {"pause": {}}, {"setShare": 100})]})
GATE = GateResult(
    verdict="Pass",
    summary="10 of 10 checks",
    report="cycles/0007/gate/report.json",
    findings=["Pass RewardGain: +0.088 > 0"],
)


def test_the_tree_shows_a_change_that_waits() -> None:
    told = "spec.training changed; the change waits for cycle 7 to end (spec.onChange: Queue)"
    shown = "\n".join(lines(tree(world(spec=SPEC, state=State.TRAINING, cycle=make_cycle(SPEC, 7), change=told))))
    assert f"|-- queued: {told}" in shown


def test_the_tree_shows_cycle_phases_gate_stages_and_history() -> None:
    phase = PhaseResult(number=1, weights=weights("r0007-p01"), seconds=61, metrics={"rewardMean": 0.02})
    seen = StageStatus(
        name="finerank",
        incumbent=serving(6),
        share=10,
        observed_share=9.7,
        requests=512,
        step=1,
        step_at=NOW,
        verified=True,
    )
    shown = "\n".join(
        lines(
            tree(
                world(
                    spec=SPEC,
                    state=State.ROLLING_OUT,
                    cycle=make_cycle(SPEC, 7, candidate=serving(7), phases=[phase], gate=GATE),
                    stages=[seen],
                    history=[
                        CycleRecord(number=6, outcome=Outcome.PROMOTED, message="fine", started_at="x", finished_at="y")
                    ],
                )
            )
        )
    )
    for words in (
        "shop  RollingOut",
        "cycle 7: Created",
        "phase 1 of 2: r0007-p01, 61 s, rewardMean 0.02",
        "gate: Pass: 10 of 10 checks",
        "Pass RewardGain: +0.088 > 0",
        "errors <= 0.01",
        "r0007 has 10 % set, 9.7 % observed on 512 requests; step 2 of 3 (pause until approved)",
        "kubectl rewriter approve shop finerank -n search",
        "cycle 6: Promoted y: fine",
    ):
        assert words in shown
    assert shown.splitlines()[1].startswith("|-- ") and shown.splitlines()[-2].startswith("`-- ")


def test_gold_that_is_lost_little_by_little_is_shown() -> None:
    conditions = set_condition([], ConditionType.GOLD_KEPT, False, "GoldDecays", "nDCG@10 -0.081", 1, NOW)
    assert "|-- gold decays: nDCG@10 -0.081" in list(lines(tree(world(conditions=conditions))))


def test_every_state_has_a_tree() -> None:
    for state in State:
        assert str(state) in next(lines(tree(world(state=state))))


def test_the_tree_shows_what_became_of_the_volume() -> None:
    told = RetentionStatus(cycle=7, message="removed 3 from the volume")
    assert "`-- volume: removed 3 from the volume" in lines(tree(world(retention=told)))


def test_two_revisions_differ_in_what_differs_and_nothing_else() -> None:
    specs = {number: revision_of(revision_object(number, reward_gain=number / 10))[0] for number in (6, 7)}
    found = {item.what: (item.first, item.second) for item in diff(specs[6], specs[7])}
    assert found["check RewardGain"] == ("Pass: +0.6", "Pass: +0.7")
    assert found["last phase: rewardMean"] == ("0.6", "0.7")
    assert set(found) == {"weights", "check RewardGain", "last phase: rewardMean"}
    assert diff(specs[6], specs[6]) == []


def test_history_shows_whether_a_revisions_weights_are_still_there() -> None:
    live = revision_object(3)
    for told, shown in ({}, "-"), ({"weights": "Kept"}, "Kept"), ({"weights": "Removed"}, "Removed"):
        cells = row(*revision_of({**live, "status": {**live["status"], **told}}))
        assert cells[:5] == ("r0003", "Pass", "Promoted", "finerank", shown)


def test_a_revision_may_be_named_in_three_ways_and_others_are_listed() -> None:
    assert [pick({7: 0}, name) for name in ("7", "r0007", "shop-r0007")] == [7, 7, 7]
    try:
        pick({7: 0, 6: 0}, "r0009")
    except Refusal as refusal:
        assert str(refusal) == "got revision 'r0009'; there is r0007, r0006"


def test_the_report_is_found_through_a_pod_that_mounts_the_volume() -> None:
    served = world(stages=[StageStatus(name="finerank", incumbent=serving(6))])
    told = where_the_report_is(served, GATE.report)
    assert "kubectl exec -n search deploy/shop-r0006 -- cat /volume/cycles/0007/gate/report.html" in told
    assert "mount the claim in a pod" in where_the_report_is(world(), GATE.report)
