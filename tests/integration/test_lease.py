"""Two real operators over one namespace of a real API server: one acts, and one that lost its lease does nothing."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api_relay import ApiRelay
from tests.integration.conftest import PATIENCE, Operator, Space, eventually, release
from tests.integration.test_operator_process import FIRST_CHILDREN, KINDS

pytestmark = pytest.mark.integration

LEASE = "rewriter-operator"
LEASE_SECONDS = 30
"""Longer than the default: a starved operator rightly loses its lease, which is not what is told here."""
LONGEST_LEASE_SECONDS = 300
"""So long that what comes well before its end did not wait for it."""


class Site:
    """A namespace with operators that each have a relay of their own to the API server."""

    def __init__(self, space: Space, directory: Path) -> None:
        self.space, self.directory = space, directory
        self.operators: list[Operator] = []
        self.relays: list[ApiRelay] = []

    def operator(self, name: str, lease_seconds: int = LEASE_SECONDS) -> tuple[Operator, ApiRelay]:
        relay = ApiRelay(self.space.api, self.directory, name)
        found = Operator(
            self.space,
            self.directory / f"{name}.log",
            pod=name,
            kubeconfig=relay.kubeconfig,
            lease_seconds=lease_seconds,
        )
        self.operators.append(found)
        self.relays.append(relay)
        return found, relay

    def leader_and_standby(self) -> tuple[Operator, ApiRelay, Operator, ApiRelay]:
        first, first_relay = self.operator("first")
        second, second_relay = self.operator("second")
        first.start()
        eventually(lambda: self.holder().startswith("first_"), PATIENCE, "the first leads")
        second.start()
        return first, first_relay, second, second_relay

    def prepares(self) -> None:
        """Waits until everything that a new release first needs exists."""
        eventually(lambda: self.space.names(KINDS) >= FIRST_CHILDREN, PATIENCE, "the first children exist")

    def lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.space.get("lease", LEASE).get("spec", {})
        return spec

    def holder(self) -> str:
        return str(self.lease().get("holderIdentity") or "")

    def epoch(self) -> int:
        return int(self.lease().get("leaseTransitions") or 0)

    def taken_over_by(self, name: str) -> bool:
        """It holds the lease, and has marked the release with its epoch."""
        return self.holder().startswith(f"{name}_") and self.release_epoch() == self.epoch()

    def release_epoch(self) -> int:
        return int(self.space.get("rr", "shop").get("status", {}).get("operatorEpoch", 0))

    def close(self) -> None:
        for operator in self.operators:
            if operator.process and operator.process.poll() is None:
                operator.process.send_signal(signal.SIGCONT)
                operator.kill()
        for relay in self.relays:
            if relay.hold:
                relay.hold.go.set()
            relay.close()


@pytest.fixture
def site(space: Space, tmp_path: Path) -> Iterator[Site]:
    found = Site(space, tmp_path)
    yield found
    found.close()


def spoil_nothing(space: Space) -> None:
    """The release's own next status write is what is wanted."""
    space.kubectl("delete", "configmap", "fusion")


def spoil_the_deployment(space: Space) -> None:
    """A child that must be put right."""
    space.kubectl("annotate", "--overwrite", "deployment", "shop-passthrough", "rewriter.dev/spec-hash=spoilt")


def add_a_pod_too_many(space: Space) -> None:
    """A child that must go."""
    owner = {
        "apiVersion": "rewriter.dev/v1alpha1",
        "kind": "RewriterRelease",
        "name": "shop",
        "uid": space.get("rr", "shop")["metadata"]["uid"],
    }
    labels = {
        "app.kubernetes.io/managed-by": "rewriter-operator",
        "rewriter.dev/release": "shop",
        "rewriter.dev/role": "trainer",
        "rewriter.dev/cycle": "99",
        "rewriter.dev/number": "0",
    }
    space.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "shop-c0099-trainer-0", "labels": labels, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "main", "image": "registry.test/trainer:1"}]},
        }
    )


