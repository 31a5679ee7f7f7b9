"""How a service of spec.rollout.metrics is reached: over TLS or not, by which CAs, with which credentials and headers.

A spec only names credentials. Where they may be sent is for the owner of their Secret to say, with the label and the
annotations below: whoever may write a release must not read a Secret by having it sent to a service of theirs.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from rewriter_operator.api.endpoint import ServiceEndpoint
from rewriter_operator.api.model import GROUP, SpecModel, rules
from rewriter_operator.api.value_rules import QUOTED, ValueRule, matching, sentence

CREDENTIALS_LABEL: Final = f"{GROUP}/metrics-credentials"
"""`true` on a Secret whose keys releases may name. No other Secret is looked at."""

URLS_ANNOTATION: Final = f"{GROUP}/metrics-urls"
"""On that Secret: the URLs that it may be sent to, with blanks or commas between them."""

CA_ANNOTATION: Final = f"{GROUP}/metrics-ca"
"""On that Secret: the ConfigMaps whose CAs may vouch for those URLs; without it only the system's CAs may."""

_OBJECT = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"

_ObjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=253),
    matching(_OBJECT, "must be the name of an object in the release namespace, e.g. thanos-token"),
]

_Key = Annotated[
    str, StringConstraints(max_length=253), matching(r"[A-Za-z0-9._-]+", "must be one of its keys, e.g. token")
]


class SecretKeyReference(SpecModel):
    """One key of a Secret in the release's namespace, which carries the label rewriter.dev/metrics-credentials."""

    name: _ObjectName
    key: _Key


class ConfigMapKeyReference(SpecModel):
    """One key of a ConfigMap in the release's namespace."""

    name: _ObjectName
    key: _Key


class SecretValue(SpecModel):
    """A text that is in a Secret."""

    secret_key_ref: SecretKeyReference


class CaBundle(SpecModel):
    """Certificates of CAs, in PEM."""

    config_map_key_ref: ConfigMapKeyReference


class BasicAuthorization(SpecModel):
    """User and password."""

    username: SecretValue
    password: SecretValue


class Authorization(SpecModel):
    """What the header Authorization is made of. Exactly one of bearer, basic."""

    bearer: SecretValue | None = None
    """A token: `Authorization: Bearer ...`."""
    basic: BasicAuthorization | None = None
    allow_plaintext: bool = False
    """True: it may go over HTTP, where whoever is between may read it. The Secret has to name the http:// URL, too."""


_CREDENTIALS = r"(?i)^.*(auth|cookie|token|secret|passw|credential|api-?key|session|jwt|signature).*$"
_OF_THE_CALL = (
    r"(?i)^(host|connection|keep-alive|content-.*|transfer-encoding|te|trailer|upgrade|expect|accept.*|date|via|origin"
    r"|referer|forwarded|proxy-.*|sec-.*|(x-)?(remote|original|rewrite|real|forwarded|envoy|http-method|method)-.*"
    r"|impersonate-.*)$"
)


def _not(pattern: str, must: str) -> ValueRule:
    form = re.compile(pattern)
    return ValueRule(f"!self.matches(r'{pattern}')", lambda text: form.match(text) is None, must, got=QUOTED)


class Header(SpecModel):
    """A fixed header of every call."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        matching(r"[A-Za-z][A-Za-z0-9-]*", "must be letters, digits and hyphens, e.g. X-Scope-OrgID"),
        _not(_CREDENTIALS, "must be no header of credentials, which everybody may read in a spec; use authorization"),
        _not(
            _OF_THE_CALL,
            "must be no header that says whom a call is for, who sends it or how, e.g. not Host; use X-Scope-OrgID and "
            "such",
        ),
    ]
    """E.g. X-Scope-OrgID. No header of credentials, and none that is the call's own, such as Host."""
    value: Annotated[
        str,
        StringConstraints(min_length=1, max_length=256),
        matching(r"[!-~]([ -~]*[!-~])?", "must be printable ASCII on one line, e.g. search"),
        _not(
            r"(?i)^(bearer|basic|digest|apikey)\s.*$",
            "must be no credentials, which everybody may read in a spec; use authorization",
        ),
    ]
    """Everybody who may read the release may read it."""


AUTHORIZATION_RULES: Final[dict[str, Any]] = rules(
    sentence(
        "(has(self.bearer) ? 1 : 0) + (has(self.basic) ? 1 : 0) == 1",
        "authorization is exactly one of bearer, basic",
        shown="(has(self.bearer) ? 1 : 0) + (has(self.basic) ? 1 : 0)",
        got="%d of them",
    )
)


class MetricService(ServiceEndpoint):
    """A service that is asked for a metric."""

    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    """HTTPS: over TLS, and only to a server whose certificate holds; there is no way to go without."""
    server_name: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=253),
            matching(_OBJECT, "must be a name in the server certificate, e.g. thanos.monitoring.svc"),
        ]
        | None
    ) = None
    """The name that its certificate must have, and that it is called by (SNI, Host), where that is not the Service's
    own, NAME.NAMESPACE.svc: of a server elsewhere, behind a Service of type ExternalName."""
    ca_bundle: CaBundle | None = None
    """The CAs that may have signed its certificate; empty: those of the operator's image."""
    authorization: Annotated[Authorization, Field(json_schema_extra=AUTHORIZATION_RULES)] | None = None
    """Read anew for a look that is due, from a Secret that may be sent to this URL (docs/rollout-metrics.md)."""
    headers: Annotated[
        list[Header],
        Field(
            max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = []
    """Fixed headers that are no credentials, e.g. of a tenant."""


_OVER_TLS = "self.scheme == 'HTTPS'"
_ALLOWED = "has(self.authorization.allowPlaintext) && self.authorization.allowPlaintext"

SERVICE_RULES: Final[dict[str, Any]] = rules(
    sentence(
        f"{_OVER_TLS} || !has(self.caBundle)",
        "CAs are for TLS: set scheme to HTTPS, or take caBundle away",
        shown="self.scheme",
        got="scheme %s",
        path=".caBundle",
    ),
    sentence(
        f"{_OVER_TLS} || !has(self.serverName)",
        "names of certificates are for TLS: set scheme to HTTPS, or take serverName away",
        shown="self.scheme",
        got="scheme %s",
        path=".serverName",
    ),
    sentence(
        f"{_OVER_TLS} || !has(self.authorization) || ({_ALLOWED})",
        "credentials go over TLS: set scheme to HTTPS; or allowPlaintext to true, and whoever is between reads them",
        shown="self.scheme",
        got="scheme %s",
        path=".authorization",
    ),
)
