"""The invariants I1 to I12, judged from outside: from what the API server says happened, in the order of etcd.

Nothing is judged while it is seen, because two watches have no common order; every object's resourceVersion is etcd's
revision, so the history is sorted by it first, and each change is judged against what was true at that revision.
It knows only the API: the states, the verdict, the shares, the route. It never asks the operator.

Attach it to any run over a cluster (a test's own process, no event loop needed):

    with watching(kubeconfig, "search") as monitor:
        ...                                    # the story
    assert monitor.violations() == []
    assert monitor.settled() == []             # where the story ends at rest
"""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewriter_operator.api.states import State
from rewriter_operator.core.states import TRAFFIC_STATES, TRANSITIONS
from tests.faults.cluster_client import ClusterClient
from tests.faults.cluster_view import ClusterView
from tests.faults.history import Change, is_going, release_name, release_of, releases
from tests.faults.settled import contradictions, settled
from tests.faults.what_serves import (
    what_a_revision_is_never_changes,
    what_serves_is_never_deleted,
    what_serves_is_never_given_up,
)

PASSTHROUGH = "passthrough"
LIVING = ("Pending", "Running")
LAST_WORDS_SECONDS = 2.0
"""What was written at the story's end may come this much later."""


@dataclass
class Monitor:
    """Collects with `see`, judges with `violations`."""

    changes: list[Change] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    since: str = ""
    """Objects that were created before this moment are another story's."""

    def see(self, happened: str, item: dict[str, Any]) -> None:
        """A listener of a ClusterView."""
        if item["metadata"].get("creationTimestamp", "") < self.since:
            return
        version = int(item["metadata"]["resourceVersion"])
        self.changes.append(Change(version, happened, item))
        if item["kind"] == "Secret" and release_name(item):
            self.tokens |= {base64.b64decode(value).decode() for value in item.get("data", {}).values()}

    def violations(self) -> list[str]:
        """Every breach of an invariant, as a sentence that begins with its number."""
        history = sorted(self.changes, key=lambda change: change.version)
        return [found for judge in JUDGES for found in judge(history)] + self.leaks(
            str(change.item) for change in history if change.kind != "Secret"
        )

    def settled(self) -> list[str]:
        """I6 of every release as it was last, before anybody deleted it: for a story that has come to rest."""
        last = {
            change.item["metadata"]["uid"]: change.item
            for change in sorted(self.changes, key=lambda change: change.version)
            if change.kind == "RewriterRelease" and not is_going(change)
        }
        return [line for item in last.values() for line in settled(item)]

    def silent_since(self, version: int) -> list[str]:
        """I10: what was written after this version of etcd; the watches may need a moment to tell of it."""
        return writes_in_silence(self.changes, version)

    def leaks(self, texts: "Iterator[str] | list[str]") -> list[str]:
        """I12: the agents' token in any of these texts (objects; a caller adds logs and metrics)."""
        found = any(token in text for text in texts for token in self.tokens if token)
        return ["I12: the agents' token is told outside of its Secret"] if found else []


def traffic_goes_only_where_it_may(history: list[Change]) -> list[str]:
    """I1: a stage's requests go to its incumbent, or to a candidate whose gate passed, in a state that has traffic."""
    status: dict[str, dict[str, Any]] = {}
    found = []
    for change in history:
        release = release_of(change)
        if change.kind == "RewriterRelease":
            status[release] = change.item.get("status", {})
        elif change.kind in _ROUTES and change.happened != "DELETED":
            for stage, weights in route_weights(change.item).items():
                may = _may_answer(status.get(release, {}), stage.split()[0], release)
                odd = {service: weight for service, weight in weights.items() if weight and service not in may}
                if odd:
                    state = status.get(release, {}).get("state")
                    found.append(f"I1: {stage} gives {odd} while only {sorted(may)} may answer ({state})")
    return list(dict.fromkeys(found))


def candidates_share_never_rises_after_a_stop(history: list[Change]) -> list[str]:
    """I1: once an outcome other than Promoted is decided, no route gives the candidate more than the one before."""
    found, stopped, shares = [], dict[str, str](), dict[tuple[str, str], int]()
    for change in history:
        release = release_of(change)
        if change.kind == "RewriterRelease":
            cycle = change.item.get("status", {}).get("cycle") or {}
            bad = cycle.get("outcome") not in (None, "Promoted") and cycle.get("candidate")
            stopped[release] = f"{release}-r{cycle['candidate']['revision']:04d}" if bad else ""
        elif change.kind in _ROUTES and change.happened != "DELETED":
            for stage, weights in route_weights(change.item).items():
                candidate = stopped.get(release, "")
                now = weights.get(candidate, 0) if candidate else 0
                if candidate and now > shares.get((stage, candidate), 0):
                    found.append(f"I1: {stage}: share of {candidate} rises to {now} after its cycle was stopped")
                for service, weight in weights.items():
                    shares[(stage, service)] = weight
    return found


