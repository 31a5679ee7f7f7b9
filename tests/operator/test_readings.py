"""A look at a release of which nothing is known to have changed asks its pods alone, and decides nothing to do."""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rewriter_operator.cluster.observe import Observation
from rewriter_operator.cluster.own_writes import REMEMBERED, OwnWrites
from rewriter_operator.core.decision import Decision
from rewriter_operator.core.world import World
from rewriter_operator.leading import Leading, Version, Wish
from rewriter_operator.readings import LASTING_SECONDS, YOUNG_SECONDS, Readings
from rewriter_operator.reconcile import GONE, READ_AT_ONCE, SOON, Reconciler, Thought
from rewriter_operator.settings import from_environment
from tests.builders import INSTALLATION, make_world, spec_body
from tests.operator.test_unwatched import Cluster, route

READ = Observation(make_world(), token="t")
THEIRS = Version("uid-shop", "100")


class Clocked:
    """Readings whose time is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.readings = Readings(lambda: self.now)


def test_a_reading_holds_for_a_while() -> None:
    clocked = Clocked()
    clocked.readings.keep("shop", READ, clocked.readings.begin("shop"))
    clocked.now = LASTING_SECONDS - 0.1
    assert clocked.readings.of("shop") is READ
    clocked.now = LASTING_SECONDS
    assert clocked.readings.of("shop") is None


def test_a_reading_ends_with_the_next_event_of_its_release_and_no_other() -> None:
    readings = Readings()
    for name in ("shop", "toys"):
        readings.keep(name, READ, readings.begin(name))
    readings.changed("shop")
    assert readings.of("shop") is None
    assert readings.of("toys") is READ


def test_what_changed_while_it_was_read_is_not_kept() -> None:
    readings = Readings()
    begun = readings.begin("shop")
    readings.changed("shop")
    readings.keep("shop", READ, begun)
    assert readings.of("shop") is None


class Counted(Cluster):
    """A release with nothing to do, as often as its planner says so; counts what is read."""

    def __init__(self) -> None:
        super().__init__(route(30))
        metadata = {**self.release["metadata"], "creationTimestamp": "2026-11-23T10:00:00Z"}
        self.release = {"kind": "RewriterRelease", "metadata": metadata, "spec": spec_body(), "status": {}}
        self.reads = 0

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self.reads += 1
        return copy.deepcopy(self.release) if kind == "RewriterRelease" else None

    async def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        self.reads += 1
        return []

    def reconciler(self, monkeypatch: pytest.MonkeyPatch, *messages: str, wait: float = 2.0) -> Reconciler:
        """Plans that say these messages, one after the other, and want nothing; an empty one is what is stored."""
        said = iter(messages)
        self.planned: list[World] = []

        def planned(world: World) -> Decision:
            self.planned.append(world)
            message = next(said)
            status = world.status.model_copy(update={"message": message}) if message else world.status
            return Decision(status=status, wanted=(), wait_seconds=wait)

        monkeypatch.setattr("rewriter_operator.reconcile.plan", planned)
        return Reconciler(self.unwatched().hands, INSTALLATION)


def passes(reconciler: Reconciler, times: int) -> list[float]:
    async def all_of_them() -> list[float]:
        return [(await reconciler("shop")).seconds for _ in range(times)]

    return asyncio.run(all_of_them())


def test_a_look_at_what_rests_reads_nothing_of_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "", "", "")
    assert passes(reconciler, 1) == [2.0]
    before = cluster.reads
    assert before > 5
    assert passes(reconciler, 2) == [2.0, 2.0]
    assert cluster.reads == before
    assert cluster.planned[2].now > cluster.planned[0].now, "it is looked at as of now"


def test_of_a_release_at_rest_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reconciler = Counted().reconciler(monkeypatch, "", wait=60.0)
    assert passes(reconciler, 1) == [60.0]
    assert reconciler.readings.of("shop") is None


def test_what_a_glance_would_write_is_decided_again_from_what_is_read_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live release says something else than what the glance knows, and that is what the write is decided from."""
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "", "as the glance saw it", "as it is", "")
    passes(reconciler, 1)
    cluster.release["metadata"]["generation"] = 5
    passes(reconciler, 1)
    assert [world.release.generation for world in cluster.planned] == [4, 4, 5, 5]
    assert cluster.release["status"]["message"] == "as it is"
    assert cluster.writes == ["status"]


def test_what_was_read_for_a_write_is_good_for_those_that_follow_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "", "one", "one", "two", "")
    passes(reconciler, 1)
    one_reading = cluster.reads
    assert passes(reconciler, 1) == [2.0]
    assert cluster.writes == ["status", "status"]
    assert cluster.reads == 2 * one_reading
    assert cluster.planned[-1].status.message == "two", "the last look is one at what was written"
    assert reconciler.readings.of("shop"), "and the next one may be a glance"


def told(reconciler: Reconciler, clocked: Clocked) -> None:
    reconciler.readings.changed("shop")


def asked_for(reconciler: Reconciler, clocked: Clocked) -> None:
    reconciler.readings.wished("shop")


