"""Releases in Git, applied by the real Argo CD: what it says of them, what its actions do, and that it never disagrees.

The operator is the real one; pods and gateway are the fast stand-ins of tests/faults. docs/argocd.md has the words.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import yaml

from e2e.cluster.paths import REPOSITORY
from tests.argocd.scene import SERVER_SIDE, WAVE, Scene, Stage, config_map, constants, opened, release
from tests.faults.pod_programs import Behaviour
from tests.faults.workloads import HELD, RELEASE, stages

pytestmark = pytest.mark.argocd

OPTIONS = pytest.mark.parametrize("options", [(SERVER_SIDE,), ()], ids=["server-side", "client-side"])
HELD_STAGES = {"rollout.stages": stages(HELD)}
REFUSED = Behaviour(gold_gain=-0.2)
UNDECIDED = Behaviour(gain=0.0)


def play(stage: Stage, name: str, told: Callable[[Scene], Awaitable[None]], behaviour: Behaviour | None = None) -> None:
    """Tell a story in a namespace of its own; whatever it is about, Argo CD must never see a difference of nobody's."""

    async def run() -> None:
        async with opened(stage, name, behaviour) as scene:
            await told(scene)
            assert scene.looks.disagreements == []

    asyncio.run(run())


async def given_in_git(scene: Scene, *objects: dict[str, Any], options: tuple[str, ...] = (SERVER_SIDE,)) -> None:
    """A commit, and the Application that follows it."""
    await scene.commit(*objects)
    await scene.follow(*options)
    await scene.until_followed()


@OPTIONS
def test_a_first_release_goes_from_progressing_over_suspended_to_healthy(
    stage: Stage, options: tuple[str, ...]
) -> None:
    async def story(scene: Scene) -> None:
        # Given a release whose first share waits for a person
        await given_in_git(scene, constants(), release(**HELD_STAGES), options=options)
        # When its first cycle has come that far
        await scene.until("the candidate waits at its first share", scene.waits)
        await scene.until_health("Suspended")
        # Then Argo CD offers the approval, and pressing it goes on
        assert await scene.actions() == {"abort", "run", "approve-finerank"}
        await scene.press("approve-finerank")
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted")
        await scene.until_health("Healthy")
        assert in_order(scene.looks.healths(), ["Progressing", "Suspended", "Progressing", "Healthy"])
        # and nothing but the annotations of the request is written by it
        assert written_by(scene, "argocd-server") == {"rewriter.dev/approve", "rewriter.dev/asked"}

    play(stage, f"first-{'server' if options else 'client'}", story)


