"""Checks that the shipped sample collection (e2e/data/shop) is sound enough to train on and to judge with.

A label that points nowhere, or a query that is both trained on and judged, would not break the demo: it would quietly
make its numbers wrong. These checks read the files themselves and share no code with the demo's loader.
"""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "e2e" / "data"
SHOP = DATA / "shop"
SPLITS = ("train", "validation", "test")
SHARES = {"train": 0.60, "validation": 0.15, "test": 0.25}
KINDS = ("typo", "wish", "plain", "negation", "size", "unit", "brand", "navigational")


@dataclass(frozen=True)
class Label:
    """One line of a qrels file."""

    query: str
    product: str
    grade: str


@cache
def products() -> list[dict[str, Any]]:
    return _rows("corpus.jsonl")


@cache
def queries() -> list[dict[str, Any]]:
    return _rows("queries.jsonl")


@cache
def labels(split: str) -> list[Label]:
    with (SHOP / "qrels" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        assert reader.fieldnames == ["query-id", "corpus-id", "score"]
        return [Label(row["query-id"], row["corpus-id"], row["score"]) for row in reader]


def all_labels() -> Iterator[Label]:
    for split in SPLITS:
        yield from labels(split)


def split_of_queries() -> dict[str, str]:
    return {label.query: split for split in SPLITS for label in labels(split)}


def kind_of_queries() -> dict[str, str]:
    return {query["_id"]: query["metadata"]["kind"] for query in queries()}


def words(text: str) -> tuple[str, ...]:
    """A query without case, accents, punctuation and word order: what makes two queries the same request."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return tuple(sorted(re.findall(r"[a-z0-9]+", plain)))


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHOP / name).read_text(encoding="utf-8").splitlines()]


def test_the_catalogue_has_enough_products_and_each_has_its_own_id_title_and_description() -> None:
    assert len(products()) >= 320
    assert all(set(product) == {"_id", "title", "text"} for product in products())
    assert all(value.strip() == value != "" for product in products() for value in product.values())
    for field in ("_id", "title"):
        assert [v for v, n in Counter(product[field] for product in products()).items() if n > 1] == []


def test_there_are_enough_queries_and_each_has_its_own_id_and_a_known_kind() -> None:
    assert len(queries()) >= 240
    assert all(set(query) == {"_id", "text", "metadata"} for query in queries())
    assert [v for v, n in Counter(query["_id"] for query in queries()).items() if n > 1] == []
    assert set(kind_of_queries().values()) == set(KINDS)


def test_no_text_has_control_characters_or_runs_of_spaces() -> None:
    texts = [row[field] for row in [*products(), *queries()] for field in ("_id", "title", "text") if field in row]
    assert [text for text in texts if not text.isprintable() or "  " in text] == []


def test_labels_point_at_queries_and_products_that_exist() -> None:
    assert {label.query for label in all_labels()} <= {query["_id"] for query in queries()}
    assert {label.product for label in all_labels()} <= {product["_id"] for product in products()}


def test_every_query_has_at_least_one_product_that_is_exactly_right() -> None:
    satisfied = {label.query for label in all_labels() if label.grade == "3"}
    assert [query["text"] for query in queries() if query["_id"] not in satisfied] == []


def test_grades_are_one_two_or_three_and_all_are_used() -> None:
    assert {label.grade for label in all_labels()} == {"1", "2", "3"}


def test_no_product_is_labelled_twice_for_a_query() -> None:
    pairs = Counter((label.query, label.product) for label in all_labels())
    assert [pair for pair, count in pairs.items() if count > 1] == []


def test_a_navigational_query_has_exactly_one_right_product() -> None:
    count = Counter(label.query for label in all_labels())
    kinds = kind_of_queries()
    assert {query: n for query, n in count.items() if kinds[query] == "navigational" and n != 1} == {}


def test_every_query_is_judged_in_exactly_one_split() -> None:
    judged = [query for split in SPLITS for query in {label.query for label in labels(split)}]
    assert sorted(judged) == sorted(query["_id"] for query in queries())


def test_no_request_is_made_twice_so_none_is_both_trained_on_and_judged() -> None:
    count = Counter(words(query["text"]) for query in queries())
    assert [request for request, n in count.items() if n > 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_query_is_spread_over_the_splits_by_their_shares(kind: str) -> None:
    split = split_of_queries()
    ids = [query for query, its_kind in kind_of_queries().items() if its_kind == kind]
    assert len(ids) >= 20
    count = Counter(split[query] for query in ids)
    assert {name: count[name] for name in SPLITS} == {
        name: pytest.approx(SHARES[name] * len(ids), abs=1) for name in SPLITS
    }


def test_the_readme_states_the_counts_of_the_files() -> None:
    split, kinds = split_of_queries(), kind_of_queries()
    count = Counter((kinds[query], split[query]) for query in kinds)
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for kind in KINDS:
        per_split = [count[kind, name] for name in SPLITS]
        assert f"| {kind} | {' | '.join(map(str, [*per_split, sum(per_split)]))} |" in readme
    assert f"{len(products())} products, {len(queries())} queries, {len(list(all_labels()))} labels" in readme
