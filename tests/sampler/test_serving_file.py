"""What a pod does with the file that says what it is to serve; and the order in which one revision follows another."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rewriter_contract import wire
from rewriter_contract.messages import EngineConfig, LoadState, PromptConfig, ServingConfig, ServingOrder, WeightsRef
from rewriter_contract.weights import WeightsRefused
from rewriter_sampler import serve
from rewriter_sampler.drawing import Drawn
from rewriter_sampler.rewrite_api import RewriteApi
from rewriter_sampler.serve import ServedRevision, Serves
from rewriter_sampler.serving_file import LOOK_AGAIN_SECONDS, ServingFile
from rewriter_sampler.stage_counters import Answer


def order(revision: str, **engine: Any) -> ServingOrder:
    weights = WeightsRef(f"{revision}-p01", "0" * 64)
    return ServingOrder(ServingConfig(revision, weights), EngineConfig(PromptConfig("{query}"), **engine))


@dataclass
class Pod:
    """Notes what it is told."""

    loads: bool = True
    told: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    takes: float = 0.0
    now: float = 0.0

    def load(self, order: ServingOrder, digest: str) -> bool:
        self.told.append(order.serving.revision)
        self.digests.append(digest)
        time.sleep(self.takes)
        return self.loads

    def refuse(self, why: str) -> None:
        self.refused.append(why)


@pytest.fixture
def pod() -> Pod:
    return Pod()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serving"


@pytest.fixture
def followed(pod: Pod, path: Path) -> ServingFile:
    return ServingFile(path, pod, pod.hung.append, lambda: pod.now)


def test_nothing_is_loaded_until_something_is_said(pod: Pod, path: Path, followed: ServingFile) -> None:
    followed.look()
    path.write_text("")
    followed.look()
    assert pod.told == pod.refused == []


def test_each_order_is_loaded_once(pod: Pod, path: Path, followed: ServingFile) -> None:
    for revision in ("r0001", "r0001", "r0002", "r0001"):
        path.write_text(wire.dumps(order(revision)))
        followed.look()
        followed.look()
    assert pod.told == ["r0001", "r0002", "r0001"]


@pytest.mark.parametrize(("takes", "told"), [(0.5, ["r0001 has been loading for 0.1 s"]), (0.0, [])])
def test_a_load_that_does_not_end_is_told_of_after_the_time_that_the_order_gives_it(
    pod: Pod, path: Path, followed: ServingFile, takes: float, told: list[str]
) -> None:
    pod.takes = takes
    path.write_text(wire.dumps(replace(order("r0001"), load_seconds=0.1)))
    followed.look()
    time.sleep(0.2)
    assert pod.hung == told


def test_a_process_whose_load_hangs_ends_with_a_code_and_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "serving"
    path.write_text(wire.dumps(replace(order("r0002"), load_seconds=0.5)))
    script = (
        "import logging, pathlib, sys, time\n"
        "from functools import partial\n"
        "from rewriter_sampler import serve\n"
        "from rewriter_sampler.serving_file import ServingFile\n"
        "logging.basicConfig()\n"
        "class Hangs:\n"
        "    def load(self, order, digest):\n"
        "        time.sleep(60)\n"
        "ends = partial(serve.end_process, code=serve.EXIT_LOAD_HANGS)\n"
        "ServingFile(pathlib.Path(sys.argv[1]), Hangs(), ends).follow()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=50)
    assert ended.returncode == serve.EXIT_LOAD_HANGS == 72
    assert "ending the process: r0002 has been loading for 0.5 s" in ended.stderr


def test_an_order_says_nothing_of_a_load_that_a_pod_from_before_would_refuse() -> None:
    assert "loadSeconds" not in wire.dumps(order("r0001"))


def test_an_order_is_known_by_its_text(pod: Pod, path: Path, followed: ServingFile) -> None:
    text = wire.dumps(order("r0001"))
    path.write_text(text)
    followed.look()
    assert pod.digests == [wire.digest(text)] != [wire.digest(f"{text} ")]


def test_an_annotation_that_is_taken_away_changes_nothing(pod: Pod, path: Path, followed: ServingFile) -> None:
    for text in (wire.dumps(order("r0001")), "", wire.dumps(order("r0001"))):
        path.write_text(text)
        followed.look()
    assert pod.told == ["r0001"] and pod.refused == []


def test_files_that_were_refused_are_looked_at_again_after_a_while(pod: Pod, path: Path, followed: ServingFile) -> None:
    pod.loads = False
    path.write_text(wire.dumps(order("r0001")))
    for now in (0.0, 1.0, LOOK_AGAIN_SECONDS - 1, LOOK_AGAIN_SECONDS + 1, LOOK_AGAIN_SECONDS + 2):
        pod.now = now
        followed.look()
    assert pod.told == ["r0001", "r0001"]
    path.write_text(wire.dumps(order("r0002")))
    followed.look()
    assert pod.told[-1] == "r0002", "another order waits for nothing"


@pytest.mark.parametrize("text", ["{", "{}", "[]", wire.dumps(ServingOrder(ServingConfig("r1"), order("r1").engine))])
def test_what_cannot_be_served_is_refused_once_with_a_sentence(
    pod: Pod, path: Path, followed: ServingFile, text: str
) -> None:
    path.write_text(text)
    followed.look()
    followed.look()
    assert pod.told == [] and len(pod.refused) == 1


class Engine:
    """Of a pod that serves r0001: draws when it is let, and notes what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.draws: list[Future[Drawn]] = []

    def draw(self, _: Any) -> "Future[Drawn]":
        self.draws.append(Future())
        return self.draws[-1]

    def call(self, function: Callable[[Any], Any]) -> Any:
        answers = {"reset_prefix_cache": True, "prompt_logprobs": [], "bos_text": "", "chat_text": ""}

        def did(name: str) -> Callable[..., Any]:
            return lambda *_: self.done.append(name) or answers.get(name)

        return function(SimpleNamespace(**{name: did(name) for name in ("reload", "name_weights", *answers)}))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def served(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServedRevision:
    """Whatever set it is told to load is whole, and of the same model."""
    first = order("r0001")
    found = ServedRevision(tmp_path, first)
    found._thread = engine  # type: ignore[assignment]
    found._built = serve.Built(tmp_path, first.engine)
    found._loaded = first.serving.weights
    prompts = SimpleNamespace(prompt=lambda query: query, config=SimpleNamespace(stop=()))
    found._serves = Serves(first.serving, prompts)  # type: ignore[arg-type]
    found._condition = serve.Condition(LoadState.READY, first.serving.weights)
    manifest = SimpleNamespace(canary=SimpleNamespace(token_ids=()))
    monkeypatch.setattr(serve, "verify", lambda *_: manifest)
    monkeypatch.setattr(serve, "check_same_model", lambda *_: None)
    monkeypatch.setattr(serve.canary, "check", lambda *_: 0.0)
    return found


def test_what_is_being_answered_is_answered_before_anything_is_reloaded(served: ServedRevision, engine: Engine) -> None:
    async def story() -> None:
        asked = asyncio.create_task(served.rewrite("red shoes", 1))
        await asyncio.sleep(0.05)
        loading = threading.Thread(target=served.load, args=(order("r0002"),))
        loading.start()
        await asyncio.sleep(0.2)
        assert engine.done == [] and served.revision == "r0001"
        assert served.condition().state is LoadState.LOADING, "no other request is taken"
        with pytest.raises(serve.RewriteFailed, match="not loaded yet"):
            await served.rewrite("too late", 1)
        engine.draws[0].set_result(Drawn(()))
        assert (await asked).rewrites == ()
        await asyncio.to_thread(loading.join, 5)

    asyncio.run(story())
    assert engine.done[:3] == ["reload", "reset_prefix_cache", "prompt_logprobs"]
    assert (served.revision, served.condition().state) == ("r0002", LoadState.READY)


def test_other_limits_of_the_same_weights_reload_nothing_and_refuse_nobody(
    served: ServedRevision, engine: Engine
) -> None:
    told = order("r0001")
    assert served.load(ServingOrder(ServingConfig("r0001", told.serving.weights, max_rewrites=2), told.engine))
    assert engine.done == ["bos_text"]
    assert served._serves is not None and served._serves.serving.max_rewrites == 2


def test_a_refused_set_leaves_the_engine_as_it_was_and_the_way_back_loads_nothing(
    served: ServedRevision, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise WeightsRefused("a flipped bit")

    monkeypatch.setattr(serve, "verify", refuse)
    assert not served.load(order("r0002"))
    assert (served.condition().state, served.condition().message) == (
        LoadState.FAILED,
        "weights r0002-p01 are refused: a flipped bit",
    )
    assert served.load(order("r0001"))
    assert engine.done == ["bos_text"]
    assert (served.revision, served.condition().state) == ("r0001", LoadState.READY)


def test_each_set_is_compared_with_the_one_before_which_is_still_there(
    served: ServedRevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    monkeypatch.setattr(serve, "check_same_model", lambda before, _: compared.append(before.name))
    for revision in ("r0002", "r0003"):
        assert served.load(order(revision))
    assert compared[1:] == ["r0002-p01"]


@pytest.mark.parametrize("again", ["r0001", "r0002"])
def test_a_pod_counts_anew_with_every_order_also_of_the_same_revision(served: ServedRevision, again: str) -> None:
    api = RewriteApi(served, "token", "first")
    api._counted().add("recall", Answer(0.01, ok=True))
    assert served.load(order(again)) and api._counted().by_stage() == {}
    boot = api._boot_id
    api._counted().add("recall", Answer(0.01, ok=True))
    assert boot != "first" and api._counted().revision == again
    for revision in ("r0003", again):  # and nobody looks in between
        assert served.load(order(revision))
    assert api._counted().by_stage() == {} and api._boot_id != boot


def test_an_order_that_is_tried_again_is_no_other_life(served: ServedRevision, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any) -> None:
        raise WeightsRefused("not there yet")

    told = order("r0002")
    with monkeypatch.context() as patched:
        patched.setattr(serve, "verify", late)
        assert not served.load(told)
        api = RewriteApi(served, "token", "loading")
        assert not served.load(told)
    assert served.load(told) and api._counted().revision == "r0002" and api._boot_id == "loading"


def test_what_was_carried_out_is_told_once_it_is(served: ServedRevision, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.load(order("r0002"), "of r0002") and served.condition().order == "of r0002"

    def refuse(*_: Any) -> None:
        raise WeightsRefused("a flipped bit")

    monkeypatch.setattr(serve, "verify", refuse)
    assert not served.load(order("r0003"), "of r0003") and served.condition().order == ""
    served.load(order("r0002"), "of r0002, again")
    served.refuse("what this pod is to serve cannot be read")
    assert served.condition().order == "of r0002, again", "it goes on as it was told before"


def test_nobody_is_answered_any_more_by_an_engine_that_is_to_be_another(
    served: ServedRevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same revision, with the same weights: what it is answering it answers before the process ends."""
    found: list[tuple[LoadState, bool]] = []

    def ended(*_: Any) -> None:
        found.append((served.condition().state, served._serves is None))
        raise SystemExit

    monkeypatch.setattr(serve, "end_process", ended)
    with pytest.raises(SystemExit):
        served.load(order("r0001", tensor_parallel=2))
    assert found == [(LoadState.LOADING, True)]


@pytest.mark.parametrize("differs", [{"dtype": "bfloat16"}, {"max_length": 64}, {"tensor_parallel": 2}])
def test_another_engine_ends_the_process(
    served: ServedRevision, engine: Engine, monkeypatch: pytest.MonkeyPatch, differs: dict[str, Any]
) -> None:
    def ended(why: str, code: int = 0) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(serve, "end_process", ended)
    with pytest.raises(SystemExit) as end:
        served.load(order("r0002", **differs))
    assert (end.value.code, engine.done) == (serve.EXIT_OTHER_ENGINE, [])
