"""autoPromote: false: a person has the last word, on what was baked and is not in doubt."""

from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.cli.asking import Wish, ask
from rewriter_operator.core.cycle import APPROVE_ANNOTATION
from tests.builders import make_spec
from tests.core.simulator import Simulator
from tests.core.test_rollout import passed, rolled_back, unread

TOKEN = "r0002/promote"


def by_hand(**changes: Any) -> Simulator:
    """The candidate is baked, and waits for a person."""
    story = passed(make_spec(**{"rollout.autoPromote": False, **changes})).until(State.BAKING)
    return story.until(lambda it: bool(it.status.cycle and it.status.cycle.promotion))


def approve(story: Simulator) -> None:
    story.annotations[APPROVE_ANNOTATION] = TOKEN


def test_a_baked_candidate_keeps_its_share_until_a_person_approves_its_promotion() -> None:
    story = by_hand().wait(7 * 86400)
    assert (story.status.state, story.share(), story.status.serves) == (State.BAKING, 100, "r0001")
    assert f"waits for approval: kubectl annotate --overwrite rr shop rewriter.dev/approve={TOKEN}" in (
        story.status.message
    )
    approve(story)
    assert story.cycle_ends() == "Promoted"
    assert [note.message for note in story.notes if note.reason == "PromotionApproved"] == [
        f"{TOKEN} was approved by whom is not known"
    ]
    assert story.wait(60).status.notice == ""


def test_the_plugin_asks_for_what_is_waited_for() -> None:
    made = ask(by_hand().world(), Wish("approve"))
    assert (made.annotation, made.value) == (APPROVE_ANNOTATION, TOKEN)


@pytest.mark.parametrize("other", ["r0001/promote", "r0002/recall/1", "r0002", "yes"])
def test_another_approval_promotes_nothing_and_is_told(other: str) -> None:
    story = by_hand()
    story.annotations[APPROVE_ANNOTATION] = other
    story.wait(300)
    assert story.status.state is State.BAKING
    assert f"{TOKEN} is waited for" in story.status.notice


def test_an_approval_that_was_given_early_acts_after_the_bake() -> None:
    story = passed(make_spec(**{"rollout.autoPromote": False, "rollout.bake": "10m"})).until(State.BAKING)
    approve(story)
    story.wait(500)
    assert (story.status.state, story.status.notice) == (State.BAKING, "")
    assert story.cycle_ends() == "Promoted"


def test_a_limit_that_is_crossed_while_a_person_is_waited_for_takes_the_candidate_back() -> None:
    story = by_hand()
    story.behaviour.candidate_error_rate = 0.5
    rolled_back(story, "LimitCrossed")


def test_what_is_in_doubt_when_the_approval_comes_has_its_time_from_then() -> None:
    story = by_hand().wait(3600)
    unread(story)
    approve(story)
    story.wait(540)
    assert (story.status.state, story.share()) == (State.BAKING, 100)
    assert "bake time is over, but" in rolled_back(story, "NotVerified")


def test_a_promotion_that_nobody_approves_in_time_is_taken_back() -> None:
    story = by_hand(**{"rollout.approvalTimeout": "2h"}).wait(7000)
    assert story.status.state is State.BAKING
    message = rolled_back(story, "NotApproved")
    assert message == f"nobody approved {TOKEN} within spec.rollout.approvalTimeout 2h"


def test_a_release_that_is_to_promote_by_itself_after_all_does() -> None:
    story = by_hand().wait(60)
    story.spec = make_spec()
    assert story.cycle_ends() == "Promoted"
