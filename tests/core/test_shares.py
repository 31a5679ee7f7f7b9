"""Is a counted share the set one? Never by silence, never by a lucky look, and with no more requests than it takes."""

import random
import re
from pathlib import Path

import pytest

from rewriter_operator.api.status import Counters
from rewriter_operator.core.cycle_plan import POWER, told_shares, verifying_requests
from rewriter_operator.core.shares import share_is_real, verified_counts
from rewriter_operator.core.statistics import binomial_at_least
from rewriter_operator.core.traffic import Look

ALPHA = 0.001
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
TABLE = re.findall(r"^\| (\d+) % \| (\d+) \| (\d+) \| (\d+) \|", OPERATIONS, re.MULTILINE)


def seen(candidate: int, others: int) -> Look:
    return Look(Counters(requests=candidate), Counters(requests=others))


@pytest.mark.parametrize(
    "candidate, others, share, answer",
    [
        pytest.param(2, 10, 10, None, id="too-few-requests"),
        pytest.param(0, 0, 10, None, id="no-requests"),
        pytest.param(0, 50, 10, None, id="none-of-the-fewest-reaches-the-candidate"),
        pytest.param(1, 99, 10, None, id="one-may-be-a-stray-one"),
        pytest.param(50, 0, 90, None, id="all-of-the-fewest-reach-it"),
        pytest.param(100, 900, 10, True, id="exactly"),
        pytest.param(120, 880, 10, True, id="inside-the-interval"),
        pytest.param(200, 800, 10, False, id="twice-the-share"),
        pytest.param(0, 1000, 10, False, id="none-reaches-the-candidate"),
        pytest.param(1000, 0, 10, False, id="all-reach-the-candidate"),
        pytest.param(1000, 0, 100, True, id="all-of-it"),
        pytest.param(995, 5, 100, True, id="all-but-what-was-under-way"),
        pytest.param(900, 100, 100, False, id="a-tenth-goes-elsewhere"),
        pytest.param(20, 1980, 1, True, id="a-hundredth"),
        pytest.param(0, 20_000, 1, False, id="not-even-a-hundredth"),
    ],
)
def test_a_share_is_real_unreal_or_unknown(candidate: int, others: int, share: int, answer: bool | None) -> None:
    assert share_is_real(seen(candidate, others), share, min_requests=50, alpha=ALPHA) is answer


@pytest.mark.parametrize("share", [1, 2, 5, 10, 19, 50, 90, 99, 100])
@pytest.mark.parametrize("requests", [1, 10, 50, 500, 5000, 100_000])
def test_a_candidate_that_never_got_a_request_has_no_share(share: int, requests: int) -> None:
    assert share_is_real(seen(0, requests), share, min_requests=1, alpha=ALPHA) is not True


@pytest.mark.parametrize("share", [1, 2, 5, 10, 50, 81, 90, 99])
@pytest.mark.parametrize("requests", [1, 10, 50, 500, 5000, 100_000])
def test_a_candidate_that_got_everything_has_no_part_of_it(share: int, requests: int) -> None:
    assert share_is_real(seen(requests, 0), share, min_requests=1, alpha=ALPHA) is not True


@pytest.mark.parametrize("share", [1, 4, 10, 50, 97, 100])
@pytest.mark.parametrize("requests", [3, 40, 400])
def test_the_counts_that_verify_are_those_that_are_real(share: int, requests: int) -> None:
    counts = verified_counts(share, requests, ALPHA)
    real = [n for n in range(requests + 1) if share_is_real(seen(n, requests - n), share, 1, ALPHA)]
    assert real == ([] if counts is None else list(range(counts.fewest, counts.most + 1)))


def test_a_share_that_is_the_set_one_is_seldom_called_another_however_often_one_looks() -> None:
    draw, runs, wrong, alpha = random.Random(11), 120, 0, 0.05
    for run in range(runs):
        share = (5, 10, 50)[run % 3]
        candidate = 0
        for requests in range(5, 601, 5):
            candidate += sum(draw.random() < share / 100 for _ in range(5))
            if share_is_real(seen(candidate, requests - candidate), share, 1, alpha) is False:
                wrong += 1
                break
    assert wrong / runs <= alpha


def test_stray_requests_are_seldom_taken_for_a_share_however_often_one_looks() -> None:
    draw, runs, wrong, alpha = random.Random(12), 120, 0, 0.05
    for _ in range(runs):
        candidate = 0
        for requests in range(5, 601, 5):
            candidate += sum(draw.random() < 0.01 for _ in range(5))  # one percent: what counts as none
            if share_is_real(seen(candidate, requests - candidate), 10, 1, alpha):
                wrong += 1
                break
    assert wrong / runs <= alpha


def looks(share: int) -> tuple[float, dict[float, int]]:
    """Mean number of requests until a share that is the set one is verified, looked at after each; and quantiles.

    Exactly: the chances of all counts that are not verified yet are carried from request to request.
    """
    part, waiting, mean, verified, fewest, requests = share / 100, {0: 1.0}, 0.0, 0.0, 0, 0
    found: dict[float, int] = {}
    while verified < 0.9999 and requests < 10_000:
        mean += 1 - verified
        requests += 1
        real = (n for n in range(fewest, requests + 1) if share_is_real(seen(n, requests - n), share, 1, ALPHA))
        enough = next(real, None)
        fewest = fewest if enough is None else enough  # it never falls
        before, waiting = waiting, {}
        for count, chance in before.items():
            for more, weight in ((0, 1 - part), (1, part)):
                after, chance_of_it = count + more, chance * weight
                far = enough is not None and after >= enough
                if far and share_is_real(seen(after, requests - after), share, 1, ALPHA):
                    verified += chance_of_it
                elif chance_of_it > 1e-12:
                    waiting[after] = waiting.get(after, 0.0) + chance_of_it
        for level in (0.8, 0.95):
            if verified >= level:
                found.setdefault(level, requests)
    return mean, found


def test_the_table_of_the_manual_has_every_share_that_people_begin_with() -> None:
    assert [int(row[0]) for row in TABLE] == [1, 5, 10, 25, 50]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}%")
def test_the_requests_that_a_share_takes_are_those_of_the_manual(row: tuple[str, ...]) -> None:
    share, mean, most, nearly_all = map(int, row)
    exact, quantiles = looks(share)
    assert mean == round(exact)
    assert (most, nearly_all) == (quantiles[0.8], quantiles[0.95])


def chance_of_verified(share: int, requests: int, real: float) -> float:
    """Exactly, at one look at so many requests of a real share (percent)."""
    counts = verified_counts(share, requests, ALPHA)
    if counts is None:
        return 0.0
    within = binomial_at_least(counts.fewest, requests, real / 100)
    return within - binomial_at_least(counts.most + 1, requests, real / 100)


@pytest.mark.parametrize("share", [1, 5, 10, 25, 50, 90, 99])
def test_the_plan_expects_the_requests_that_verify_in_80_of_100_rollouts(share: int) -> None:
    planned = verifying_requests(share, 1, ALPHA)
    assert chance_of_verified(share, planned, share) >= POWER
    assert chance_of_verified(share, planned - 1, share) < POWER
    assert verifying_requests(share, 10_000, ALPHA) == 10_000


def test_a_share_that_is_told_is_verified_as_seldom_as_is_said() -> None:
    below, above = told_shares(20, 500, ALPHA)
    assert below is not None
    assert above is not None
    assert max(chance_of_verified(20, 500, real) for real in (below, above)) <= 1 - POWER
    assert min(chance_of_verified(20, 500, real) for real in (below + 0.2, above - 0.2)) > 1 - POWER