def one_trainer_at_a_time(history: list[Change]) -> list[str]:
    """I2: at most one trainer pod of a release exists, or one of each number where several train together."""
    living: dict[tuple[str, str], set[str]] = {}
    found = []
    for change in history:
        labels = change.item["metadata"].get("labels", {})
        if change.kind != "Pod" or labels.get("rewriter.dev/role") != "trainer":
            continue
        trainers = living.setdefault((release_of(change), labels.get("rewriter.dev/number", "")), set())
        if change.happened != "DELETED" and change.item.get("status", {}).get("phase", "Pending") in LIVING:
            trainers.add(change.item["metadata"]["uid"])
        else:
            trainers.discard(change.item["metadata"]["uid"])
        if len(trainers) > 1:
            found.append(f"I2: {len(trainers)} trainers at revision {change.version}")
    return found


def phases_only_go_on(history: list[Change]) -> list[str]:
    """I3: inside a cycle the phase number never falls, and rises by one."""
    found = []
    for change, before in releases(history):
        old, new = before.get("cycle") or {}, change.item.get("status", {}).get("cycle") or {}
        if old.get("number") != new.get("number") or not (old.get("phase") and new.get("phase")):
            continue
        step = new["phase"]["number"] - old["phase"]["number"]
        if step not in (0, 1):
            found.append(f"I3: phase {old['phase']['number']} is followed by {new['phase']['number']}")
    return found


def states_follow_the_table(history: list[Change]) -> list[str]:
    """I5: the state moves only as core/states.py lists, and cycle numbers only rise."""
    found = []
    for change, before in releases(history):
        status = change.item.get("status", {})
        if "state" not in before or "state" not in status:
            continue
        old, new = State(before["state"]), State(status["state"])
        if old is not new and new not in TRANSITIONS[old].values():
            found.append(f"I5: {old} is followed by {new}, which no event leads to")
        if status.get("lastCycleNumber", 0) < before.get("lastCycleNumber", 0):
            found.append(f"I5: cycle number falls to {status.get('lastCycleNumber')}")
    return found


def no_step_is_skipped(history: list[Change]) -> list[str]:
    """I5: inside a cycle a stage's step index never falls and rises by one."""
    found = []
    for change, before in releases(history):
        status = change.item.get("status", {})
        old_cycle, new_cycle = (before.get("cycle") or {}).get("number"), (status.get("cycle") or {}).get("number")
        if old_cycle != new_cycle or old_cycle is None:
            continue
        steps = {stage["name"]: stage.get("step", 0) for stage in before.get("stages", [])}
        for stage in status.get("stages", []):
            moved = stage.get("step", 0) - steps.get(stage["name"], stage.get("step", 0))
            if moved not in (0, 1):
                found.append(f"I5: {stage['name']}: step {steps[stage['name']]} is followed by {stage.get('step', 0)}")
    return found


def a_stage_is_left_only_when_verified(history: list[Change]) -> list[str]:
    """I5: a higher share is set only after the one before was verified."""
    found = []
    for change, before in releases(history):
        stages = {stage["name"]: stage for stage in before.get("stages", [])}
        for stage in change.item.get("status", {}).get("stages", []):
            old = stages.get(stage["name"], {})
            if stage.get("share", 0) > old.get("share", 0) > 0 and not old.get("verified"):
                found.append(f"I5: {stage['name']}: {old['share']} % is left for {stage['share']} % unverified")
    return found


def conditions_say_what_is_so(history: list[Change]) -> list[str]:
    """I6: at no moment does a condition contradict the state, the cycle or the shares."""
    found = [line for change, _ in releases(history) for line in contradictions(change.item)]
    return list(dict.fromkeys(found))


def no_object_is_made_twice(history: list[Change]) -> list[str]:
    """I11: no two objects of one kind and name live at the same time, and pods of a cycle are not made again for one
    another while the first still exists (the API server guarantees it; this guards the monitor itself)."""
    living: dict[tuple[str, str], str] = {}
    found = []
    for change in history:
        key, uid = (change.kind, change.name), change.item["metadata"]["uid"]
        if change.happened == "DELETED":
            if living.get(key) == uid:
                del living[key]
        elif living.setdefault(key, uid) != uid:
            living[key] = uid
            found.append(f"I11: {change.kind} {change.name} exists twice")
    return found