def slow(reconciler: Reconciler, clocked: Clocked) -> None:
    clocked.now += YOUNG_SECONDS


@pytest.mark.parametrize("meanwhile", [told, asked_for, slow])
def test_after_a_write_everything_is_read_again_where_the_reading_may_be_overtaken(
    meanwhile: Callable[[Reconciler, Clocked], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, clocked = Counted(), Clocked()
    reconciler = cluster.reconciler(monkeypatch, "one", "two", "")
    reconciler.readings = clocked.readings
    stored = cluster.put_status

    async def put_status(body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        if not cluster.writes:
            meanwhile(reconciler, clocked)
        return await stored(body, dry_run)

    monkeypatch.setattr(cluster, "put_status", put_status)
    assert asyncio.run(reconciler("shop")) == SOON
    assert cluster.writes == ["status"]
    before = cluster.reads
    assert passes(reconciler, 1) == [2.0]
    assert cluster.writes == ["status", "status"]
    assert cluster.reads == 2 * before


def test_what_is_deleted_in_the_moment_of_a_write_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "one", "two")
    cluster.release["metadata"]["finalizers"] = ["somebody/holds-it"]
    stored = cluster.put_status

    async def put_status(body: dict[str, Any], dry_run: bool = False) -> dict[str, Any]:
        cluster.release["metadata"]["deletionTimestamp"] = "2026-11-23T11:00:00Z"
        return await stored(body, dry_run)

    monkeypatch.setattr(cluster, "put_status", put_status)
    assert asyncio.run(reconciler("shop")) == SOON
    assert asyncio.run(reconciler("shop")) == GONE
    assert cluster.writes == ["status"]


def test_a_glance_that_fails_leaves_the_failure_to_a_pass_that_reads_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "")
    passes(reconciler, 1)
    before = cluster.reads

    def broken(_: World) -> Decision:
        raise KeyError("a bug")

    monkeypatch.setattr("rewriter_operator.reconcile.plan", broken)
    with pytest.raises(KeyError):
        passes(reconciler, 1)
    assert cluster.reads > before


def test_a_refusal_that_was_told_is_looked_into_by_a_pass_that_reads_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, "", "", "")
    passes(reconciler, 1)
    reconciler.refusals["shop"] = "pods is forbidden"
    before = cluster.reads
    passes(reconciler, 1)
    assert cluster.reads > before


class Woken:
    """A queue that only remembers."""

    def __init__(self) -> None:
        self.wakes: list[tuple[str, bool]] = []

    def wake(self, key: str, urgent: bool = False) -> None:
        self.wakes.append((key, urgent))


def leading(monkeypatch: pytest.MonkeyPatch) -> tuple[Leading, Woken]:
    for name, value in {"WATCH_NAMESPACE": "search", "TRAINER_IMAGE": "t:1", "SAMPLER_IMAGE": "s:1"}.items():
        monkeypatch.setenv(name, value)
    woken = Woken()
    return Leading(from_environment(), queue=woken), woken  # type: ignore[arg-type]


def test_what_a_person_changed_is_urgent_and_a_status_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found, woken = leading(monkeypatch)
    first = Wish(1, {})
    for wish in (first, first, replace(first, generation=2), Wish(2, {"rewriter.dev/abort": "7"})):
        found.release_changed("shop", wish, THEIRS)
    found.child_changed("shop", THEIRS)
    assert [urgent for _, urgent in woken.wakes] == [False, False, True, True, False]


def test_every_event_ends_what_was_read_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = leading(monkeypatch)
    found.readings.keep("shop", READ, found.readings.begin("shop"))
    found.child_changed("shop", THEIRS)
    assert found.readings.of("shop") is None
    found.readings.keep("shop", READ, found.readings.begin("shop"))
    found.release_changed("shop", Wish(1, {}), THEIRS)
    assert found.readings.of("shop") is None


def test_what_a_person_changed_overtakes_a_reading_and_leaves_its_children_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, _ = leading(monkeypatch)
    found.release_changed("shop", Wish(1, {}), THEIRS)
    found.readings.keep("shop", READ, found.readings.begin("shop"))
    assert found.readings.overtaken("shop") is None
    found.release_changed("shop", Wish(1, {"rewriter.dev/abort": "7"}), THEIRS)
    assert found.readings.of("shop") is None
    assert found.readings.overtaken("shop") is READ
    found.child_changed("shop", THEIRS)
    assert found.readings.overtaken("shop") is None


def test_a_reading_that_a_person_overtook_while_it_was_read_is_known_and_holds_for_no_glance() -> None:
    readings = Readings()
    begun = readings.begin("shop")
    readings.wished("shop")
    readings.keep("shop", READ, begun)
    assert readings.of("shop") is None
    assert readings.overtaken("shop") is READ


