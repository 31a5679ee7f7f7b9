"""What the API server has kept of a status that it was given: with CRDs older than the operator, not all of it.

It drops fields that its schema does not know and says 200 OK. A release that is planned from a status with holes would
be decided anew forever, or wrongly; so the first field that is gone is named, and nothing goes on.
"""

from typing import Any

from rewriter_operator.cluster.kube import Forbidden, Invalid
from rewriter_operator.errors import Retry

REMEDY = "apply the crds/ of this operator's version, or run the operator version of the CRDs"

ROLE = "manifests/base/role.yaml"
"""Where the verbs are that an operator needs."""


class StatusRefused(Retry):
    """What is decided cannot be kept in the release's status; the message has the field or the API server's words."""


def refused(error: Forbidden | Invalid) -> StatusRefused:
    """The API server said no."""
    remedy = REMEDY if isinstance(error, Invalid) else f"give its Role the verb back ({ROLE})"
    return StatusRefused(f"the API server does not take this operator's status: {error}; {remedy}"[:1000])


def check_kept(given: dict[str, Any], stored: Any) -> None:
    """
    Raises:
        StatusRefused: naming the first field that is not as it was given.
    """
    place = _first_difference(given, stored, "status")
    if place:
        raise StatusRefused(f"{place}: the API server does not keep it, because its CRDs are older; {REMEDY}")


def _first_difference(given: Any, stored: Any, place: str) -> str:
    """Path of the first value that is missing or another; empty where all is there, whatever else may be."""
    steps: list[tuple[str, Any, Any]]
    match given, stored:
        case dict(), dict():
            steps = [(f"{place}.{key}", value, stored.get(key)) for key, value in given.items()]
        case list(), list() if len(given) == len(stored):
            steps = [(f"{place}[{at}]", value, stored[at]) for at, value in enumerate(given)]
        case _:
            return "" if given == stored else place
    return next((found for path, value, kept in steps if (found := _first_difference(value, kept, path))), "")
