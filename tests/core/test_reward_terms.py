"""Penalties and expressions on their way from the spec to the pods."""

from typing import Any

import pytest

from rewriter_contract.messages import Penalty
from rewriter_operator.api.conditions import ConditionType, Reason
from rewriter_operator.core.reward import reward_config, reward_revision
from rewriter_operator.core.samplers import cycle_reward
from rewriter_operator.core.states import State
from tests.builders import make_spec
from tests.core.simulator import Simulator

TERMS = {"reward.penalties": {"numbersKept": 0.25, "formatOk": 0.0}, "reward.expression": "logR - 0.5"}


def revision(**changes: Any) -> str:
    return reward_revision(make_spec(**changes).reward, (), "model@1")


def test_the_pods_get_what_costs_something() -> None:
    config = reward_config(make_spec(**TERMS).reward, (), "r", "search")
    assert (config.penalties, config.expression) == ((Penalty("numbersKept", 0.25),), "logR - 0.5")


def test_another_price_or_expression_is_another_reward() -> None:
    plain = revision()
    assert revision(**{"reward.penalties": {"numbersKept": 0.0}}) == plain, "it costs nothing"
    others = {
        revision(**{"reward.penalties": {"numbersKept": 0.25}}),
        revision(**{"reward.penalties": {"numbersKept": 0.5}}),
        revision(**{"reward.penalties": {"unitsKept": 0.25}}),
        revision(**{"reward.expression": "logR"}),
        revision(**{"reward.expression": "logR - 0.5"}),
    }
    assert len(others | {plain}) == 6


def test_a_cycle_is_trained_and_judged_by_its_terms() -> None:
    story = Simulator(make_spec(**TERMS)).until(State.TRAINING)
    assert cycle_reward(story.world()).expression == "logR - 0.5"
    assert story.cycle_ends() == "Promoted"


@pytest.mark.parametrize("wrong, remedy", [("logR - 1", "write 1.0"), ("size(query)", "no term is called size")])
def test_an_expression_that_is_none_starts_nothing_until_it_is_mended(wrong: str, remedy: str) -> None:
    story = Simulator(make_spec(**{"reward.expression": wrong}))
    story.wait(60)
    accepted = next(item for item in story.status.conditions if item.type == ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.EXPRESSION_INVALID)
    assert accepted.message.startswith(f"spec.reward.expression: {wrong!r}: character ") and remedy in accepted.message
    assert not any("prepare" in write for write in story.writes)
    story.spec = make_spec(**TERMS)
    assert story.cycle_ends() == "Promoted"
