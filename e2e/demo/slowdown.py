"""Makes running pods really slow, as a noisy neighbour or a wrong limit would: their CPU limit is lowered while they
run, by the pod's `resize` subresource. No code of the product takes part, and no pod restarts.
"""

import json
from typing import Final

from e2e.demo.install import Site

CPU_LEFT: Final = "30m"
"""Of a core. Generation then takes tens of times as long, and the pod still answers its probes now and then."""


def slow_down(site: Site, deployment: str) -> list[str]:
    """Leave every pod of a serving Deployment so little CPU that it misses its deadlines; returns the pods' names."""
    selector = site.get("deployment", deployment)["spec"]["selector"]["matchLabels"]
    labels = ",".join(f"{name}={value}" for name, value in selector.items())
    resources = {"requests": {"cpu": CPU_LEFT}, "limits": {"cpu": CPU_LEFT}}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    names = [pod["metadata"]["name"] for pod in site.get("pods", "-l", labels)["items"]]
    for name in names:
        site.kubectl("patch", "pod", name, "--subresource", "resize", "-p", json.dumps(patch))
    return names
