"""A live object as the operator's own types: what the pure parts of the plugin work on."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.revision import RewriterRevisionSpec, RewriterRevisionStatus
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cli.asking import Refusal
from rewriter_operator.core.world import Release, Revision, Role, World

Body = Mapping[str, Any]


def world_of(live: Body, revisions: Sequence[Body]) -> World:
    """As much of a World as requests depend on: the release and its revisions.

    Raises:
        Refusal: when this version of the plugin cannot read the object.
    """
    metadata = live["metadata"]
    try:
        spec = RewriterReleaseSpec.model_validate(live["spec"])
        status = RewriterReleaseStatus.model_validate(live.get("status", {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refusal(f"release {metadata['name']} cannot be read: {place}: {first['msg']}") from error
    release = Release(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        created_at=0.0,
        annotations=metadata.get("annotations", {}),
        spec=spec,
        status=status,
    )
    children = tuple(_child(revision) for revision in revisions)
    return World(now=datetime.now(UTC).timestamp(), release=release, children=children)


def revision_of(live: Body) -> tuple[RewriterRevisionSpec, RewriterRevisionStatus]:
    """Spec and status of a RewriterRevision."""
    spec = RewriterRevisionSpec.model_validate(live["spec"])
    return spec, RewriterRevisionStatus.model_validate(live.get("status", {}))


def _child(live: Body) -> Revision:
    metadata = live["metadata"]
    return Revision(
        kind="RewriterRevision",
        name=metadata["name"],
        uid=metadata["uid"],
        role=Role.REVISION,
        cycle=int(live["spec"]["revision"]),
        number=0,
        spec_hash="",
        weights=live["spec"].get("weights", {}).get("version", ""),
        deleting="deletionTimestamp" in metadata,
    )
