"""A pod that is killed while it gathers evidence costs the batch that it was at, and the evidence is the same bytes."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from rewriter_contract import wire
from rewriter_contract.agent import WorkFailed
from rewriter_contract.messages import DataRow, EvidenceOrder, GenerationConfig, WeightsRef
from rewriter_contract.shards import done_path
from rewriter_sampler import evidence
from rewriter_sampler.drawing import Completion
from rewriter_sampler.evidence_partial import partial_path

from .reward_builder import honest, row, service
from .test_evidence import aimed, of_model, progress, said, search, volume

QUERIES = [row(id=f"q{i:03d}", query=f"blue shoes {i}", labels={"d1": 2.0}) for i in range(300)]
"""Five batches: four of 64, and the rest."""


class Killed(BaseException):
    """The pod was: nothing after it runs."""


class Engine:
    """A model that answers by query and seed alone, and whose pod is killed before a batch."""

    def __init__(self, batches: int = 1000) -> None:
        self.left = batches
        self.asked: list[str] = []

    def __call__(self, rows: list[DataRow], generation: GenerationConfig) -> list[list[Completion]]:
        if generation.temperature > 0:
            return [
                [drawn(each, Random(f"{generation.seed} {each.id} {n}")) for n in range(generation.n)] for each in rows
            ]
        if not self.left:
            raise Killed
        self.left -= 1
        self.asked += [each.id for each in rows]
        return [[said(f"{each.query} running {len(each.query)}")] for each in rows]


def drawn(asked: DataRow, random: Random) -> Completion:
    """With chance, by a seed of the row's own."""
    text = f"{asked.query} {random.choice(('running', 'walking', 'red'))}"
    return Completion(text, token_ids=(1, 2), finished=random.random() < 0.9, mean_logprob=-random.random())


@contextmanager
def ordered(root: Path) -> Iterator[EvidenceOrder]:
    """The candidate's order over 300 queries, with services that answer."""
    base = volume(root)
    data = "".join(wire.dumps(each) + "\n" for each in QUERIES).encode()
    (root / "gate.jsonl").write_bytes(data)
    chance = GenerationConfig(n=3, temperature=0.9, seed=5)
    order = replace(base, requests_sha256=hashlib.sha256(data).hexdigest(), first_results=3, query_alone=True)
    order = replace(order, sampled=chance)
    with service(honest) as relevance, service(search) as gold:
        yield of_model(aimed(order, relevance, gold), "overlap@1")


def run(root: Path, order: EvidenceOrder, engine: Engine, writer: str = "pod") -> Engine:
    evidence.run(order, root, engine, progress(), writer)
    return engine


def undisturbed(root: Path, order: EvidenceOrder) -> dict[str, bytes]:
    """What a run leaves that nobody disturbs; it is taken away again."""
    run(root, order, Engine())
    left = files(root, order)
    for path in (root / order.out).parent.iterdir():
        path.unlink()
    return left


def killed(root: Path, order: EvidenceOrder, batches: int) -> None:
    with pytest.raises(Killed):
        run(root, order, Engine(batches), f"pod-{batches}")


def files(root: Path, order: EvidenceOrder) -> dict[str, bytes]:
    """All that stands beside the shard, and it."""
    return {path.name: path.read_bytes() for path in sorted((root / order.out).parent.iterdir())}


@pytest.mark.parametrize("kills", [[1], [4], [2, 1, 1], [0, 3, 0]], ids=str)
def test_a_killed_pods_successor_goes_on_after_the_last_whole_batch_and_ends_with_equal_bytes(
    tmp_path: Path, kills: list[int]
) -> None:
    with ordered(tmp_path) as order:
        whole = undisturbed(tmp_path, order)
        for batches in kills:
            killed(tmp_path, order, batches)
            assert not done_path(tmp_path / order.out).exists()
        last = run(tmp_path, order, Engine())
        assert len(last.asked) == max(0, len(QUERIES) - 64 * sum(kills))
        assert files(tmp_path, order) == whole, "and nothing else is left"


def cut_off(data: bytes) -> bytes:
    return data[:-10]


