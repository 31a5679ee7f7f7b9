"""What kstatus makes of an object: the generic rules that Flux, kpt and `kubectl` plugins wait by, written out anew.

After sigs.k8s.io/cli-utils, pkg/kstatus/status: deletion, then the generation, then the first of Reconciling and
Stalled that is True in the order of the list, then Ready.
"""

from collections.abc import Mapping
from typing import Any


def computed(live: Mapping[str, Any]) -> str:
    """Terminating, InProgress, Failed or Current."""
    metadata, status = live["metadata"], live.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (condition["type"], condition["status"]) == ("Stalled", "True"):
            return "Failed"
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"