def test_abort_retry_run_and_rollback_do_what_the_plugin_does(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        await given_in_git(scene, constants(), release(**HELD_STAGES))
        # A candidate is aborted, and the cycle is tried again
        await scene.until("the candidate waits", scene.waits)
        await scene.press("abort")
        await scene.until("cycle 1 is aborted", lambda: scene.outcome(1) == "Aborted" and scene.state() == "Idle")
        assert "retry" in await scene.actions()
        await scene.press("retry")
        await approved(scene, 2)
        # A third cycle is asked for, and then the second one's revision back
        await scene.press("run")
        await approved(scene, 3)
        await scene.until("r0003 serves", lambda: scene.serving()["finerank"] == {f"{RELEASE}-r0003"})
        await scene.press("rollback-to-previous")
        await scene.until("r0002 serves again", lambda: scene.serving()["finerank"] == {f"{RELEASE}-r0002"})
        await scene.until("it rests", lambda: scene.state() == "Idle")
        await scene.until_health("Healthy")

    play(stage, "actions", story)


async def approved(scene: Scene, number: int) -> None:
    """A cycle that waits is approved in Argo CD, and promoted."""
    cycle = lambda: scene.status().get("cycle", {}).get("number")  # noqa: E731
    await scene.until(f"cycle {number} waits", lambda: cycle() == number and scene.waits())
    await scene.until_health("Suspended")
    await scene.press("approve-finerank")
    await scene.until(f"cycle {number} is promoted", lambda: scene.outcome(number) == "Promoted")
    await scene.until("it rests", lambda: scene.state() == "Idle")


def test_a_verdict_and_a_promotion_that_are_left_to_a_person_are_suspended_until_approved(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        # Given a candidate that the gate cannot tell from what serves, and promotions that a person decides
        left = {"gate.onInconclusive": "Hold", "rollout.autoPromote": False}
        await given_in_git(scene, constants(), release(**left))
        await scene.until("the gate holds", lambda: scene.state() == "Holding")
        await scene.until_health("Suspended")
        assert "approve-gate" in await scene.actions()
        await scene.press("approve-gate")
        await scene.until_health("Progressing")
        await scene.until("the promotion waits", lambda: "promotion" in scene.status().get("cycle", {}))
        await scene.until_health("Suspended")
        assert "approve-promotion" in await scene.actions()
        await scene.press("approve-promotion")
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted")
        await scene.until_health("Healthy")

    play(stage, "left-to-a-person", story, UNDECIDED)


def test_a_rejected_candidate_shows_as_the_user_chose_in_git(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        # Given a candidate that the gate refuses
        await given_in_git(scene, constants(), release())
        await scene.until("cycle 1 is rejected", lambda: scene.outcome(1) == "Rejected")
        # Then what serves is what served before: Healthy
        await scene.until_health("Healthy")
        assert "Degraded" not in scene.looks.healths()
        # When the team wants to see it, and no longer
        await scene.commit(constants(), release({"rewriter.dev/argocd-not-promoted": "Degraded"}))
        await scene.until_followed()
        await scene.until_health("Degraded")
        await scene.commit(constants(), release())
        await scene.until_followed()
        await scene.until_health("Healthy")
        assert scene.outcome(2) == "", "an annotation starts no cycle"

    play(stage, "rejected", story, REFUSED)


def test_a_release_that_needs_a_person_is_degraded_until_it_is_mended_in_git(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        # Given a release whose constants were forgotten in Git
        await given_in_git(scene, release())
        await scene.until_health("Degraded")
        stalled = {item["type"]: item["reason"] for item in scene.status()["conditions"] if item["status"] == "True"}
        assert stalled["Stalled"] == "FusionConfigMissing"
        # When they are there
        await scene.commit(constants(), release())
        await scene.until_followed()
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted")
        await scene.until_health("Healthy")

    play(stage, "stalled", story)


def test_a_later_sync_wave_waits_until_the_release_is_healthy(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        after = Appearance(scene, "after")
        await scene.commit(constants(), release({WAVE: "1"}), config_map("after", **{WAVE: "2"}))
        await scene.follow(SERVER_SIDE)
        await scene.until("the later wave was applied", after.has_come)
        assert after.outcome == "Promoted" and "Healthy" in scene.looks.healths()
        await scene.until_followed()

    play(stage, "wave-waits", story)


def test_the_sample_lets_later_waves_go_on_during_a_cycle(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        after = Appearance(scene, "after")
        await scene.commit(*sample(), config_map("after", **{WAVE: "2"}))
        # When Argo CD applies it
        await scene.follow(SERVER_SIDE)
        await scene.until("the later wave was applied", after.has_come)
        # Then it waited until every stage was served, and for no cycle
        assert after.outcome == "" and after.state != "Bootstrapping"
        await scene.until_followed()
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted")
        await scene.until("it rests", lambda: scene.state() == "Idle")
        await scene.until_health("Healthy")
        said = scene.looks.healths()
        assert said[said.index("Progressing") :] == ["Progressing", "Healthy"], "a whole cycle without another word"

    play(stage, "sample", story)


def sample() -> list[dict[str, Any]]:
    """As it ships, but for what this volume holds, and for what would take an hour."""
    found = list(yaml.safe_load_all((REPOSITORY / "manifests/samples/gitops.yaml").read_text()))
    (shop,) = (item for item in found if item["kind"] == "RewriterRelease")
    shop["spec"]["model"]["path"] = "base/tiny"
    shop["spec"]["rollout"]["bake"] = "5s"
    return found


def test_a_release_that_is_shown_as_degraded_fails_a_sync_before_its_later_waves(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        # Given the sample with something after it, whose candidate was refused: Degraded, as it chose
        after = config_map("after", **{WAVE: "2"})
        await scene.commit(*sample(), after)
        await scene.follow(SERVER_SIDE, retries=1)
        await scene.until_followed()
        await scene.until("cycle 1 is rejected", lambda: scene.outcome(1) == "Rejected")
        await scene.until_health("Degraded")
        # When a commit is about something else
        await scene.commit(*sample(), after | {"data": {"of": "another day"}})
        await scene.until("Argo CD has ended its sync", lambda: scene.phase() == "Failed")
        # Then the later wave is not applied
        assert scene.sync() == "OutOfSync"
        assert scene.view.objects["ConfigMap", "after"]["data"] == {"of": "the team"}

    play(stage, "degraded-wave", story, REFUSED)


class Appearance:
    """Where the release was when a ConfigMap first came."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.name = scene, name
        self.state = self.outcome = ""
        self._came = False
        scene.view.listeners.append(self._see)

    def has_come(self) -> bool:
        return self._came

    def _see(self, happened: str, item: dict[str, Any]) -> None:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == self.name and not self._came:
            self._came, self.state, self.outcome = True, self.scene.state(), self.scene.outcome(1)


def test_what_is_lost_in_the_cluster_comes_back_from_git_and_the_promoted_revision_serves_first(stage: Stage) -> None:
    async def story(scene: Scene) -> None:
        await given_in_git(scene, constants(), release())
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted" and scene.state() == "Idle")
        await scene.until_health("Healthy")
        lost = scene.release()["metadata"]["uid"]
        served: list[set[str]] = []
        scene.view.listeners.append(lambda _, item: note_serving(scene, item, lost, served))
        # When the release is deleted
        await scene.delete_release()
        await scene.until(
            "Argo CD has made it again", lambda: scene.release().get("metadata", {}).get("uid", lost) != lost
        )
        # Then what was promoted serves before anything else does, and no cycle begins by itself
        revision = f"{RELEASE}-r0001"
        await scene.until("it rests", lambda: scene.state() == "Idle" and scene.serving()["finerank"] == {revision})
        await scene.until_followed()
        await scene.until_health("Healthy")
        assert served in ([{f"{RELEASE}-passthrough"}, {revision}], [{revision}])
        assert "cycle" not in scene.status() and not scene.status().get("history")
        assert scene.looks.seen[-1].excused == ""

    play(stage, "rebuilt", story)


def note_serving(scene: Scene, item: dict[str, Any], lost: str, served: list[set[str]]) -> None:
    """Whom the new release's route gives the requests of finerank to, each once in a row."""
    if item["kind"] == "HTTPRoute" and item["metadata"]["ownerReferences"][0]["uid"] != lost:
        serving = scene.serving().get("finerank", set())
        if serving and served[-1:] != [serving]:
            served.append(serving)


@OPTIONS
def test_a_hands_edit_is_undone_once_and_nobody_fights(stage: Stage, options: tuple[str, ...]) -> None:
    async def story(scene: Scene) -> None:
        await given_in_git(scene, constants(), release(historyLimit=5), options=options)
        await scene.until("cycle 1 is promoted", lambda: scene.outcome(1) == "Promoted" and scene.state() == "Idle")
        await scene.until_health("Healthy")
        generation, syncs = scene.release()["metadata"]["generation"], len(scene.operations)
        # When a hand changes what Git has
        await scene.edit({"spec": {"historyLimit": 7}})
        await scene.until("it is as in Git again", lambda: has_been_undone(scene, generation))
        await scene.until_followed()
        # Then it was written once, and stays
        await scene.quiet(15)
        assert scene.release()["metadata"]["generation"] == generation + 2
        assert len(scene.operations) == syncs + 1
        assert scene.health() == "Healthy" and scene.outcome(2) == ""

    play(stage, f"hand-{'server' if options else 'client'}", story)


def has_been_undone(scene: Scene, generation: int) -> bool:
    live = scene.release()
    return bool(live["metadata"]["generation"] > generation and live["spec"]["historyLimit"] == 5)


def in_order(words: list[str], wanted: list[str]) -> bool:
    """Whether `wanted` is a subsequence of `words` that ends with them."""
    rest = iter(words)
    with suppress(StopIteration):
        for word in wanted:
            while next(rest) != word:
                pass
        return next(rest, None) is None
    return False


def written_by(scene: Scene, manager: str) -> set[str]:
    """Annotations of the release that this manager owns; anything else that it owns under its own name."""
    found: set[str] = set()
    for entry in scene.release()["metadata"]["managedFields"]:
        if entry["manager"] == manager:
            for field, below in entry["fieldsV1"].items():
                annotations = below.get("f:annotations", {}) if field == "f:metadata" else {field: {}}
                found |= {name.removeprefix("f:") for name in annotations if name != "."}
    return found
