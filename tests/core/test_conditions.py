"""The rules for setting a condition."""

from rewriter_operator.api.conditions import ConditionType, rfc3339, set_condition
from rewriter_operator.api.status import Condition
from tests.builders import NOW


def ready(conditions: list[Condition], status: bool | None, generation: int, now: float) -> list[Condition]:
    return set_condition(conditions, ConditionType.READY, status, "Serving", "r0001", generation, now)


def test_the_transition_time_changes_only_with_the_status() -> None:
    first = ready([], True, 1, NOW)
    second = ready(first, True, 2, NOW + 60)
    third = ready(second, None, 2, NOW + 120)
    times = [conditions[0].last_transition_time for conditions in (first, second, third)]
    assert times == [rfc3339(NOW), rfc3339(NOW), rfc3339(NOW + 120)]


def test_the_observed_generation_always_follows() -> None:
    assert ready(ready([], True, 1, NOW), True, 2, NOW)[0].observed_generation == 2


def test_none_is_unknown_and_never_false() -> None:
    assert ready([], None, 1, NOW)[0].status == "Unknown"


def test_conditions_are_sorted_so_that_equal_facts_give_equal_lists() -> None:
    one = set_condition(ready([], True, 1, NOW), ConditionType.ACCEPTED, True, "Accepted", "", 1, NOW)
    other = ready(set_condition([], ConditionType.ACCEPTED, True, "Accepted", "", 1, NOW), True, 1, NOW)
    assert one == other
    assert [item.type for item in one] == ["Accepted", "Ready"]


def test_a_long_message_is_cut_to_what_the_crd_allows() -> None:
    condition = set_condition([], ConditionType.READY, False, "NotServing", "x" * 5000, 1, NOW)[0]
    assert len(condition.message) == 1024