@pytest.mark.parametrize(
    "method, part, cause",
    [
        pytest.param("PUT", "/rewriterreleases/shop/status", spoil_nothing, id="status"),
        pytest.param("PATCH", "/deployments/shop-passthrough", spoil_the_deployment, id="update"),
        pytest.param("DELETE", "/pods/shop-c0099-trainer-0", add_a_pod_too_many, id="delete"),
    ],
)
def test_a_leader_stopped_in_the_middle_of_a_write_writes_nothing_after_its_lease_is_taken(
    site: Site, method: str, part: str, cause: Callable[[Space], None]
) -> None:
    """The write is kept on the wire and comes in after the takeover: the case that no clock can prevent."""
    first, first_relay, _, second_relay = site.leader_and_standby()
    site.space.inputs()
    site.space.create(release())
    site.prepares()
    hold = first_relay.keep(lambda verb, path: verb == method and part in path)
    cause(site.space)
    assert hold.arrived.wait(PATIENCE), "the write is under way"
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    eventually(lambda: site.taken_over_by("second"), PATIENCE, "the second takes the lease and marks the release")
    eventually(lambda: bool(second_relay.acts()), PATIENCE, "the second writes")
    taken_over = second_relay.acts()[0].sent_at
    eventually(lambda: any(part in write.path for write in second_relay.acts()), PATIENCE, "it acts on the same object")

    hold.go.set()
    late = lambda: [write for write in first_relay.writes if write.sent_at > taken_over]  # noqa: E731
    eventually(lambda: len(late()) > 0, PATIENCE, "the late write has its answer")
    assert [(write.method, write.status) for write in late()] in ([(method, 409)], [(method, 404)])

    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(PATIENCE) == -signal.SIGALRM, "its own alarm ends a process that slept in a write"
    time.sleep(2)
    assert first_relay.acts(after=taken_over) == []


def test_a_leader_that_was_stopped_between_writes_steps_down_and_says_so(site: Site) -> None:
    first, first_relay, second, second_relay = site.leader_and_standby()
    site.space.inputs()
    site.space.create(release())
    site.prepares()
    time.sleep(10)
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    eventually(lambda: site.taken_over_by("second"), PATIENCE, "the second takes over")
    eventually(lambda: bool(second_relay.acts()), PATIENCE, "the second writes")
    taken_over = second_relay.acts()[0].sent_at
    spoil_the_deployment(site.space)
    first.process.send_signal(signal.SIGCONT)
    eventually(lambda: "is over, nothing is written any more" in first.log.read_text(), PATIENCE, "it says so")
    eventually(lambda: first.metric("rewriter_leader") == 0, PATIENCE, "it stands by")
    spoil_the_deployment(site.space)
    eventually(
        lambda: any("/deployments/" in write.path for write in second_relay.acts(taken_over)), PATIENCE, "it is mended"
    )
    assert first.process.poll() is None and first.is_healthy(), "it goes on as a standby"
    assert first_relay.acts(after=taken_over) == []
    second.kill(signal.SIGTERM)
    eventually(lambda: site.taken_over_by("first"), PATIENCE, "and leads again later")
    assert site.epoch() >= 3


def test_of_two_that_start_at_once_exactly_one_acts(site: Site) -> None:
    site.space.inputs()
    site.space.create(release())
    first, first_relay = site.operator("first", LONGEST_LEASE_SECONDS)
    second, second_relay = site.operator("second", LONGEST_LEASE_SECONDS)
    first.start()
    second.start()
    site.prepares()
    assert sorted([first.metric("rewriter_leader"), second.metric("rewriter_leader")]) == [0, 1]
    assert first.is_healthy() and second.is_healthy(), "a standby is ready"
    silent = [relay for relay in (first_relay, second_relay) if not relay.acts()]
    assert len(silent) == 1
    leader, standby = (first, second) if site.holder().startswith("first_") else (second, first)
    leader.kill(signal.SIGTERM)
    before_it_expires = LONGEST_LEASE_SECONDS * 0.7
    eventually(lambda: standby.metric("rewriter_leader") == 1, before_it_expires, "the lease was given back")
    eventually(lambda: "released, epoch" in leader.log.read_text(), PATIENCE, "it says so")


