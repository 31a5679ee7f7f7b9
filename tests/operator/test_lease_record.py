"""When a lease may be taken: by our own clock, by what was seen, and never by the times that others wrote."""

import pytest

from rewriter_operator.cluster.lease import Record, Sighting, Timing

POD, OTHER = "operator-a_uid-1", "operator-b_uid-2"


def record(holder: str = f"{OTHER}/life1", epoch: int = 4, renewed: str = "2026-01-01T00:00:00.000000Z") -> Record:
    return Record(holder=holder, epoch=epoch, seconds=15, renewed=renewed)


def test_a_lease_is_free_only_after_it_was_seen_unchanged_for_its_whole_time() -> None:
    sighting = Sighting(record(), since=1000.0)
    assert not sighting.again(record(), 1015.0).is_free(POD, 1015.0)
    assert sighting.again(record(), 1015.1).is_free(POD, 1015.1)


def test_each_renewal_that_is_seen_starts_the_wait_anew() -> None:
    sighting = Sighting(record(), since=1000.0).again(record(renewed="2026-01-01T00:00:05.000000Z"), 1014.0)
    assert not sighting.is_free(POD, 1028.0)
    assert sighting.is_free(POD, 1029.1)


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "yesterday", ""])
def test_the_holders_clock_is_not_believed(renewed: str) -> None:
    sighting = Sighting(record(renewed=renewed), since=1000.0)
    assert not sighting.is_free(POD, 1010.0)
    assert sighting.is_free(POD, 1016.0)


def test_a_released_lease_and_one_of_our_own_dead_container_are_free_at_once() -> None:
    assert Sighting(record(holder=""), 1000.0).is_free(POD, 1000.0)
    assert Sighting(record(holder=f"{POD}/an-earlier-life"), 1000.0).is_free(POD, 1000.0)
    assert not Sighting(record(holder=f"{POD}0/life"), 1000.0).is_free(POD, 1000.0), "another pod"
    assert not Sighting(record(holder="someone"), 1000.0).is_free(POD, 1000.0)


@pytest.mark.parametrize("live", [{}, {"spec": None}, {"spec": {}}, {"spec": {"holderIdentity": None}}])
def test_a_lease_that_a_person_emptied_is_read_as_nobodys(live: dict[str, object]) -> None:
    assert Record.of(live, 15) == Record(holder="", epoch=0, seconds=15, renewed="")


@pytest.mark.parametrize("lease", [3, 15, 300])
def test_a_leader_is_silent_before_a_standby_may_act(lease: int) -> None:
    timing = Timing(lease)
    assert timing.renew_every + timing.request <= timing.term, "a slow renewal still counts"
    assert timing.term + timing.grace < lease, "what is left is for clocks that run apart"
