"""An operator goes on with a status that another version of it has written: with fields fewer, or fields more."""

from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.api.states import State
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.core.plan import plan
from tests.core.simulator import Simulator
from tests.core.test_rollout import with_share


def baking() -> Simulator:
    return with_share().until(State.BAKING)


def optional(status: dict[str, Any]) -> list[str]:
    """Fields that an operator from before they were there has not written, but for the conditions, which heal."""
    found = []
    for name in status:
        without = {key: value for key, value in status.items() if key != name}
        try:
            RewriterReleaseStatus.model_validate(without)
        except ValueError:
            continue
        found.append(name)
    return found


IN_TRAFFIC = {"state", "cycle", "stages"}
"""What no version has ever been without."""


@pytest.mark.parametrize("name", sorted(set(optional(baking().status.to_api())) - IN_TRAFFIC))
def test_a_release_in_mid_rollout_goes_on_without_a_field_that_an_older_operator_did_not_write(name: str) -> None:
    story = baking()
    written = story.status.to_api()
    del written[name]
    story.status = RewriterReleaseStatus.model_validate(written)
    assert story.cycle_ends() == "Promoted"
    assert story.status.serves == "r0002"


@pytest.mark.parametrize(
    "name",
    ["stalls", "message", "restoreRecord", "reason", "trigger", "gateSide", "contract", "fusionSha256", "beganWith"],
)
def test_nor_without_one_of_its_cycle(name: str) -> None:
    story = baking()
    written = story.status.to_api()
    written["cycle"].pop(name, None)
    try:
        story.status = RewriterReleaseStatus.model_validate(written)
    except ValueError:
        assert name == "trigger", "only what every version has written may be asked for"
        return
    assert story.cycle_ends() == "Promoted"


MAPS = {"latencyMs", "metrics", "validation", "dataDigests"}
"""Of names to numbers or digests: they have no fields that a later version could add."""


def with_more(value: Any) -> Any:
    """Every object of it with a field more."""
    match value:
        case dict():
            more = {key: item if key in MAPS else with_more(item) for key, item in value.items()}
            return more | {"addedLater": {"a": [1]}}
        case list():
            return [with_more(item) for item in value]
        case _:
            return value


def test_going_back_to_an_older_operator_leaves_what_it_does_not_know_unread_and_serves_on() -> None:
    story = baking()
    world, read = story.world(), RewriterReleaseStatus.model_validate(with_more(story.status.to_api()))
    assert read == story.status
    assert plan(replace(world, release=replace(world.release, status=read))) == plan(world)