def test_the_event_of_a_write_of_its_own_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that follows each write knows what was written anyway."""
    found, woken = leading(monkeypatch)
    found.release_changed("shop", Wish(1, {}), THEIRS)
    found.readings.keep("shop", READ, found.readings.begin("shop"))
    found.own_writes.note({"metadata": {"uid": "uid-shop", "resourceVersion": "101"}})
    found.own_writes.note({"metadata": {"uid": "uid-pod", "resourceVersion": "102"}})
    found.release_changed("shop", Wish(1, {}), Version("uid-shop", "101"))
    found.child_changed("shop", Version("uid-pod", "102"))
    assert len(woken.wakes) == 1
    assert found.readings.of("shop") is READ
    found.child_changed("shop", Version("uid-pod", "103"))
    found.release_changed("shop", Wish(1, {}), Version("uid-shop", "104"))
    assert len(woken.wakes) == 3
    assert found.readings.of("shop") is None


def test_what_a_person_changed_wakes_even_when_our_own_write_tells_of_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found, woken = leading(monkeypatch)
    found.release_changed("shop", Wish(1, {}), THEIRS)
    found.own_writes.note({"metadata": {"uid": "uid-shop", "resourceVersion": "101"}})
    found.release_changed("shop", Wish(1, {"rewriter.dev/abort": "7"}), Version("uid-shop", "101"))
    assert woken.wakes[-1] == ("shop", True)


def test_a_child_that_is_gone_wakes_though_its_last_version_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found, woken = leading(monkeypatch)
    found.own_writes.note({"metadata": {"uid": "uid-pod", "resourceVersion": "102"}})
    found.child_is_gone("shop")
    assert woken.wakes == [("shop", False)]


def test_an_old_event_is_a_look_more_and_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a watch that begins again further back, or of an earlier release of this name."""
    found, woken = leading(monkeypatch)
    now, before = Wish(2, {"rewriter.dev/abort": "7"}), Wish(1, {})
    for wish in (before, now):
        found.release_changed("shop", wish, THEIRS)
    for old in (lambda: found.release_changed("shop", before, THEIRS), lambda: found.release_is_gone("shop")):
        woken.wakes.clear()
        found.readings.keep("shop", READ, found.readings.begin("shop"))
        old()
        assert [name for name, _ in woken.wakes] == ["shop"]
        assert found.readings.of("shop") is None, "what is so is read, and not taken from the event"


def test_of_own_writes_only_the_latest_are_remembered() -> None:
    writes = OwnWrites()
    for version in range(REMEMBERED + 1):
        writes.note({"metadata": {"uid": "uid", "resourceVersion": str(version)}})
    assert not writes.has("uid", "0")
    assert writes.has("uid", "1")
    assert writes.has("uid", str(REMEMBERED))
    writes.note({"kind": "Status"})


def test_only_so_many_releases_are_read_at_once_and_an_urgent_one_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody waits for must not fill an API server up."""
    cluster = Counted()
    reconciler = cluster.reconciler(monkeypatch, *("" for _ in range(READ_AT_ONCE + 4)))

    async def story() -> None:
        gate, begun = asyncio.Event(), 0

        async def held(*_: Any) -> list[dict[str, Any]]:
            nonlocal begun
            begun += 1
            await gate.wait()
            return []

        monkeypatch.setattr(cluster, "list", held)
        passes = [asyncio.create_task(reconciler(f"r{number}")) for number in range(READ_AT_ONCE + 3)]
        await asyncio.sleep(0.05)
        lists = begun // READ_AT_ONCE
        assert begun == lists * READ_AT_ONCE > 0
        passes.append(asyncio.create_task(reconciler("shop", urgent=True)))
        await asyncio.sleep(0.05)
        assert begun == lists * (READ_AT_ONCE + 1)
        gate.set()
        await asyncio.gather(*passes)
        assert begun == lists * (READ_AT_ONCE + 4)

    asyncio.run(story())


@pytest.mark.parametrize("meanwhile", [told, asked_for, slow])
def test_what_is_told_while_the_pods_are_asked_ends_the_reading_before_the_next_write(
    meanwhile: Callable[[Reconciler, Clocked], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abort that is heard while a silent pod is waited for must not be followed by a larger share."""
    cluster, clocked = Counted(), Clocked()
    reconciler = cluster.reconciler(monkeypatch, "one", "two")
    reconciler.readings = clocked.readings
    looked_at = reconciler._looked_at

    async def slowly(reading: Observation) -> Thought:
        thought = await looked_at(reading)
        if cluster.writes:
            meanwhile(reconciler, clocked)
        return thought

    monkeypatch.setattr(reconciler, "_looked_at", slowly)
    assert asyncio.run(reconciler("shop")) == SOON
    assert cluster.writes == ["status"]


def test_a_reading_is_as_old_as_its_first_request() -> None:
    clocked = Clocked()
    for told_of in (lambda: None, lambda: clocked.readings.wished("shop")):
        clocked.now = 0.0
        begun = clocked.readings.begin("shop")
        clocked.now = 10.0
        clocked.readings.keep("shop", READ, begun)
        told_of()
        clocked.now = LASTING_SECONDS
        assert clocked.readings.of("shop") is None
        assert clocked.readings.overtaken("shop") is None
