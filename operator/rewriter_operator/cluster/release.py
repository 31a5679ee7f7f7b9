"""The release as the API server has it, read into the operator's own types."""

from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from rewriter_operator.api.model import ApiModel
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.api.status import RewriterReleaseStatus
from rewriter_operator.cluster.managers import annotation_managers
from rewriter_operator.core.world import Release
from rewriter_operator.errors import Stalled

UNREADABLE_SECONDS: Final = 20.0
"""Between two looks at an object that cannot be read: often enough to take its candidate back in time."""

_Model = TypeVar("_Model", bound=ApiModel)


def read_release(live: dict[str, Any]) -> Release:
    """
    Raises:
        Stalled: with field, value and remedy, when spec or status is not what this operator can read.
    """
    metadata = live["metadata"]
    return Release(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        created_at=datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00")).timestamp(),
        annotations=metadata.get("annotations", {}),
        spec=_part(RewriterReleaseSpec, live, "spec"),
        status=_part(RewriterReleaseStatus, live, "status"),
        managers=annotation_managers(metadata),
    )


def _part(model: type[_Model], live: dict[str, Any], key: str) -> _Model:
    try:
        return model.model_validate(live.get(key, {}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (key, *first["loc"]))
        remedy = "mend it, or run the operator version that wrote it"
        why = f"{place}: got {str(first.get('input'))[:80]!r}: {first['msg']}; {remedy}"
        raise Stalled(why, UNREADABLE_SECONDS) from error
