"""Somebody else changes a child again and again: told with the child's name and theirs, and then left alone more."""

from dataclasses import dataclass
from typing import Any

import pytest

from rewriter_contract.messages import ServingConfig
from rewriter_operator.cluster.contests import REPAIRS, REST_SECONDS, WINDOW_SECONDS, Contests
from rewriter_operator.core.decision import WantedRoute, WantedServing, WantedToken
from rewriter_operator.workloads.render import Manifest, render
from tests.builders import INSTALLATION, make_world, weights_ref


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def manifest(wanted: Any = None) -> Manifest:
    (made,) = render(make_world().release, (wanted or WantedRoute((("finerank", 1),)),), INSTALLATION)
    return made


def pods(replicas: int) -> Manifest:
    wanted = WantedServing(2, ServingConfig("r0002", weights_ref()), replicas=replicas)
    return render(make_world().release, (wanted,), INSTALLATION)[0]


def fought(times: int, every: float = 10.0, before: dict[str, Any] | None = None) -> tuple[Contests, Clock]:
    """The route was put right so many times."""
    clock = Clock()
    contests = Contests(clock)
    for _ in range(times):
        clock.now += every
        contests.repaired("shop", manifest(), before)
    return contests, clock


def test_a_few_repairs_are_nobodys_business() -> None:
    contests, _ = fought(REPAIRS)
    assert contests.told("shop") == "" and not contests.rests("shop", manifest())


def test_repairs_that_are_far_apart_are_no_contest() -> None:
    contests, _ = fought(4 * REPAIRS, every=WINDOW_SECONDS / REPAIRS + 1)
    assert contests.told("shop") == ""


def test_one_more_is_told_with_the_child_and_who_else_owns_fields_of_it() -> None:
    fields = [
        {"manager": "rewriter-operator", "operation": "Apply"},
        {"manager": "envoy-gateway", "operation": "Update", "subresource": "status"},
        {"manager": "argocd-controller", "operation": "Apply"},
    ]
    contests, _ = fought(REPAIRS + 1, before={"metadata": {"managedFields": fields}})
    told = contests.told("shop")
    assert told.startswith("HTTPRoute shop-rewrites is changed again and again (others that own fields of it: ")
    assert "(others that own fields of it: argocd-controller)" in told
    assert told.endswith("keep other tools off what the operator makes")
    assert "is deleted again and again:" in fought(REPAIRS + 1)[0].told("shop")
    assert contests.told("another") == ""


def test_a_contested_child_is_put_right_once_a_minute() -> None:
    contests, clock = fought(REPAIRS + 1)
    assert contests.rests("shop", manifest())
    clock.now += REST_SECONDS
    assert not contests.rests("shop", manifest())
    contests.repaired("shop", manifest(), None)
    assert contests.rests("shop", manifest())


def test_the_sentence_does_not_change_while_the_contest_lasts_and_goes_when_it_is_over() -> None:
    contests, clock = fought(REPAIRS + 1)
    told = contests.told("shop")
    for _ in range(20):
        clock.now += REST_SECONDS
        contests.repaired("shop", manifest(), {"metadata": {}})
        assert contests.told("shop") == told
    clock.now += WINDOW_SECONDS + 1
    assert contests.told("shop") == "" and not contests.rests("shop", manifest())
    contests.repaired("shop", manifest(), None)
    assert contests.told("shop") == ""


def test_a_child_that_is_wanted_otherwise_is_written_at_once() -> None:
    contests, _ = fought(REPAIRS + 1)
    other = manifest(WantedRoute((("finerank", 2),)))
    assert not contests.rests("shop", other)


def test_a_candidate_whose_pods_become_more_with_every_step_is_no_contest() -> None:
    contests = Contests(Clock())
    for replicas in range(1, 17):
        contests.repaired("shop", pods(replicas), {})
        assert not contests.rests("shop", pods(replicas))
    assert contests.told("shop") == ""
    for _ in range(REPAIRS + 1):
        contests.repaired("shop", pods(16), {})
    assert "Deployment shop-r0002 is changed again and again" in contests.told("shop")


@pytest.mark.parametrize("wanted", [WantedToken()])
def test_what_is_only_ever_created_is_not_counted(wanted: Any) -> None:
    contests = Contests(Clock())
    for _ in range(10):
        contests.repaired("shop", manifest(wanted), None)
    assert contests.told("shop") == ""


def test_a_release_that_is_gone_is_forgotten() -> None:
    contests, _ = fought(REPAIRS + 1)
    contests.forget("shop")
    assert contests.told("shop") == "" and not contests.rests("shop", manifest())


def test_what_the_operator_itself_wrote_ahead_of_a_lost_status_is_nobodys_doing() -> None:
    contests, before = Contests(Clock()), manifest()
    after = manifest(WantedRoute((("finerank", 2),)))
    assert before.digest != after.digest
    for _ in range(3 * REPAIRS):
        contests.wanted_otherwise("shop", after)
        contests.repaired("shop", before, None)
    assert contests.told("shop") == ""


def test_what_is_wanted_as_before_is_still_contested() -> None:
    contests, _ = fought(REPAIRS + 1)
    contests.wanted_otherwise("shop", manifest())
    contests.wanted_otherwise("another", manifest(WantedRoute((("finerank", 2),))))
    assert "again and again" in contests.told("shop")
