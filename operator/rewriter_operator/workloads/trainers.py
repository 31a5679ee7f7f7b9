"""Several trainer pods of one phase: how they find each other, and how a queue takes them."""

from typing import Any, Final, TypeVar

from rewriter_contract import env, wire
from rewriter_contract.messages import TrainerGroup
from rewriter_operator.api.release import Pods
from rewriter_operator.core.decision import WantedPod
from rewriter_operator.core.world import Role
from rewriter_operator.workloads import names

KUEUE: Final = "kueue.x-k8s.io/"
QUEUE: Final = KUEUE + "queue-name"
POD_GROUP: Final = KUEUE + "pod-group-name"
POD_GROUP_SIZE: Final = KUEUE + "pod-group-total-count"

MEETING_PORT: Final = 29500
"""torchrun's own default. The workers then talk on whatever ports are free."""

PodsT = TypeVar("PodsT", bound=Pods)


def group(release: str, wanted: WantedPod, pods: int) -> dict[str, str]:
    """Environment of a trainer pod: where it stands among those that train together; nothing where it is alone."""
    if pods == 1:
        return {}
    hosts = [
        f"{names.cycle_pod(release, Role.TRAINER, wanted.cycle, number)}.{names.meeting(release)}"
        for number in (0, wanted.number)
    ]
    told = TrainerGroup(pods, wanted.number, host=hosts[1], meeting=f"{hosts[0]}:{MEETING_PORT}")
    return {env.TRAINER_GROUP: wire.dumps(told)}


def meeting(release: str) -> dict[str, Any]:
    """The headless Service that gives each trainer pod a name, ready or not: they wait for each other."""
    labels = names.labels(release, Role.TRAINER)
    selected = {key: labels[key] for key in (names.LABEL_RELEASE, names.LABEL_ROLE)}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": names.meeting(release), "labels": labels},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selected,
            "ports": [{"name": "meeting", "port": MEETING_PORT, "targetPort": MEETING_PORT, "protocol": "TCP"}],
        },
    }


def queued_as_one(pods: PodsT, name: str, count: int) -> PodsT:
    """Where Kueue queues the pods: as one group, so that it never admits a part that would wait for the rest.

    What the release says of the group itself stays.
    """
    if QUEUE not in pods.labels:
        return pods
    labels = {POD_GROUP: name, **pods.labels}
    annotations = {POD_GROUP_SIZE: str(count), **pods.annotations}
    return pods.model_copy(update={"labels": labels, "annotations": annotations})