def test_without_the_api_server_a_leader_stops_acting_and_comes_back_under_a_new_epoch(site: Site) -> None:
    operator, relay = site.operator("first")
    operator.start()
    site.space.inputs()
    site.space.create(release())
    site.prepares()
    eventually(lambda: site.taken_over_by("first"), PATIENCE, "it acts under the first epoch")
    before = site.epoch()
    relay.is_cut = True
    eventually(lambda: operator.metric("rewriter_leader") == 0, PATIENCE, "the term ends")
    eventually(lambda: "the lease was not renewed for" in operator.log.read_text(), PATIENCE, "it says so")
    relay.is_cut = False
    eventually(lambda: site.release_epoch() > before, PATIENCE, "it leads again, and marks what it finds")
    assert operator.process and operator.process.poll() is None, "the same process, without a restart"


def test_a_lease_that_is_deleted_or_full_of_nonsense_never_brings_an_epoch_back(site: Site) -> None:
    operator, _ = site.operator("first")
    operator.start()
    site.space.inputs()
    site.space.create(release())
    eventually(lambda: site.taken_over_by("first"), PATIENCE, "the first epoch")
    first = site.epoch()
    site.space.kubectl("delete", "lease", LEASE)
    eventually(lambda: site.epoch() > first and site.taken_over_by("first"), PATIENCE, "made anew, higher")
    second = site.epoch()
    for time_of_another_world in ("1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"):
        patch = f'{{"spec": {{"renewTime": "{time_of_another_world}"}}}}'
        site.space.kubectl("patch", "lease", LEASE, "--type=merge", "-p", patch)
        eventually(lambda: site.lease()["renewTime"] != time_of_another_world, PATIENCE, "renewed over it")  # noqa: B023
    assert site.epoch() == second, "clocks of others decide nothing"
    site.space.kubectl("patch", "lease", LEASE, "--type=merge", "-p", '{"spec": {"leaseTransitions": 0}}')
    eventually(lambda: site.epoch() > second and site.taken_over_by("first"), PATIENCE, "an epoch never falls")


def test_a_crashed_container_does_not_wait_for_its_own_lease(site: Site) -> None:
    operator, _ = site.operator("first", LONGEST_LEASE_SECONDS)
    operator.start()
    eventually(lambda: site.epoch() == 1, PATIENCE, "it leads")
    operator.kill()
    operator.start()
    before_it_expires = LONGEST_LEASE_SECONDS * 0.7
    eventually(lambda: site.epoch() == 2, before_it_expires, "the holder is known to be dead")
    eventually(lambda: "an earlier process of this pod" in operator.log.read_text(), PATIENCE, "it says so")


def test_a_field_that_is_not_wanted_any_more_goes(site: Site) -> None:
    """What a create made belongs to server-side apply afterwards."""
    operator, _ = site.operator("first")
    operator.start()
    site.space.inputs()
    body = release(**{"traffic.hostnames": ["search.test"]})
    site.space.create(body)
    site.prepares()
    assert site.space.get("httproute", "shop-rewrites")["spec"]["hostnames"] == ["search.test"]
    site.space.kubectl("patch", "rr", "shop", "--type=json", "-p", '[{"op":"remove","path":"/spec/traffic/hostnames"}]')
    eventually(
        lambda: "hostnames" not in site.space.get("httproute", "shop-rewrites")["spec"], PATIENCE, "the field is gone"
    )
    owners = {item["manager"]: item["operation"] for item in _managers(site.space)}
    assert owners["rewriter-operator"] == "Apply"


def _managers(space: Space) -> list[dict[str, Any]]:
    text = space.kubectl("get", "httproute", "shop-rewrites", "-o", "json", "--show-managed-fields")
    found: list[dict[str, Any]] = json.loads(text)["metadata"]["managedFields"]
    return found
