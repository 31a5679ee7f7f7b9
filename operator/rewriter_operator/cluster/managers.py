"""Who wrote an annotation, as far as the API server keeps it: the field manager. Nothing is decided by it.

A manager is the name that a client gave itself (kubectl-annotate, argocd-server), not a proven identity; that is in the
API server's audit log.
"""

from collections.abc import Mapping
from typing import Any

PREFIX = "f:rewriter.dev/"


def annotation_managers(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Annotation of ours -> the manager that wrote it last; those of nobody known are left out."""
    found: dict[str, tuple[str, str]] = {}
    for entry in metadata.get("managedFields") or []:
        fields = (entry.get("fieldsV1") or {}).get("f:metadata", {}).get("f:annotations", {})
        written = (str(entry.get("time", "")), str(entry.get("manager", "")))
        for key in fields:
            if key.startswith(PREFIX) and written[1]:
                name = key.removeprefix("f:")
                found[name] = max(found.get(name, written), written)
    return {name: manager for name, (_, manager) in found.items()}
