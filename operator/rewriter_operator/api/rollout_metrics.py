"""`spec.rollout.metrics`: what else judges a candidate: queries to Prometheus, and a web hook of the user's.

What follows from the answers is core/metric_looks.py.
"""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from rewriter_operator.api.metric_access import SERVICE_RULES, MetricService
from rewriter_operator.api.model import Name, SpecModel, rules
from rewriter_operator.api.stages import StageName
from rewriter_operator.api.value_rules import PRINTABLE, lasting, matching, sentence

PLACEHOLDERS: Final = ("candidate", "incumbent", "stage", "release", "namespace")
"""What a query may hold between doubled braces."""

COMPARES: Final = "{{incumbent}}"
"""A query with this compares, and is not asked where no incumbent answers beside the candidate: at a share of 100."""

_BOUND: Final = 1e9

_AnswerTimeout = Annotated[str, StringConstraints(max_length=6), lasting("1m")]

_Looks = Annotated[int, Field(ge=1, le=10)]

Bound = Annotated[float, Field(ge=-_BOUND, le=_BOUND)]


class PrometheusQuery(MetricService):
    """An instant query, asked with GET as Prometheus and all that speak its HTTP API answer it."""

    port: Annotated[int, Field(ge=1, le=65535)] = 9090
    path: Annotated[
        str,
        StringConstraints(max_length=256),
        matching(r"(/[A-Za-z0-9._-]+)*/api/v1/query", "must end in /api/v1/query, e.g. /prometheus/api/v1/query"),
    ] = "/api/v1/query"
    """Of the call; with what the server has before it, e.g. /prometheus/api/v1/query."""
    timeout: _AnswerTimeout = "5s"
    """Longest wait for one answer."""
    query: Annotated[
        str,
        StringConstraints(min_length=1, max_length=2048),
        matching(
            rf"([^{{]|\{{[^{{]|\{{\{{({'|'.join(PLACEHOLDERS)})\}}\}})*",
            f"may hold {', '.join(f'{{{{{name}}}}}' for name in PLACEHOLDERS)} and no other doubled brace",
        ),
        PRINTABLE,
    ]
    """PromQL with one number as its answer. {{candidate}} and {{incumbent}} become revisions, e.g. r0007 or
    passthrough; {{stage}}, {{release}} and {{namespace}} become names. A query with {{incumbent}} compares, and is not
    asked at a share of 100, where no incumbent answers."""


class WebHook(MetricService):
    """A POST to a service of yours, which answers with a number or a verdict (docs/rollout-metrics.md)."""

    timeout: _AnswerTimeout = "5s"
    """Longest wait for one answer."""


class RolloutMetric(SpecModel):
    """A number, or a verdict, that must be inside its bounds. Exactly one of prometheus, webhook.

    No answer, or one that is no number, is unknown: it holds every step, and never promotes.
    """

    name: Name
    """For status, Events and reports, e.g. ctr-loss."""
    prometheus: Annotated[PrometheusQuery, Field(json_schema_extra=SERVICE_RULES)] | None = None
    webhook: Annotated[WebHook, Field(json_schema_extra=SERVICE_RULES)] | None = None
    minimum: Bound | None = None
    """The least value that is inside."""
    maximum: Bound | None = None
    """The highest value that is inside."""
    interval: Annotated[str, StringConstraints(max_length=6), lasting("1h", shortest="5s")] = "30s"
    """Between two looks; the first is so long after a share was taken over."""
    success_limit: _Looks = 3
    """Looks in a row inside the bounds, at the share that is, before anything advances. An unknown one begins the row
    anew."""
    failure_limit: _Looks = 3
    """Looks outside the bounds, with none inside between them, that take the candidate back."""
    stages: Annotated[
        list[Annotated[StageName, Field(strict=False)]],
        Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Stages in which it is asked; all, when empty."""

    @property
    def service(self) -> PrometheusQuery | WebHook | None:
        """Whom it asks; None for one that was stored past the CRD: it is never answered."""
        return self.prometheus or self.webhook

    def is_of(self, stage: str) -> bool:
        """Whether it is asked in this stage at all."""
        return not self.stages or stage in self.stages


_KINDS = "(has(self.prometheus) ? 1 : 0) + (has(self.webhook) ? 1 : 0)"

METRIC_RULES: Final[dict[str, Any]] = rules(
    sentence(f"{_KINDS} == 1", "a metric is exactly one of prometheus, webhook", shown=_KINDS, got="%d of them"),
    sentence(
        "!has(self.prometheus) || has(self.minimum) || has(self.maximum)",
        "a query needs a bound for its value: set minimum, maximum or both",
        path=".minimum",
    ),
    sentence(
        "!has(self.minimum) || !has(self.maximum) || self.minimum <= self.maximum",
        "minimum must be at most maximum",
        shown="self.minimum, self.maximum",
        got="minimum %s and maximum %s",
        path=".minimum",
    ),
)

_TIME = "matches('^[1-9][0-9]{0,4}[smh]$')"

_NOT_OF_THE_RELEASE = "self.metrics.filter(m, !m.stages.all(s, self.stages.exists(t, t.name == s)))"
_TOO_SLOW = (
    f"self.metrics.filter(m, m.interval.{_TIME} && self.verification.timeout.{_TIME} &&"
    " 2 * m.successLimit * duration(m.interval).getSeconds() > duration(self.verification.timeout).getSeconds())"
)
_NEVER_ASKED = (
    f"self.metrics.filter(m, has(m.prometheus) && m.prometheus.query.contains('{COMPARES}') &&"
    " self.stages.exists(s, (m.stages.size() == 0 || s.name in m.stages) &&"
    " !s.steps.exists(t, has(t.setShare) && t.setShare < 100)))"
)

ROLLOUT_RULES: Final[dict[str, Any]] = rules(
    sentence(
        f"{_NOT_OF_THE_RELEASE}.size() == 0",
        "stages of a metric must be stages of this release",
        shown=f"{_NOT_OF_THE_RELEASE}.map(m, {{m.name: m.stages}})",
        path=".metrics",
    ),
    sentence(
        f"{_TOO_SLOW}.size() == 0",
        "successLimit looks must fit twice into spec.rollout.verification.timeout, so that one that fails costs no "
        "candidate; lower interval or successLimit, or raise the timeout",
        shown=f"{_TOO_SLOW}.map(m, m.name)",
        path=".metrics",
    ),
    sentence(
        f"{_NEVER_ASKED}.size() == 0",
        "a query with {{incumbent}} is not asked at a share of 100: each of its stages needs a setShare below 100",
        shown=f"{_NEVER_ASKED}.map(m, m.name)",
        path=".metrics",
    ),
)
