"""Manifests of trainer pods that train together: each has a name that the others find; a queue takes all or none."""

from typing import Any

import pytest

from rewriter_contract import env, wire
from rewriter_contract.messages import TrainerGroup
from rewriter_operator.core.decision import WantedMeeting, WantedPod
from rewriter_operator.core.world import Role
from rewriter_operator.workloads.render import render
from tests.builders import INSTALLATION, make_spec, make_world

QUEUE = {"kueue.x-k8s.io/queue-name": "gpus"}
GROUP, SIZE = "kueue.x-k8s.io/pod-group-name", "kueue.x-k8s.io/pod-group-total-count"


def trainer(number: int, **changes: Any) -> dict[str, Any]:
    """The pod of that number in cycle 7."""
    release = make_world(make_spec(**changes)).release
    return render(release, (WantedPod(Role.TRAINER, 7, number),), INSTALLATION)[0].body


def group_of(pod: dict[str, Any]) -> TrainerGroup | None:
    variables = {item["name"]: item.get("value", "") for item in pod["spec"]["containers"][0]["env"]}
    return wire.loads(TrainerGroup, variables[env.TRAINER_GROUP]) if env.TRAINER_GROUP in variables else None


def test_every_pod_knows_its_own_name_and_where_all_meet() -> None:
    pods = [trainer(number, **{"training.trainer.replicas": 3}) for number in range(3)]
    names = [f"shop-c0007-trainer-{number}.shop-trainer" for number in range(3)]
    meeting = f"{names[0]}:29500"
    assert [group_of(pod) for pod in pods] == [TrainerGroup(3, n, host, meeting) for n, host in enumerate(names)]
    assert [f"{pod['spec']['hostname']}.{pod['spec']['subdomain']}" for pod in pods] == names
    assert [pod["metadata"]["name"] for pod in pods] == [pod["spec"]["hostname"] for pod in pods]


def test_the_service_names_pods_before_they_are_ready_and_selects_all_of_them_and_nothing_else() -> None:
    spec = make_spec(**{"training.trainer.replicas": 2})
    (service,) = render(make_world(spec).release, (WantedMeeting(),), INSTALLATION)
    selector = service.body["spec"]["selector"]
    assert (service.name, service.body["spec"]["clusterIP"]) == ("shop-trainer", "None")
    assert service.body["spec"]["publishNotReadyAddresses"] is True
    assert all(selector.items() <= trainer(n)["metadata"]["labels"].items() for n in range(2))
    sampler = render(make_world(spec).release, (WantedPod(Role.SAMPLER, 7),), INSTALLATION)[0].body
    assert not selector.items() <= sampler["metadata"]["labels"].items()


def test_one_trainer_is_made_as_it_always_was() -> None:
    pod = trainer(0, **{"training.trainer.labels": QUEUE})
    assert group_of(pod) is None and not {"hostname", "subdomain"} & pod["spec"].keys()
    assert GROUP not in pod["metadata"]["labels"] and SIZE not in pod["metadata"]["annotations"]


def test_kueue_admits_all_pods_of_a_cycle_or_none() -> None:
    changes = {"training.trainer.replicas": 4, "training.trainer.labels": QUEUE}
    metadata = [trainer(number, **changes)["metadata"] for number in range(4)]
    assert {item["labels"][GROUP] for item in metadata} == {"shop-c0007-trainer"}
    assert {item["annotations"][SIZE] for item in metadata} == {"4"}


@pytest.mark.parametrize("queue", [{}, QUEUE | {GROUP: "mine"}], ids=["no queue", "a group of the user's own"])
def test_a_group_is_neither_made_without_a_queue_nor_in_place_of_the_users(queue: dict[str, str]) -> None:
    changes = {"training.trainer.replicas": 2, "training.trainer.labels": queue}
    assert trainer(0, **changes)["metadata"]["labels"].get(GROUP) == queue.get(GROUP)


def test_a_prepare_pod_is_alone_whatever_the_trainers_are() -> None:
    release = make_world(make_spec(**{"training.trainer.replicas": 4, "training.trainer.labels": QUEUE})).release
    (record,) = render(release, (WantedPod(Role.RECORD, 7, 1),), INSTALLATION)
    assert group_of(record.body) is None and "kueue" not in str(record.body) and "subdomain" not in record.body["spec"]
