"""What is said of a pod that does not get on, from status as a real kubelet writes it."""

from typing import Any

import pytest

from e2e.demo.install import last_words


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "prepare-tiny-x"}, "status": {"phase": "Pending", **status}}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
            "Evicted The node was low on resource: memory.",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available: 1 Insufficient memory.",
                    }
                ]
            },
            "PodScheduled: Unschedulable 0/1 nodes are available: 1 Insufficient memory.",
        ),
        (
            {
                "containerStatuses": [
                    {
                        "name": "model",
                        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
                    }
                ]
            },
            "container model: ImagePullBackOff Back-off pulling image",
        ),
        (
            {"initContainerStatuses": [{"name": "collection", "state": {"terminated": {"reason": "OOMKilled"}}}]},
            "container collection: OOMKilled",
        ),
    ],
)
def test_a_stuck_pod_says_why(status: dict[str, Any], said: str) -> None:
    words = last_words(pod(**status))
    assert words.startswith("prepare-tiny-x: ")
    assert said in words


def test_what_is_as_it_should_be_is_not_said() -> None:
    done = {"name": "collection", "state": {"terminated": {"reason": "Completed"}}}
    running = {"name": "model", "state": {"running": {"startedAt": "2026-11-24T10:00:00Z"}}}
    words = last_words(pod(phase="Running", initContainerStatuses=[done], containerStatuses=[running]))
    assert words == "prepare-tiny-x: Running"
