"""The bucket of a user: what the manual says it is, balanced, always the same, and another one with another salt."""

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from rewriter_contract.buckets import BUCKETS, bucket

PAGE = (Path(__file__).parents[2] / "docs" / "sticky-users.md").read_text()
VECTORS = re.findall(r"^\| `(.*)` \| `(.*)` \| `([0-9a-f]{8})` \| `(\d\d)` \|$", PAGE, re.MULTILINE)

HIGHEST_OF_99 = 148.2
"""Chi-square with 99 degrees of freedom is above this once in a thousand times; the keys here are always the same."""


def keys(count: int) -> list[str]:
    draw = random.Random(15)
    return [f"user-{draw.getrandbits(64):016x}" for _ in range(count)]


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def test_the_manual_has_vectors_for_a_copy_in_another_language() -> None:
    assert len(VECTORS) >= 5
    assert any(not key.isascii() for key, *_ in VECTORS), "UTF-8 is part of what must be copied"


@pytest.mark.parametrize(("key", "salt", "first", "two_digits"), VECTORS, ids=lambda text: text or "empty")
def test_a_bucket_is_what_the_manual_says(key: str, salt: str, first: str, two_digits: str) -> None:
    assert bucket(key, salt) == two_digits == f"{int(first, 16) % BUCKETS:02d}"


@pytest.mark.parametrize("salt", ["", "w36", "w37", "a longer salt, of any characters: ü"])
def test_users_are_spread_evenly(salt: str) -> None:
    found = Counter(bucket(key, salt) for key in keys(50_000))
    assert sorted(found) == [f"{number:02d}" for number in range(BUCKETS)]
    assert chi_square(list(found.values())) < HIGHEST_OF_99


def test_numbers_in_a_row_are_spread_as_evenly_as_random_keys() -> None:
    assert chi_square(list(Counter(bucket(str(number), "w36") for number in range(50_000)).values())) < HIGHEST_OF_99


def test_another_salt_is_another_draw() -> None:
    """Whoever met the last candidate first is no more likely than anybody else to meet the next one first."""
    pairs = Counter((bucket(key, "w36")[0], bucket(key, "w37")[0]) for key in keys(50_000))
    assert len(pairs) == 100
    assert chi_square(list(pairs.values())) < HIGHEST_OF_99


def test_the_same_user_has_the_same_bucket_and_salt_and_key_are_not_run_together() -> None:
    assert bucket("user-1", "w36") == bucket("user-1", "w36")
    assert len({bucket(f"{'b' * (8 - cut)}", "a" + "b" * cut) for cut in range(8)}) > 1


@pytest.mark.parametrize("salt", [f"w{week:02d}" for week in (1, 18, 36, 52)])
def test_thirty_thousand_users_keep_every_share_within_a_point(salt: str) -> None:
    """What the manual asks of a key: then no share is doubted for its buckets alone (core/shares.py, SLACK)."""
    numbers = [int(bucket(key, salt)) for key in keys(30_000)]
    for share in (1, 5, 10, 25, 50, 75, 90):
        assert abs(100 * sum(number < share for number in numbers) / len(numbers) - share) < 1