def flipped(data: bytes) -> bytes:
    return data.replace(b"running", b"runninh", 1)


def without_order(data: bytes) -> bytes:
    return data.split(b"\n", 1)[1]


def empty(_: bytes) -> bytes:
    return b""


def binary(_: bytes) -> bytes:
    return b"\xff\x00\n" * 4


DAMAGE = {cut_off: 1, flipped: 0, without_order: 0, empty: 0, binary: 0}
"""And how many of two batches are still good for something."""


@pytest.mark.parametrize(("damage", "kept"), DAMAGE.items(), ids=[damage.__name__ for damage in DAMAGE])
def test_a_line_that_the_kill_cut_off_costs_its_batch_and_other_damage_costs_all(
    tmp_path: Path, damage: Callable[[bytes], bytes], kept: int
) -> None:
    with ordered(tmp_path) as order:
        whole = undisturbed(tmp_path, order)
        killed(tmp_path, order, 2)
        partial = partial_path(tmp_path / order.out)
        partial.write_bytes(damage(partial.read_bytes()))
        assert len(run(tmp_path, order, Engine()).asked) == len(QUERIES) - 64 * kept
        assert files(tmp_path, order) == whole


def other_weights(order: EvidenceOrder) -> EvidenceOrder:
    return replace(order, weights=WeightsRef("r0007-p03", "digest"))


def other_reward(order: EvidenceOrder) -> EvidenceOrder:
    return replace(order, reward=replace(order.reward, revision="reward-2"))


def other_seed(order: EvidenceOrder) -> EvidenceOrder:
    return replace(order, selection=replace(order.selection, seed=1))


@pytest.mark.parametrize("change", [other_weights, other_reward, other_seed], ids=lambda it: it.__name__)
def test_rows_of_another_order_are_never_gone_on_with(
    tmp_path: Path, change: Callable[[EvidenceOrder], EvidenceOrder]
) -> None:
    with ordered(tmp_path) as order:
        killed(tmp_path, order, 3)
        assert len(run(tmp_path, change(order), Engine()).asked) == len(QUERIES)


def test_what_is_missing_is_asked_again_and_a_whole_batch_is_not(tmp_path: Path) -> None:
    """The search is away for the second batch; kept would be a hole that no retry mends."""
    with ordered(tmp_path) as order, service(search) as gold:
        order = replace(order, search_url=gold.url)
        first = Engine(3)

        def away_in_the_second(rows: list[DataRow], generation: GenerationConfig) -> list[list[Completion]]:
            if first.left == 2 and not generation.temperature:
                gold.statuses += [404] * 2
            return first(rows, generation)

        with pytest.raises(Killed):
            evidence.run(order, tmp_path, away_in_the_second, progress(), "pod")
        again = run(tmp_path, order, Engine())
    assert len(again.asked) == len(QUERIES) - 2 * 64
    assert set(first.asked[64:128]) <= set(again.asked)
    assert all(each.ndcg10 is not None for each in evidence.read_rows(tmp_path, order.out).rows)


def test_rows_of_two_relevance_models_are_never_put_together_where_the_order_names_none(tmp_path: Path) -> None:
    answering = {"model": "one@1"}
    with ordered(tmp_path) as order, service(lambda body: honest(body) | answering) as relevance:
        unnamed = of_model(order, None)
        unnamed = replace(unnamed, reward=replace(unnamed.reward, relevance_url=relevance.url))
        killed(tmp_path, unnamed, 2)
        answering["model"] = "two@1"
        with pytest.raises(WorkFailed, match=r"one@1 and two@1; all are gathered again"):
            run(tmp_path, unnamed, Engine())
        assert len(run(tmp_path, unnamed, Engine()).asked) == len(QUERIES)
    assert evidence.read_rows(tmp_path, order.out).relevance_model == "two@1"


def test_an_order_that_fails_before_a_whole_batch_leaves_nothing_beside_the_shard(tmp_path: Path) -> None:
    with ordered(tmp_path) as order, service(lambda _: {"results": None}) as gold:
        killed(tmp_path, replace(order, search_url=gold.url), 2)
    assert not (tmp_path / order.out).parent.exists()
