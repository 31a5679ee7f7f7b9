"""A serving pod that goes from one revision to another in place, with a real vLLM: as its file says, nothing else.

One program lives through all of it, in the order of the tests, and is the same process to the end.
"""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import ServingConfig, ServingOrder, WeightsRef
from rewriter_sampler.serve import EXIT_OTHER_ENGINE
from tests.sampler.programs import Program, running
from tests.sampler.test_real_engine import ENGINE, Volume, volume

__all__ = ["volume"]

pytestmark = pytest.mark.ml

QUERIES = [f"shoes number {index}" for index in range(6)]


class Told:
    """The file, as kubelet writes it: whole, and with one rename."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("")

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.path)

    def serve(self, revision: str, weights: WeightsRef, max_length: int = ENGINE.max_length) -> None:
        serving = ServingConfig(revision, weights, max_tokens=12, request_timeout_seconds=30.0)
        self.write(wire.dumps(ServingOrder(serving, replace(ENGINE, max_length=max_length))))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("order") / "serving")


@pytest.fixture(scope="module")
def pod(volume: Volume, told: Told) -> Iterator[Program]:
    variables = {env.VOLUME_ROOT: str(volume.root), env.SERVING_FILE: str(told.path)}
    with running("rewriter_sampler.serve", variables) as program:
        program.wait_for("/healthz")
        yield program


def stats(pod: Program) -> dict[str, Any]:
    found: dict[str, Any] = pod.call("GET", "/v1/stats").json
    return found


def becomes(pod: Program, revision: str, state: str = "Ready") -> dict[str, Any]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = stats(pod)
        if (found["revision"], found["state"]) == (revision, state):
            return found
        time.sleep(0.05)
    raise AssertionError(f"it did not become {revision} {state}: {stats(pod)}\n{pod.output()}")


def answers(pod: Program) -> list[Any]:
    """What it rewrites, and as which revision."""
    found = [pod.call("POST", "/v1/rewrite", {"query": query, "stage": "recall"}, token="") for query in QUERIES]
    assert [answer.status for answer in found] == [200] * len(QUERIES)
    return [answer.json for answer in found]


@pytest.fixture(scope="module")
def of_a(pod: Program, told: Told, volume: Volume) -> list[Any]:
    """The answers of r0001, which it serves first."""
    told.serve("r0001", volume.a)
    becomes(pod, "r0001")
    return answers(pod)


def test_a_pod_that_was_told_nothing_serves_nothing(pod: Program) -> None:
    found = stats(pod)
    assert (found["revision"], found["state"], found.get("weights")) == ("", "Empty", None)
    assert pod.call("GET", "/readyz").status == 503
    assert pod.call("POST", "/v1/rewrite", {"query": "too early"}).status == 503


def test_it_serves_what_the_file_says(pod: Program, of_a: list[Any], volume: Volume) -> None:
    found = stats(pod)
    assert {answer["revision"] for answer in of_a} == {"r0001"}
    assert (found["weights"]["version"], found["stages"]["recall"]["requests"]) == (volume.a.version, len(QUERIES))
    assert pod.call("GET", "/readyz").status == 200


def test_it_goes_to_another_revision_and_counts_as_another_life(
    pod: Program, told: Told, volume: Volume, of_a: list[Any]
) -> None:
    before = stats(pod)
    told.serve("r0002", volume.b)
    after = becomes(pod, "r0002")
    assert after["weights"]["version"] == volume.b.version
    assert after["bootId"] != before["bootId"] and after["stages"] == {}
    found = answers(pod)
    assert {answer["revision"] for answer in found} == {"r0002"}
    assert [answer["rewrites"] for answer in found] != [answer["rewrites"] for answer in of_a]


def test_and_back_with_the_very_answers_that_it_had(pod: Program, told: Told, volume: Volume, of_a: list[Any]) -> None:
    told.serve("r0001", volume.a)
    becomes(pod, "r0001")
    assert answers(pod) == of_a


@pytest.mark.parametrize("spoiled", ["flipped", "truncated", "damaged_before_publishing"])
def test_weights_that_are_not_what_they_should_be_are_not_served_and_the_old_ones_come_back(
    pod: Program, told: Told, volume: Volume, of_a: list[Any], spoiled: str
) -> None:
    told.serve("r0003", getattr(volume, spoiled))
    found = becomes(pod, "r0003", "Failed")
    assert found["message"] and found.get("weights") is None
    assert pod.call("GET", "/readyz").status == 503
    assert pod.call("POST", "/v1/rewrite", {"query": "red shoes"}).status == 503
    told.serve("r0001", volume.a)
    becomes(pod, "r0001")
    assert answers(pod) == of_a


def test_a_request_at_any_moment_is_answered_by_one_revision_or_refused_as_not_ready(
    pod: Program, told: Told, volume: Volume
) -> None:
    """As no gateway does it: the pod is asked while it is between two revisions."""
    over = Event()

    def ask(query: str) -> list[tuple[int, Any]]:
        found = []
        while not over.is_set():
            answer = pod.call("POST", "/v1/rewrite", {"query": query, "stage": "recall"}, token="")
            found.append((answer.status, answer.json))
        return found

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, query) for query in QUERIES[:4]]
        time.sleep(1)
        told.serve("r0002", volume.b)
        becomes(pod, "r0002")
        time.sleep(1)
        over.set()
        found = [item for one in asking for item in one.result()]
    assert {status for status, _ in found} <= {200, 503}
    assert {body["reason"] for status, body in found if status == 503} <= {"NotReady"}
    good = [body for status, body in found if status == 200]
    assert {body["revision"] for body in good} == {"r0001", "r0002"}
    counted = stats(pod)["stages"]["recall"]
    assert counted["requests"] - counted["errors"] == sum(body["revision"] == "r0002" for body in good)


def test_what_cannot_be_read_changes_nothing_but_what_it_says(pod: Program, told: Told) -> None:
    told.write("{}")
    end = time.monotonic() + 20
    while "cannot be read" not in stats(pod)["message"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert stats(pod)["revision"] == "r0002" and pod.call("GET", "/readyz").status == 200


def test_another_engine_is_another_process(pod: Program, told: Told, volume: Volume) -> None:
    told.serve("r0004", volume.a, max_length=ENGINE.max_length // 2)
    assert pod.process.wait(60) == EXIT_OTHER_ENGINE
