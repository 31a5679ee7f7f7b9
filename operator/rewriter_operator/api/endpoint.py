"""A service of the user's that a release names: always by name, port and path, never by a URL or an address."""

from typing import Annotated

from pydantic import Field, StringConstraints

from rewriter_operator.api.model import CallTimeout, SpecModel
from rewriter_operator.api.value_rules import matching

ServiceName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    matching(
        r"[a-z]([-a-z0-9]*[a-z0-9])?",
        "must be the name of a Service in the release namespace, e.g. relevance; no URL, address or other namespace",
    ),
]


class ServiceEndpoint(SpecModel):
    """An HTTP service in the release's own namespace."""

    service_name: ServiceName
    """Name of a Service in the release's namespace."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    path: Annotated[
        str,
        StringConstraints(max_length=256),
        matching(
            r"/[A-Za-z0-9._/-]*", "must be the path of a call, e.g. /v1/score; host and port are fields of their own"
        ),
    ]
    """Path of the call, e.g. /v1/score."""
    timeout: CallTimeout = "10s"
    """Longest wait for one answer."""