def children_go_with_their_release(history: list[Change]) -> list[str]:
    """I8: whoever makes a child of a release that is deleted leaves nothing behind."""
    ends = {change.item["metadata"]["uid"]: change.happened for change in history if change.kind == "RewriterRelease"}
    if not ends or any(happened != "DELETED" for happened in ends.values()):
        return []
    left: dict[str, str] = {}
    for change in history:
        if change.kind in ("RewriterRelease", "Event") or not release_of(change):
            continue  # of nobody, as the operator's own Deployment
        uid = change.item["metadata"]["uid"]
        if change.happened == "DELETED":
            left.pop(uid, None)
        else:
            left[uid] = f"{change.kind} {change.name}"
    return [f"I8: {name} outlives its release" for name in left.values()]


JUDGES: tuple[Callable[[list[Change]], list[str]], ...] = (
    traffic_goes_only_where_it_may,
    candidates_share_never_rises_after_a_stop,
    one_trainer_at_a_time,
    phases_only_go_on,
    what_a_revision_is_never_changes,
    what_serves_is_never_deleted,
    what_serves_is_never_given_up,
    states_follow_the_table,
    no_step_is_skipped,
    a_stage_is_left_only_when_verified,
    conditions_say_what_is_so,
    children_go_with_their_release,
    no_object_is_made_twice,
)


_ROUTES = ("HTTPRoute", "VirtualService")


def route_weights(route: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Stage -> Service -> weight; of a rule for some buckets of its users, `finerank ^(0[0-4])$` -> the same."""
    found = {}
    for rule in route["spec"].get("http", []):  # Istio's
        for match in rule.get("match", []):
            weights = {item["destination"]["host"]: int(item.get("weight", 100)) for item in rule.get("route", [])}
            stage = match["headers"]["x-rewriter-stage"]["exact"]
            buckets = [of["regex"] for of in match["headers"].values() if "regex" in of]
            found[" ".join([stage, *buckets])] = weights
    for rule in route["spec"].get("rules", []):
        headers = [header["value"] for match in rule.get("matches", []) for header in match.get("headers", [])]
        if headers:
            weights = {item["name"]: int(item.get("weight", 1)) for item in rule.get("backendRefs", [])}
            found[" ".join(headers)] = weights
    return found


def writes_in_silence(history: list[Change], since: int) -> list[str]:
    """I10: what changed after a version of etcd from which on nothing should."""
    return [
        f"I10: {change.kind} {change.name} changed in a steady state ({change.happened})"
        for change in history
        if change.kind != "Event" and change.version > since
    ]


def _may_answer(status: dict[str, Any], stage: str, release: str) -> set[str]:
    """Services that may answer a stage, by what status said when the route was written."""
    rows = {row["name"]: row for row in status.get("stages", [])}
    incumbent = (rows.get(stage, {}).get("incumbent") or {}).get("revision")
    may = {f"{release}-{PASSTHROUGH}" if incumbent is None else f"{release}-r{incumbent:04d}"}
    if status.get("state", State.BOOTSTRAPPING) == State.BOOTSTRAPPING:
        may.add(f"{release}-{PASSTHROUGH}")
    cycle = status.get("cycle") or {}
    verdict, hold = (cycle.get("gate") or {}).get("verdict"), cycle.get("hold") or {}
    passed = verdict == "Pass" or (verdict == "Inconclusive" and hold.get("approved") is True)
    if status.get("state") in TRAFFIC_STATES and passed and cycle.get("candidate"):
        may.add(f"{release}-r{cycle['candidate']['revision']:04d}")
    return may


@contextmanager
def watching(kubeconfig: Path, namespace: str, since: str | None = None) -> Iterator[Monitor]:
    """A monitor over a namespace, in a thread of its own, of all that is created from now on, or since a moment.

    Raises:
        RuntimeError: at the end, when it could not watch: a monitor that saw nothing would find nothing wrong.
    """
    monitor = Monitor(since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if since is None else since)
    stop, failures = threading.Event(), list[BaseException]()

    async def watch() -> None:
        client = ClusterClient.of(kubeconfig)
        view = ClusterView(client, namespace, listeners=[monitor.see])
        view.start()
        while not stop.is_set():
            await asyncio.sleep(0.2)
        await asyncio.sleep(LAST_WORDS_SECONDS)
        await view.stop()
        await client.close()

    def run() -> None:
        try:
            asyncio.run(watch())
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="monitor", daemon=True)
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join(30)
    if failures:
        raise RuntimeError(f"the monitor could not watch {namespace}: {failures[0]}") from failures[0]
