"""Every name, label and annotation of a child, as a function of (release, cycle, role, number).

Creating twice is harmless because the second one has the same name.
"""

import re
from typing import Final

from rewriter_operator.core.world import Role

LABEL_RELEASE: Final = "rewriter.dev/release"
LABEL_ROLE: Final = "rewriter.dev/role"
LABEL_CYCLE: Final = "rewriter.dev/cycle"
"""Cycle of a cycle's pods, revision of serving pods, -1 for the passthrough."""
LABEL_NUMBER: Final = "rewriter.dev/number"
LABEL_POOL: Final = "rewriter.dev/pool"
"""Of pods that can change revisions: they have the label of the cycle only while they serve one."""
LABEL_MANAGED: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "rewriter-operator"

ANNOTATION_HASH: Final = "rewriter.dev/spec-hash"
ANNOTATION_WITHDRAWN: Final = "rewriter.dev/withdrawn"
ANNOTATION_SHARES: Final = "rewriter.dev/shares"
ANNOTATION_SERVING: Final = "rewriter.dev/serving"
"""Of a pool's pod: JSON of ServingOrder."""
ANNOTATION_RELEASED: Final = "rewriter.dev/released-at"
ANNOTATION_ASSIGNED: Final = "rewriter.dev/assigned-at"


def cycle_pod(release: str, role: Role, cycle: int, number: int) -> str:
    """`shop-c0007-sampler-0`"""
    return f"{release}-c{cycle:04d}-{role}-{number}"


def meeting(release: str) -> str:
    """Headless Service of trainer pods that train together; also the subdomain of their names."""
    return f"{release}-trainer"


def serving(release: str, revision: int) -> str:
    """`shop-r0007`; `shop-passthrough` for -1. Of the Deployment, its Service and its budget."""
    return f"{release}-passthrough" if revision < 0 else f"{release}-r{revision:04d}"


def pool(release: str) -> str:
    """Of the Deployment whose pods serve whatever revision they are told to, and of its budget."""
    return f"{release}-serving"


def pool_labels(release: str) -> dict[str, str]:
    """What the pool finds its pods by: without the revision, which changes."""
    found = labels(release, Role.SERVING) | {LABEL_POOL: "serving"}
    del found[LABEL_CYCLE]
    return found


def revision_of(service: str, release: str) -> int | None:
    """7 for `shop-r0007`; None for the passthrough, and for what is no Service of ours."""
    found = re.fullmatch(re.escape(release) + r"-r([0-9]{4,9})", service)
    return int(found[1]) if found else None


def token(release: str) -> str:
    """Secret with the agents' token."""
    return f"{release}-agent-token"


def route(release: str) -> str:
    """Of the object that divides requests."""
    return f"{release}-rewrites"


def revision(release: str, number: int) -> str:
    """RewriterRevision, `shop-r0007`."""
    return f"{release}-r{number:04d}"


def labels(release: str, role: Role, cycle: int = 0, number: int = 0) -> dict[str, str]:
    """Labels of a child."""
    return {
        LABEL_MANAGED: MANAGER,
        LABEL_RELEASE: release,
        LABEL_ROLE: role.value,
        LABEL_CYCLE: "passthrough" if cycle < 0 else str(cycle),
        LABEL_NUMBER: str(number),
    }
