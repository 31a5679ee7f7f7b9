"""What a person may write wrongly into a release and the API server refuses, for docs/bad-input.md. Data only.

A row is a change on a good release, the words that the refusal must hold (field, value, remedy), and the change that
mends it. `row` is its number in docs/bad-input.md; several cases may show one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.builders import stage

ABSENT: Final = object()
"""As a value: the field is taken away."""

FULL: Final = {"setShare": 100}


@dataclass(frozen=True)
class Refused:
    """One case."""

    row: int
    case: str
    broken: Mapping[str, Any]
    """Dotted path from the object's root -> value."""
    says: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The change that mends it; none: the good release."""
    on_create: bool = True
    """False where only a change can be wrong."""
    on_update: bool = True
    """False where the field can only be written on creation."""


def _shadow(**changes: Any) -> dict[str, Any]:
    """A step; what is ABSENT is left out."""
    values = {"percent": 20, "duration": "30m"} | changes
    return {"shadow": {key: value for key, value in values.items() if value is not ABSENT}}


def stages(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"spec.rollout.stages": [stage("finerank", *steps)]}


def shares(*percents: Any) -> dict[str, Any]:
    return stages(*({"setShare": percent} for percent in percents))


def resources(**parts: dict[str, str]) -> dict[str, Any]:
    return {"spec.training.trainer.resources": parts}


def checks(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"spec.gate.checks": list(entries)}


def at(path: str, value: Any) -> dict[str, Any]:
    return {path: value}


FRONT: Final = {"name": "rewrites", "port": 80}
FRONT_ONLY: Final = {"spec.traffic.gateway": ABSENT, "spec.traffic.service": FRONT}
"""A release behind a Service."""
ISTIO_ONLY: Final = {"spec.traffic.gateway": ABSENT, "spec.traffic.virtualService": {"hosts": ["rewrites"]}}

_DECIDING = (
    *("RewardGain", "GoldNdcg", "GoldRecall", "NoRewardHacking", "TailLoss", "SliceRegressions", "LengthRatio"),
    *("LengthTail", "CopyRate", "Repetition", "Format", "DistinctRewrites", "LookAlikeLetters", "AddedWord"),
    *("UnrelatedRewrites", "SampledVariety"),
)
_A_PATH = "must be a relative path"
_A_DURATION = "must be a whole number of seconds, minutes or hours"
_A_SERVICE = "must be the name of a Service in the release namespace"
_AN_IMAGE = "must be a lower-case image with a tag or a digest"

SCHEDULES: Final = (
    Refused(
        7,
        "a window at 9:00",
        at("spec.rollout.windows", [{"from": "9:00", "to": "16:00"}]),
        ("spec.rollout.windows[0].from", "9:00", "must be hours and minutes from 00:00 to 23:59"),
        at("spec.rollout.windows", [{"from": "09:00", "to": "16:00"}]),
    ),
    Refused(
        7,
        "a freeze that ends before it begins",
        at("spec.rollout.freezes", [{"from": "2026-12-20T00:00:00Z", "to": "2026-01-02T00:00:00Z"}]),
        ("spec.rollout.freezes[0].to", "2026-01-02T00:00:00Z, from is 2026-12-20", "must be later than from"),
        at("spec.rollout.freezes", [{"from": "2026-12-20T00:00:00Z", "to": "2027-01-02T00:00:00Z"}]),
    ),
    Refused(
        7,
        "minute 61",
        at("spec.schedule", {"cron": "61 * * * *"}),
        ("spec.schedule.cron", '"61 * * * *"', "the minute must be one number from 0 to 59"),
        at("spec.schedule", {"cron": "1 * * * *"}),
    ),
    Refused(
        7,
        "hour 24",
        at("spec.schedule", {"cron": "0 24 * * *"}),
        ("spec.schedule.cron", '"0 24 * * *"', "the hour must be hours from 0 to 23"),
        at("spec.schedule", {"cron": "0 23 * * *"}),
    ),
    Refused(
        7,
        "a nickname",
        at("spec.schedule", {"cron": "@weekly and then some"}),
        ("spec.schedule.cron", '"@weekly and', "must be five fields"),
        at("spec.schedule", {"cron": "0 0 * * 0"}),
    ),
    Refused(
        7,
        "six fields",
        at("spec.schedule", {"cron": "0 0 3 * * 1"}),
        ("spec.schedule.cron", '"0 0 3 * * 1"', "must be five fields"),
        at("spec.schedule", {"cron": "0 3 * * 1"}),
    ),
    Refused(
        7,
        "two blanks",
        at("spec.schedule", {"cron": "0  3 * * 1"}),
        ("spec.schedule.cron", '"0  3 * * 1"', "one blank between them"),
        at("spec.schedule", {"cron": "0 3 * * 1"}),
    ),
    Refused(
        7,
        "empty",
        at("spec.schedule", {"cron": ""}),
        ("spec.schedule.cron", '""', "must be five fields"),
        at("spec.schedule", {"cron": "0 3 * * 1"}),
    ),
    Refused(
        7,
        "no cron",
        at("spec.schedule", {}),
        ("spec.schedule.cron", "Required value"),
        at("spec.schedule", {"cron": "0 3 * * 1"}),
    ),
    Refused(
        9,
        "every minute",
        at("spec.schedule", {"cron": "* * * * *"}),
        ("spec.schedule.cron", '"* * * * *"', "at least an hour apart"),
        at("spec.schedule", {"cron": "0 * * * *"}),
    ),
    Refused(
        9,
        "twice an hour",
        at("spec.schedule", {"cron": "0,30 3 * * *"}),
        ("spec.schedule.cron", '"0,30 3 * * *"', "at least an hour apart"),
        at("spec.schedule", {"cron": "0 3,4 * * *"}),
    ),
    Refused(
        10,
        "zone in the cron fields",
        at("spec.schedule", {"cron": "CRON_TZ=UTC 0 3 * * 1"}),
        ("spec.schedule.cron", "CRON_TZ=UTC", "must be five fields"),
        at("spec.schedule", {"cron": "0 3 * * 1"}),
    ),
    Refused(
        10,
        "zone that is a path",
        at("spec.schedule", {"cron": "0 3 * * 1", "timeZone": "../etc/passwd"}),
        ("spec.schedule.timeZone", '"../etc/passwd"', "IANA time zone"),
        at("spec.schedule", {"cron": "0 3 * * 1", "timeZone": "Europe/Berlin"}),
    ),
    Refused(
        18,
        "deadline of a start",
        at("spec.schedule", {"cron": "0 3 * * 1", "startingDeadline": "0s"}),
        ("spec.schedule.startingDeadline", '"0s"', _A_DURATION),
        at("spec.schedule", {"cron": "0 3 * * 1", "startingDeadline": "30m"}),
    ),
)

SHAPE: Final = (
    Refused(1, "misspelt", at("spec.modle", {"path": "base/tiny"}), ('unknown field "spec.modle"',)),
    Refused(2, "no model", at("spec.model", ABSENT), ("spec.model", "Required value")),
    Refused(2, "no spec", at("spec", ABSENT), ("spec", "Required value")),
    Refused(
        3,
        "a word for a number",
        at("spec.training.phases", "eight"),
        ("spec.training.phases", '"string"', "must be of type integer"),
        at("spec.training.phases", 8),
    ),
    *(
        Refused(
            4,
            f"{phases} phases",
            at("spec.training.phases", phases),
            ("spec.training.phases", str(phases), remedy),
            at("spec.training.phases", 8),
        )
        for phases, remedy in (
            (0, "greater than or equal to 1"),
            (-1, "greater than or equal to 1"),
            (10001, "less than or equal to 1000"),
        )
    ),
    Refused(
        5,
        "name of 41 characters",
        at("metadata.name", "s" * 41),
        ("metadata.name", "41 characters", "at most 40 characters"),
        on_update=False,
    ),
    Refused(
        6,
        "name with a dot",
        at("metadata.name", "shop.search"),
        ("metadata.name", "shop.search", "DNS label that begins with a letter"),
        on_update=False,
    ),
    Refused(
        6,
        "name that begins with a digit",
        at("metadata.name", "9shop"),
        ("metadata.name", "9shop", "DNS label that begins with a letter"),
        on_update=False,
    ),
    Refused(
        60,
        "name with a homoglyph",
        at("metadata.name", "sh\u043ep"),
        ("metadata.name", "sh\u043ep", "lower case alphanumeric"),
        on_update=False,
    ),
    Refused(
        60, "emoji in a path", at("spec.model.path", "base/\U0001f600"), ("spec.model.path", "\U0001f600", _A_PATH)
    ),
    Refused(
        60,
        "right-to-left mark in a stage",
        at("spec.rollout.stages", [stage("finerank\u200f", FULL)]),
        ("spec.rollout.stages[0].name", "Unsupported value", '"finerank"'),
    ),
    Refused(
        59,
        "10,000 steps",
        stages(*({"pause": {}} for _ in range(10_000)), FULL),
        ("spec.rollout.stages[0].steps", "must have at most 32 items"),
    ),
    Refused(
        59,
        "template of a megabyte",
        at("spec.model.prompt", {"template": "{query}" + "x" * 1_000_000}),
        ("spec.model.prompt.template", "may not be more than 4096"),
    ),
)

ROLLOUT: Final = (
    Refused(11, "no stages", at("spec.rollout.stages", []), ("spec.rollout.stages", "should have at least 1 items")),
    Refused(
        12,
        "a stage twice",
        at("spec.rollout.stages", [stage("finerank", FULL), stage("finerank", FULL)]),
        ("spec.rollout.stages[1]", "Duplicate value", "finerank"),
    ),
    Refused(
        13,
        "an unknown stage",
        at("spec.rollout.stages", [stage("prerank", FULL)]),
        ("spec.rollout.stages[0].name", '"prerank"', '"finerank", "rawrank", "recall"'),
    ),
    Refused(
        14,
        "shares that fall",
        shares(1, 25, 5, 100),
        ("spec.rollout.stages[0].steps", "[1, 25, 5, 100]", "must rise", "e.g. 5, 25, 100"),
        shares(1, 5, 25, 100),
    ),
    Refused(
        14,
        "a share twice",
        shares(5, 5, 100),
        ("spec.rollout.stages[0].steps", "[5, 5, 100]", "must differ"),
        shares(5, 25, 100),
    ),
    *(
        Refused(
            15,
            f"share {share}",
            shares(share, 100),
            ("spec.rollout.stages[0].steps[0].setShare", shown, remedy),
            shares(33, 100),
        )
        for share, shown, remedy in (
            (0, "0", "greater than or equal to 1"),
            (101, "101", "less than or equal to 100"),
            (-5, "-5", "greater than or equal to 1"),
            (33.3, '"number"', "must be of type integer"),
        )
    ),
    Refused(
        16,
        "it ends at 50",
        shares(10, 50),
        ("spec.rollout.stages[0].steps", "[10, 50]", "must be 100"),
        shares(10, 50, 100),
    ),
    Refused(16, "no steps", stages(), ("spec.rollout.stages[0].steps", "should have at least 1 items")),
    Refused(
        16,
        "a step of two kinds",
        stages({"setShare": 5, "pause": {}}, FULL),
        ("spec.rollout.stages[0].steps[0]", "got 2 of them", "exactly one of setShare, pause, analysis, shadow"),
        stages({"setShare": 5}, {"pause": {}}, FULL),
    ),
    Refused(
        16,
        "a step of no kind",
        stages({}, FULL),
        ("spec.rollout.stages[0].steps[0]", "got 0 of them", "exactly one of"),
    ),
    Refused(
        16,
        "analysis before any share",
        stages({"analysis": {}}, FULL),
        ("spec.rollout.stages[0].steps", "an analysis needs a setShare before it"),
        stages({"setShare": 5}, {"analysis": {}}, FULL),
    ),
    Refused(
        16,
        "analysis of a shadow",
        stages(_shadow(), {"analysis": {}}, FULL),
        ("spec.rollout.stages[0].steps", "an analysis needs a setShare before it"),
        stages(_shadow(), {"setShare": 5}, {"analysis": {}}, FULL),
    ),
    Refused(
        16,
        "a shadow that is a share, too",
        stages({"setShare": 5} | _shadow(), FULL),
        ("spec.rollout.stages[0].steps[0]", "got 2 of them", "exactly one of"),
        stages(_shadow(), {"setShare": 5}, FULL),
    ),
    *(
        Refused(
            16,
            case,
            stages(*steps),
            ("spec.rollout.stages[0].steps", f"got {shown}", "a shadow must stand before the first setShare"),
            stages({"pause": {}}, _shadow(), _shadow(percent=100), {"setShare": 5}, FULL),
        )
        for case, steps, shown in (
            ("a shadow after a share", ({"setShare": 5}, _shadow(), FULL), '["setShare", "shadow", "setShare"]'),
            ("a shadow at the end", (FULL, _shadow()), '["setShare", "shadow"]'),
        )
    ),
    *(
        Refused(
            16,
            f"a shadow of {'no' if percent is ABSENT else percent} percent",
            stages(_shadow(percent=percent), FULL),
            ("spec.rollout.stages[0].steps[0].shadow.percent", *says),
            stages(_shadow(percent=1), FULL),
        )
        for percent, *says in (
            (0, "0", "greater than or equal to 1"),
            (101, "101", "less than or equal to 100"),
            (ABSENT, "Required value"),
        )
    ),
    Refused(
        18,
        "a shadow without time",
        stages(_shadow(duration="0s"), FULL),
        ("spec.rollout.stages[0].steps[0].shadow.duration", '"0s"', _A_DURATION),
        stages(_shadow(duration="30m"), FULL),
    ),
    *(
        Refused(
            18,
            f"scaleDownDelay {text!r}",
            at("spec.serving.scaleDownDelay", text),
            ("spec.serving.scaleDownDelay", f'"{text}"', f"{_A_DURATION}, at most 720h; e.g. 0s, 30s"),
            at("spec.serving.scaleDownDelay", mended),
        )
        for text, mended in (("-5m", "0s"), ("721h", "720h"), ("0", "30s"), ("0m", "5m"), ("00s", "1s"))
    ),
    *(
        Refused(
            18,
            f"pause {text!r}",
            stages({"setShare": 5}, {"pause": {"duration": text}}, FULL),
            ("spec.rollout.stages[0].steps[1].pause.duration", f'"{text}"', _A_DURATION),
            stages({"setShare": 5}, {"pause": {"duration": "5m"}}, FULL),
        )
        for text in ("-5m", "0s", "1e9h", "8761h", "1.5h")
    ),
    Refused(
        18,
        "pause in words",
        stages({"setShare": 5}, {"pause": {"duration": "5 minutes"}}, FULL),
        ("spec.rollout.stages[0].steps[1].pause.duration", "may not be more than 6"),
        stages({"setShare": 5}, {"pause": {"duration": "5m"}}, FULL),
    ),
    Refused(
        18,
        "bake in days",
        at("spec.rollout.bake", "1 day"),
        ("spec.rollout.bake", '"1 day"', "e.g. 30s, 15m, 12h"),
        at("spec.rollout.bake", "24h"),
    ),
    Refused(
        18,
        "an answer may take a day",
        at("spec.serving.requestTimeout", "24h"),
        ("spec.serving.requestTimeout", '"24h"', "at most 1h"),
        at("spec.serving.requestTimeout", "2s"),
    ),
    Refused(
        24,
        "no request is enough",
        stages({"setShare": 5}, {"analysis": {"minRequests": 0}}, FULL),
        ("spec.rollout.stages[0].steps[1].analysis.minRequests", "0", "greater than or equal to 1"),
        stages({"setShare": 5}, {"analysis": {"minRequests": 100}}, FULL),
    ),
    Refused(
        24,
        "limits on nothing",
        at("spec.rollout.limits", {"minRequests": 0}),
        ("spec.rollout.limits.minRequests", "0", "greater than or equal to 1"),
        at("spec.rollout.limits", {"minRequests": 20}),
    ),
    Refused(
        24,
        "analysis without time",
        stages({"setShare": 5}, {"analysis": {"deadline": "0s"}}, FULL),
        ("analysis.deadline", '"0s"', _A_DURATION),
        stages({"setShare": 5}, {"analysis": {"deadline": "1h"}}, FULL),
    ),
    Refused(
        53,
        "a stage waits for itself",
        at("spec.rollout.stages", [stage("finerank", FULL, depends_on=("finerank",))]),
        ("spec.rollout.stages[0].dependsOn", "finerank", "cannot depend on itself"),
    ),
    Refused(
        53,
        "two stages wait for each other",
        at(
            "spec.rollout.stages",
            [
                stage("recall", FULL),
                stage("finerank", FULL, depends_on=("rawrank",)),
                stage("rawrank", FULL, depends_on=("finerank",)),
            ],
        ),
        ("spec.rollout.stages", '{"finerank":["rawrank"]}', "no stage may wait for one that waits for it"),
        at("spec.rollout.stages", [stage("finerank", FULL), stage("rawrank", FULL, depends_on=("finerank",))]),
    ),
    Refused(
        53,
        "three stages in a ring",
        at(
            "spec.rollout.stages",
            [
                stage("recall", FULL, depends_on=("finerank",)),
                stage("finerank", FULL, depends_on=("rawrank",)),
                stage("rawrank", FULL, depends_on=("recall",)),
            ],
        ),
        ("spec.rollout.stages", "no stage may wait for one that waits for it"),
    ),
    Refused(
        53,
        "it waits for a stage that is not there",
        at("spec.rollout.stages", [stage("recall", FULL, depends_on=("finerank",))]),
        ("spec.rollout.stages", '{"recall":["finerank"]}', "must name stages of this release"),
        at("spec.rollout.stages", [stage("finerank", FULL), stage("recall", FULL, depends_on=("finerank",))]),
    ),
    Refused(
        53,
        "a host name with a port",
        at("spec.traffic.hostnames", ["shop.example:80"]),
        ("spec.traffic.hostnames[0]", '"shop.example:80"', "without port"),
        at("spec.traffic.hostnames", ["shop.example"]),
    ),
    Refused(
        53,
        "buckets of users in a header in capitals",
        at("spec.traffic.assignment", {"header": "X-Rewriter-Bucket"}),
        ("spec.traffic.assignment.header", '"X-Rewriter-Bucket"', "a request header in lower case"),
        at("spec.traffic.assignment", {"header": "x-rewriter-bucket"}),
    ),
    Refused(
        53,
        "buckets of users in the header of the stage",
        at("spec.traffic.assignment", {"header": "x-rewriter-stage"}),
        ("spec.traffic.assignment.header", '"x-rewriter-stage"', "must be a header that says nothing else"),
        at("spec.traffic.assignment", {}),
    ),
    Refused(
        53,
        "a salt, which is the consumers'",
        at("spec.traffic.assignment", {"header": "x-rewriter-bucket", "salt": "w36"}),
        ("spec.traffic.assignment.salt", "unknown field"),
        at("spec.traffic.assignment", {"header": "x-rewriter-bucket"}),
    ),
    Refused(
        53,
        "nothing that consumers call",
        at("spec.traffic.gateway", ABSENT),
        ("spec.traffic", "got []", "exactly one of gateway, service and virtualService"),
    ),
    Refused(
        53,
        "a Gateway and a Service",
        at("spec.traffic.service", FRONT),
        ("spec.traffic", "gateway", "service", "exactly one of gateway, service and virtualService"),
        FRONT_ONLY,
    ),
    Refused(
        53,
        "a Service without port",
        FRONT_ONLY | at("spec.traffic.service", {"name": "rewrites"}),
        ("spec.traffic.service.port", "Required value"),
        FRONT_ONLY,
    ),
    Refused(
        53,
        "host names of a Service",
        FRONT_ONLY | at("spec.traffic.hostnames", ["shop.example"]),
        ("spec.traffic.hostnames", "shop.example", "must be empty without a gateway"),
        FRONT_ONLY,
    ),
    Refused(
        53,
        "the operator's own Service",
        FRONT_ONLY | at("spec.traffic.service", FRONT | {"name": "{release}-r0007"}),
        ("spec.traffic.service.name", "-r0007", "must be a Service of yours"),
        FRONT_ONLY | at("spec.traffic.service", FRONT | {"name": "{release}-rewriter"}),
    ),
    Refused(
        53,
        "a VirtualService without hosts",
        ISTIO_ONLY | at("spec.traffic.virtualService", {"hosts": []}),
        ("spec.traffic.virtualService.hosts", "should have at least 1 items"),
        ISTIO_ONLY,
        on_update=False,
    ),
    Refused(
        53,
        "a VirtualService over the operator's own Service",
        ISTIO_ONLY
        | at("spec.traffic.virtualService", {"hosts": ["rewrites", "{release}-r0007.search.svc.cluster.local"]}),
        ("spec.traffic.virtualService.hosts", "-r0007.search", "must be hosts that consumers call"),
        ISTIO_ONLY | at("spec.traffic.virtualService", {"hosts": ["rewrites", "{release}-r0007-front.search"]}),
        on_update=False,
    ),
    Refused(
        53,
        "a gateway of Istio by its URL",
        ISTIO_ONLY | at("spec.traffic.virtualService", {"hosts": ["a.example"], "gateways": ["http://internal"]}),
        ("spec.traffic.virtualService.gateways[0]", '"http://internal"', "must be mesh, or the name"),
        ISTIO_ONLY | at("spec.traffic.virtualService", {"hosts": ["a.example"], "gateways": ["gateways/internal"]}),
        on_update=False,
    ),
    Refused(
        53,
        "another kind of route than it was created with",
        ISTIO_ONLY,
        ("spec.traffic", "got virtualService", "cannot be changed between HTTPRoute and VirtualService", "delete"),
        FRONT_ONLY,
        on_create=False,
    ),
    Refused(
        53,
        "the passthrough's Service",
        FRONT_ONLY | at("spec.traffic.service", FRONT | {"name": "{release}-passthrough"}),
        ("spec.traffic.service.name", "-passthrough", "must be a Service of yours"),
        FRONT_ONLY,
    ),
)

_QUERY: Final = {"serviceName": "prometheus", "query": 'ctr{revision="{{candidate}}"}'}
_METRIC: Final = {"name": "ctr", "prometheus": _QUERY, "minimum": 0.98}
_RATIO: Final = {"serviceName": "prometheus", "query": 'a{r="{{candidate}}"} / a{r="{{incumbent}}"}'}


def metric(**changes: Any) -> dict[str, Any]:
    """A release with one metric; what is ABSENT is left out of it."""
    changed = {key: value for key, value in (_METRIC | changes).items() if value is not ABSENT}
    return {"spec.rollout.metrics": [changed]}


METRICS: Final = (
    Refused(
        12,
        "a metric twice",
        at("spec.rollout.metrics", [_METRIC, _METRIC]),
        ("spec.rollout.metrics[1]", "Duplicate value"),
        metric(),
    ),
    Refused(
        13,
        "a metric of a stage that the release does not have",
        metric(stages=["recall"]),
        ("spec.rollout.metrics", '{"ctr":["recall"]}', "must be stages of this release"),
        metric(stages=["finerank"]),
    ),
    Refused(
        16,
        "a metric of two kinds",
        metric(webhook={"serviceName": "checks", "path": "/rollout"}),
        ("spec.rollout.metrics[0]", "got 2 of them", "exactly one of prometheus, webhook"),
        metric(),
    ),
    Refused(
        16,
        "a metric of no kind",
        metric(prometheus=ABSENT),
        ("spec.rollout.metrics[0]", "got 0 of them", "exactly one of prometheus, webhook"),
        metric(),
    ),
    Refused(
        16,
        "a query with the incumbent where only a full share is set",
        metric(prometheus=_RATIO) | shares(100),
        ("spec.rollout.metrics", '["ctr"]', "each of its stages needs a setShare below 100"),
        metric(prometheus=_RATIO) | shares(10, 100),
    ),
    Refused(
        18,
        "looks every second",
        metric(interval="1s"),
        ("spec.rollout.metrics[0].interval", '"1s"', "at least 5s and at most 1h"),
        metric(interval="15s"),
    ),
    Refused(
        22,
        "a minimum above the maximum",
        metric(maximum=0.5),
        ("spec.rollout.metrics[0].minimum", "minimum 0.98 and maximum 0.5", "minimum must be at most maximum"),
        metric(maximum=1.5),
    ),
    Refused(
        22,
        "a query without a bound",
        metric(minimum=ABSENT),
        ("spec.rollout.metrics[0].minimum", "set minimum, maximum or both"),
        metric(),
    ),
    Refused(
        23,
        "a bound beyond reason",
        metric(minimum=1e300),
        ("spec.rollout.metrics[0].minimum", "less than or equal to 1"),
        metric(),
    ),
    Refused(
        25,
        "no look outside is one too many",
        metric(failureLimit=0),
        ("spec.rollout.metrics[0].failureLimit", "0", "greater than or equal to 1"),
        metric(failureLimit=1),
    ),
    Refused(
        25,
        "more looks than fit into their time",
        metric(interval="5m"),
        ("spec.rollout.metrics", '["ctr"]', "must fit twice into spec.rollout.verification.timeout"),
        metric(interval="5m", successLimit=1),
    ),
    Refused(
        27,
        "an unknown placeholder of a query",
        metric(prometheus=_QUERY | {"query": 'ctr{revision="{{candidat}}"}'}),
        ("spec.rollout.metrics[0].prometheus.query", "{{candidat}}", "may hold {{candidate}}, {{incumbent}}"),
        metric(),
    ),
    Refused(
        26,
        "a control character in a query",
        metric(prometheus=_QUERY | {"query": "ctr\u0007"}),
        ("spec.rollout.metrics[0].prometheus.query", "must not hold control characters"),
        metric(prometheus=_QUERY | {"query": "ctr\n  + 0"}),
    ),
    Refused(
        28,
        "a Prometheus by its URL",
        metric(prometheus=_QUERY | {"serviceName": "http://prometheus:9090"}),
        ("spec.rollout.metrics[0].prometheus.serviceName", '"http://prometheus:9090"', _A_SERVICE),
        metric(),
    ),
    Refused(
        29,
        "a web hook by its address",
        metric(prometheus=ABSENT, webhook={"serviceName": "169.254.169.254", "path": "/latest"}),
        ("spec.rollout.metrics[0].webhook.serviceName", '"169.254.169.254"', _A_SERVICE),
        metric(prometheus=ABSENT, webhook={"serviceName": "checks", "path": "/latest"}),
    ),
    Refused(
        30,
        "another call of Prometheus",
        metric(prometheus=_QUERY | {"path": "/api/v1/admin/tsdb/delete_series"}),
        ("spec.rollout.metrics[0].prometheus.path", "delete_series", "must end in /api/v1/query"),
        metric(prometheus=_QUERY | {"path": "/prometheus/api/v1/query"}),
    ),
)

_TOKEN: Final = {"bearer": {"secretKeyRef": {"name": "thanos-token", "key": "token"}}}
_MIMIR: Final = {
    "basic": {
        "username": {"secretKeyRef": {"name": "mimir", "key": "username"}},
        "password": {"secretKeyRef": {"name": "mimir", "key": "password"}},
    }
}
_CA: Final = {"configMapKeyRef": {"name": "internal-ca", "key": "ca.crt"}}
_AT: Final = "spec.rollout.metrics[0].prometheus"


def asking(**fields: Any) -> dict[str, Any]:
    """A release with a query that is asked so, over TLS where nothing else is said."""
    return metric(prometheus=_QUERY | {"scheme": "HTTPS"} | fields)


def with_header(name: str, value: str = "search") -> dict[str, Any]:
    return asking(headers=[{"name": name, "value": value}])


METRIC_ACCESS: Final = (
    Refused(
        12,
        "a header of a metric twice",
        asking(headers=[{"name": "X-Scope-OrgID", "value": "a"}, {"name": "X-Scope-OrgID", "value": "b"}]),
        (f"{_AT}.headers[1]", "Duplicate value"),
        with_header("X-Scope-OrgID", "a|b"),
    ),
    Refused(
        16,
        "credentials of two kinds",
        asking(authorization=_TOKEN | _MIMIR),
        (f"{_AT}.authorization", "got 2 of them", "exactly one of bearer, basic"),
        asking(authorization=_MIMIR),
    ),
    Refused(
        16,
        "credentials of no kind",
        asking(authorization={"allowPlaintext": False}),
        (f"{_AT}.authorization", "got 0 of them", "exactly one of bearer, basic"),
        asking(authorization=_TOKEN),
    ),
    Refused(
        28,
        "credentials over plain HTTP",
        asking(scheme="HTTP", authorization=_TOKEN),
        (f"{_AT}.authorization", "got scheme HTTP", "set scheme to HTTPS; or allowPlaintext to true"),
        asking(scheme="HTTP", authorization=_TOKEN | {"allowPlaintext": True}),
    ),
    Refused(
        28,
        "credentials where no scheme is said",
        metric(prometheus=_QUERY | {"authorization": _TOKEN}),
        (f"{_AT}.authorization", "got scheme HTTP", "set scheme to HTTPS; or allowPlaintext to true"),
        asking(authorization=_TOKEN),
    ),
    Refused(
        28,
        "credentials of a web hook over plain HTTP",
        metric(prometheus=ABSENT, webhook={"serviceName": "checks", "path": "/x", "authorization": _MIMIR}),
        ("spec.rollout.metrics[0].webhook.authorization", "got scheme HTTP", "set scheme to HTTPS"),
        metric(prometheus=ABSENT, webhook={"serviceName": "checks", "path": "/x"}),
    ),
    Refused(
        28,
        "CAs without TLS",
        asking(scheme="HTTP", caBundle=_CA),
        (f"{_AT}.caBundle", "got scheme HTTP", "set scheme to HTTPS, or take caBundle away"),
        asking(caBundle=_CA),
    ),
    Refused(
        28,
        "a name in a certificate without TLS",
        asking(scheme="HTTP", serverName="thanos.monitoring.svc"),
        (f"{_AT}.serverName", "got scheme HTTP", "set scheme to HTTPS, or take serverName away"),
        asking(serverName="thanos.monitoring.svc"),
    ),
    Refused(
        28,
        "a scheme in lower case",
        asking(scheme="https"),
        (f"{_AT}.scheme", "https", 'supported values: "HTTP", "HTTPS"'),
        asking(),
    ),
    Refused(
        29,
        "a certificate's name that is a URL",
        asking(serverName="https://thanos"),
        (f"{_AT}.serverName", '"https://thanos"', "must be a name in the server certificate"),
        asking(serverName="thanos"),
    ),
    Refused(
        30,
        "a Secret of another namespace",
        asking(authorization={"bearer": {"secretKeyRef": {"name": "monitoring/token", "key": "token"}}}),
        (f"{_AT}.authorization.bearer.secretKeyRef.name", "monitoring/token", "an object in the release namespace"),
        asking(authorization=_TOKEN),
    ),
    Refused(
        31,
        "certificates that nobody checks",
        asking(insecureSkipVerify=True),
        ("unknown field", "spec.rollout.metrics[0].prometheus.insecureSkipVerify"),
        asking(caBundle=_CA),
    ),
    Refused(
        33,
        "a token in the spec itself",
        asking(authorization={"bearer": {"value": "eyJ"}}),
        ("unknown field", "spec.rollout.metrics[0].prometheus.authorization.bearer.value"),
        asking(authorization=_TOKEN),
    ),
    *(
        Refused(
            33,
            f"a header of credentials: {name}",
            with_header(name),
            (f"{_AT}.headers[0].name", f'"{name}"', "must be no header of credentials", "use authorization"),
            with_header("X-Scope-OrgID"),
        )
        for name in ("Authorization", "proxy-authorization", "COOKIE", "X-Api-Key", "X-Vault-Token")
    ),
    *(
        Refused(
            33,
            f"a header of the call's own: {name}",
            with_header(name),
            (f"{_AT}.headers[0].name", f'"{name}"', "must be no header that says whom a call is for"),
            with_header("X-Scope-OrgID"),
        )
        for name in ("Host", "content-length", "Transfer-Encoding", "X-Forwarded-User", "Impersonate-User")
    ),
    Refused(
        33,
        "a header's name with a blank",
        with_header("X Scope"),
        (f"{_AT}.headers[0].name", '"X Scope"', "must be letters, digits and hyphens"),
        with_header("X-Scope"),
    ),
    Refused(
        33,
        "a header of two lines",
        with_header("X-Scope-OrgID", "a\r\nHost: b"),
        (f"{_AT}.headers[0].value", "must be printable ASCII on one line"),
        with_header("X-Scope-OrgID"),
    ),
    Refused(
        33,
        "credentials as the value of a header",
        with_header("X-Scope-OrgID", "Bearer eyJ"),
        (f"{_AT}.headers[0].value", "must be no credentials", "use authorization"),
        with_header("X-Scope-OrgID"),
    ),
)

GATE: Final = (
    Refused(19, "no gate", at("spec.gate", ABSENT), ("spec.gate", "Required value")),
    Refused(
        19,
        "every check disabled",
        checks(*({"name": name, "disabled": True} for name in _DECIDING)),
        ("spec.gate.checks", "all of them are disabled", "at least one check that decides, e.g. RewardGain"),
        checks(*({"name": name, "disabled": True} for name in _DECIDING[1:])),
    ),
    Refused(
        19,
        "evidence is not asked for",
        checks({"name": "EvidenceIsComplete", "disabled": True}),
        ("spec.gate.checks[0].disabled", "EvidenceIsComplete cannot be disabled", "raise its max"),
        checks({"name": "EvidenceIsComplete", "max": 0.1}),
    ),
    Refused(
        20,
        "a check twice",
        checks({"name": "GoldNdcg", "margin": 0.1}, {"name": "GoldNdcg", "margin": 0.2}),
        ("spec.gate.checks[1]", "Duplicate value", "GoldNdcg"),
        checks({"name": "GoldNdcg", "margin": 0.1}),
    ),
    Refused(
        20,
        "an unknown check",
        checks({"name": "GoldNDCG"}),
        ("spec.gate.checks[0].name", '"GoldNDCG"', '"GoldNdcg"'),
        checks({"name": "GoldNdcg"}),
    ),
    Refused(
        21,
        "a max that nobody reads",
        checks({"name": "GoldNdcg", "max": 0.1}),
        ("spec.gate.checks[0].max", "got 0.1", "does not look at max", "LengthTail"),
        checks({"name": "GoldNdcg", "margin": 0.1}),
    ),
    Refused(
        21,
        "a margin that nobody reads",
        checks({"name": "RewardGain", "margin": 0.1}),
        ("spec.gate.checks[0].margin", "got 0.1", "does not look at margin", "GoldNdcg"),
        checks({"name": "RewardGain", "min": -0.1}),
    ),
    Refused(
        21,
        "a min that nobody reads",
        checks({"name": "CopyRate", "min": 0.1}),
        ("spec.gate.checks[0].min", "got 0.1", "does not look at min", "TailLoss"),
        checks({"name": "CopyRate", "max": 0.1}),
    ),
    Refused(
        22,
        "min above max",
        checks({"name": "LengthRatio", "min": 3, "max": 2}),
        ("spec.gate.checks[0].min", "min 3 and max 2", "must be at most max"),
        checks({"name": "LengthRatio", "min": 0.5, "max": 2}),
    ),
    Refused(
        22,
        "a min above the default max",
        checks({"name": "LengthRatio", "min": 3}),
        ("spec.gate.checks[0].min", "got 3", "at most 2.0, the default max of this check", "set max, too"),
        checks({"name": "LengthRatio", "min": 3, "max": 4}),
    ),
    Refused(
        22,
        "a max below the default min",
        checks({"name": "LengthRatio", "max": 0.3}),
        ("spec.gate.checks[0].max", "got 0.3", "at least 0.4, the default min of this check", "set min, too"),
        checks({"name": "LengthRatio", "min": 0.1, "max": 0.3}),
    ),
    Refused(
        23,
        "NaN as a word",
        checks({"name": "LengthRatio", "max": "NaN"}),
        ("spec.gate.checks[0].max", '"string"', "must be of type number"),
        checks({"name": "LengthRatio", "max": 2}),
    ),
    Refused(
        23,
        "an endless limit",
        checks({"name": "LengthRatio", "max": 1e300}),
        ("spec.gate.checks[0].max", "1e+300", "less than or equal to 1000"),
        checks({"name": "LengthRatio", "max": 2}),
    ),
    Refused(
        24,
        "a gate of no queries",
        at("spec.gate.minimumQueries", 0),
        ("spec.gate.minimumQueries", "0", "greater than or equal to 10"),
        at("spec.gate.minimumQueries", 80),
    ),
    Refused(
        24,
        "alpha 0.9",
        at("spec.gate.alpha", 0.9),
        ("spec.gate.alpha", "got 0.9", "must be at most 0.2"),
        at("spec.gate.alpha", 0.2),
    ),
    Refused(
        24,
        "alpha 0",
        at("spec.gate.alpha", 0),
        ("spec.gate.alpha", "0", "should be greater than 0"),
        at("spec.gate.alpha", 0.05),
    ),
    Refused(
        24,
        "an unknown wish for what the gate cannot decide",
        at("spec.gate.onInconclusive", "Promote"),
        ("spec.gate.onInconclusive", '"Promote"', '"Reject", "Hold", "Extend"'),
        at("spec.gate.onInconclusive", "Hold"),
    ),
    Refused(
        24,
        "looks of fewer queries than a verdict needs",
        {"spec.gate.onInconclusive": "Extend", "spec.gate.extension": {"queries": 20}},
        ("spec.gate.extension.queries", "got 20 below 30", "at least spec.gate.minimumQueries"),
        {"spec.gate.onInconclusive": "Extend", "spec.gate.extension": {"queries": 30}},
    ),
    Refused(
        24,
        "a check of drawn rewrites where none is drawn",
        {"spec.gate.sampledRewrites": 0, **checks({"name": "SampledGold", "enforced": True})},
        ("spec.gate.sampledRewrites", "got 0", "at least 1 for checks of drawn rewrites"),
        {"spec.gate.sampledRewrites": 4, **checks({"name": "SampledGold", "enforced": True})},
    ),
    Refused(
        24,
        "draws that are compared with nothing",
        {"spec.gate.sampledRewrites": 1, **checks({"name": "SampledVariety", "min": 0.3})},
        ("spec.gate.sampledRewrites", "got 1", "at least 2 for SampledVariety"),
        {"spec.gate.sampledRewrites": 2, **checks({"name": "SampledVariety", "min": 0.3})},
    ),
    Refused(
        24,
        "a surprise that no candidate can have",
        checks({"name": "Surprise", "enforced": True, "max": 0.5}),
        ("spec.gate.checks[0].max", "got 0.5", "must be at least 1"),
        checks({"name": "Surprise", "enforced": True, "max": 1.5}),
    ),
    Refused(
        24,
        "a candidate that waits for a person for months",
        at("spec.gate.holdTimeout", "8760h"),
        ("spec.gate.holdTimeout", 'got "8760h"', "at most 720h"),
        at("spec.gate.holdTimeout", "720h"),
    ),
    Refused(
        24,
        "the gate judges on what was trained",
        at("spec.data.gate", "data/train.jsonl"),
        ("spec.data.gate", "got data/train.jsonl", "must not be the training file"),
        at("spec.data.gate", "data/other.jsonl"),
    ),
    Refused(
        24,
        "the gate's queries choose the phase",
        at("spec.data.validation", "data/gate.jsonl"),
        ("spec.data.validation", "got data/gate.jsonl", "must be a file of its own"),
        at("spec.data.validation", "data/validation.jsonl"),
    ),
    Refused(
        24,
        "validation without queries",
        at("spec.training.validation", {"patience": 3}),
        ("spec.training.validation", "set spec.data.validation, or take this away"),
    ),
    Refused(
        24,
        "queries for documents",
        at("spec.data.corpus", "data/gate.jsonl"),
        ("spec.data.corpus", "got data/gate.jsonl", "must be the file of documents"),
    ),
)

REWARD_AND_SERVICES: Final = (
    Refused(
        26,
        "an empty template",
        at("spec.model.prompt", {"template": ""}),
        ("spec.model.prompt.template", '""', "must contain {query} exactly once"),
    ),
    Refused(
        26,
        "a template of 5 KiB",
        at("spec.model.prompt", {"template": "{query}" + "x" * 5000}),
        ("spec.model.prompt.template", "may not be more than 4096"),
    ),
    Refused(
        26,
        "a control character",
        at("spec.model.prompt", {"template": "{query}\u0007"}),
        ("spec.model.prompt.template", "must not hold control characters"),
        at("spec.model.prompt", {"template": "q:\t{query}\nr:"}),
    ),
    Refused(
        26,
        "an empty stop string",
        at("spec.model.prompt", {"stop": [""]}),
        ("spec.model.prompt.stop[0]", '""', "at least 1 chars long"),
        at("spec.model.prompt", {"stop": ["\n"]}),
    ),
    Refused(
        27,
        "a misspelt variable",
        at("spec.model.prompt", {"template": "rewrite {qeury}"}),
        ("spec.model.prompt.template", "got 0", "must contain {query} exactly once"),
        at("spec.model.prompt", {"template": "rewrite {query}"}),
    ),
    Refused(
        27,
        "a variable twice",
        at("spec.model.prompt", {"template": "{query} {query}"}),
        ("spec.model.prompt.template", "got 2", "must contain {query} exactly once"),
    ),
    *(
        Refused(
            28,
            f"URL {url}",
            at("spec.reward.relevance.serviceName", url),
            ("spec.reward.relevance.serviceName", f'"{url}"', _A_SERVICE),
        )
        for url in ("http://relevance", "ftp://relevance", "file:///etc/passwd", "user@relevance")
    ),
    Refused(
        28,
        "a URL for a path",
        at("spec.reward.relevance.path", "https://relevance/v1/score"),
        ("spec.reward.relevance.path", '"https://relevance/v1/score"', "host and port are fields of their own"),
    ),
    Refused(
        28,
        "a relative path",
        at("spec.gate.search.path", "v1/search"),
        ("spec.gate.search.path", '"v1/search"', "e.g. /v1/score"),
    ),
    *(
        Refused(
            29,
            f"address {host}",
            at("spec.reward.relevance.serviceName", host),
            ("spec.reward.relevance.serviceName", f'"{host}"', _A_SERVICE),
        )
        for host in ("127.0.0.1", "169.254.169.254", "[::1]", "2130706433", "metadata.google.internal")
    ),
    Refused(
        30,
        "another namespace in the name",
        at("spec.gate.search.serviceName", "search.other"),
        ("spec.gate.search.serviceName", '"search.other"', "no URL, address or other namespace"),
    ),
    Refused(
        30,
        "another namespace beside the name",
        at("spec.gate.search.namespace", "other"),
        ('unknown field "spec.gate.search.namespace"',),
    ),
    Refused(
        30,
        "port 0",
        at("spec.gate.search.port", 0),
        ("spec.gate.search.port", "0", "greater than or equal to 1"),
        at("spec.gate.search.port", 8080),
    ),
    Refused(
        30,
        "port 70000",
        at("spec.gate.search.port", 70000),
        ("spec.gate.search.port", "70000", "less than or equal to 65535"),
        at("spec.gate.search.port", 8080),
    ),
    Refused(
        44,
        "a ConfigMap without a name",
        at("spec.reward.fusion.configMapName", ""),
        ("spec.reward.fusion.configMapName", '""', "must be a name"),
    ),
    Refused(
        44,
        "a ConfigMap of another namespace",
        at("spec.reward.fusion.configMapName", "other/fusion"),
        ("spec.reward.fusion.configMapName", '"other/fusion"', "must be a name"),
    ),
    Refused(
        44,
        "an empty key",
        at("spec.reward.fusion.key", ""),
        ("spec.reward.fusion.key", '""', "must be a key of the ConfigMap"),
    ),
    Refused(46, "code in the reward", at("spec.reward.code", "import os"), ('unknown field "spec.reward.code"',)),
)

PODS: Final = (
    Refused(31, "a volume of the node", at("spec.volume.hostPath", "/etc"), ('unknown field "spec.volume.hostPath"',)),
    Refused(31, "volumes", at("spec.serving.volumes", []), ('unknown field "spec.serving.volumes"',)),
    *(
        Refused(
            32, name, at(f"spec.training.trainer.{name}", value), (f'unknown field "spec.training.trainer.{name}"',)
        )
        for name, value in (("serviceAccountName", "admin"), ("securityContext", {"privileged": True}), ("podSpec", {}))
    ),
    Refused(
        33,
        "environment",
        at("spec.serving.env", [{"name": "LD_PRELOAD", "value": "x"}]),
        ('unknown field "spec.serving.env"',),
    ),
    Refused(
        34,
        "arguments of vLLM",
        at("spec.serving.args", ["--trust-remote-code"]),
        ('unknown field "spec.serving.args"',),
    ),
    *(
        Refused(
            35,
            f"image {image!r}",
            at("spec.serving.image", image),
            ("spec.serving.image", f'"{image}"', remedy),
            at("spec.serving.image", "registry.test/sampler:1.4.0"),
        )
        for image, remedy in (
            ("", _AN_IMAGE),
            ("registry.test/sampler", _AN_IMAGE),
            ("registry.test/Sampler:1", _AN_IMAGE),
            ("registry.test/sampler:1 --privileged", _AN_IMAGE),
            ("registry.test/sampler@sha256:abc", _AN_IMAGE),
            ("registry.test/sampler:latest", "name a version or a digest"),
        )
    ),
    Refused(
        36,
        "a key that no label can have",
        at("spec.training.trainer.nodeSelector", {"gpu type": "a"}),
        ("spec.training.trainer.nodeSelector", "must be the key of a label"),
        at("spec.training.trainer.nodeSelector", {"gpu-type": "a"}),
    ),
    Refused(
        36,
        "a value that no label can have",
        at("spec.training.trainer.nodeSelector", {"gpu": "a b"}),
        ("spec.training.trainer.nodeSelector[gpu]", '"a b"', "must be the value of a label"),
        at("spec.training.trainer.nodeSelector", {"gpu": "a"}),
    ),
    *(
        Refused(
            36,
            f"{kind} of the operator itself",
            at(f"spec.{pods}.{kind}", {key: "x"}),
            (f"spec.{pods}.{kind}", key, "must not hold the keys of the operator itself"),
            at(f"spec.{pods}.{kind}", {"kueue.x-k8s.io/queue-name": "gpus"}),
        )
        for pods, kind, key in (
            ("training.trainer", "labels", "rewriter.dev/release"),
            ("training.samplers", "labels", "app.kubernetes.io/managed-by"),
            ("serving", "labels", "pod-template-hash"),
            ("training.trainer", "annotations", "rewriter.dev/spec-hash"),
        )
    ),
    Refused(
        36,
        "a toleration of everything by accident",
        at("spec.training.trainer.tolerations", [{"value": "x"}]),
        ("spec.training.trainer.tolerations[0]", "the operator Exists and no value"),
        at("spec.training.trainer.tolerations", [{"operator": "Exists"}]),
    ),
    Refused(
        37,
        "a request above its limit",
        resources(requests={"cpu": "4"}, limits={"cpu": "2"}),
        ("spec.training.trainer.resources", '[["cpu", "4", "2"]]', "must be at most its limit"),
        resources(requests={"cpu": "2"}, limits={"cpu": "4"}),
    ),
    Refused(
        37,
        "cpu -1",
        resources(limits={"cpu": "-1"}),
        ("spec.training.trainer.resources.limits[cpu]", '"-1"', "not negative"),
        resources(limits={"cpu": "1"}),
    ),
    Refused(
        37,
        "cpu in bytes",
        resources(limits={"cpu": "2Gi"}),
        ("spec.training.trainer.resources", "e.g. 2 or 500m"),
        resources(limits={"cpu": "2"}),
    ),
    Refused(
        37,
        "memory without a unit",
        resources(limits={"memory": "16"}),
        ("spec.training.trainer.resources", "at least 64Mi", "write 16Gi"),
        resources(limits={"memory": "16Gi"}),
    ),
    *(
        Refused(
            37,
            f"{count} GPUs",
            resources(limits={"nvidia.com/gpu": count}),
            ("spec.training.trainer.resources", "whole number from 1 to 999"),
            resources(limits={"nvidia.com/gpu": "1"}),
        )
        for count in ("0.5", "0", "1000", "500m")
    ),
    Refused(
        37,
        "a GPU that is only requested",
        resources(requests={"nvidia.com/gpu": "1"}),
        ("spec.training.trainer.resources", "write only the limit"),
        resources(limits={"nvidia.com/gpu": "1"}),
    ),
    Refused(
        37,
        "a resource without a domain",
        resources(limits={"gpu": "1"}),
        ("spec.training.trainer.resources", '["gpu"]', "e.g. nvidia.com/gpu"),
        resources(limits={"nvidia.com/gpu": "1"}),
    ),
    Refused(
        38,
        "no samplers",
        at("spec.training.samplers", {"replicas": 0}),
        ("spec.training.samplers.replicas", "0", "greater than or equal to 1"),
        at("spec.training.samplers", {"replicas": 2}),
    ),
    Refused(
        38,
        "65 samplers",
        at("spec.training.samplers", {"replicas": 65}),
        ("spec.training.samplers.replicas", "65", "less than or equal to 64"),
        at("spec.training.samplers", {"replicas": 64}),
    ),
    Refused(
        38,
        "no trainers",
        at("spec.training.trainer", {"replicas": 0}),
        ("spec.training.trainer.replicas", "0", "greater than or equal to 1"),
        at("spec.training.trainer", {"replicas": 2}),
    ),
    Refused(
        38,
        "65 trainers",
        at("spec.training.trainer", {"replicas": 65}),
        ("spec.training.trainer.replicas", "65", "less than or equal to 64"),
        at("spec.training.trainer", {"replicas": 64}),
    ),
    Refused(
        38,
        "a drain that may take every pod",
        at("spec.serving", {"replicas": 2, "maxUnavailable": 2}),
        ("spec.serving.maxUnavailable", "got 2 of 2", "must be below replicas"),
        at("spec.serving", {"replicas": 3, "maxUnavailable": 2}),
    ),
    Refused(
        38,
        "one pod that is to change in place",
        at("spec.serving", {"replicas": 1, "capacity": {"mode": "InPlace"}}),
        ("spec.serving.replicas", "got 1", "must be at least 2 with capacity.mode InPlace"),
        at("spec.serving", {"replicas": 2, "capacity": {"mode": "InPlace"}}),
    ),
    Refused(
        38,
        "pods to keep where none are left",
        at("spec.serving", {"replicas": 2, "capacity": {"mode": "InPlace"}, "scaleDownDelay": "1h"}),
        ("spec.serving.scaleDownDelay", 'got "1h"', "must be 0s with capacity.mode InPlace"),
        at("spec.serving", {"replicas": 2, "capacity": {"mode": "InPlace"}, "scaleDownDelay": "0s"}),
    ),
    Refused(
        38,
        "a drain that may take none",
        at("spec.serving.maxUnavailable", 0),
        ("spec.serving.maxUnavailable", "0", "greater than or equal to 1"),
    ),
    Refused(
        39,
        "one engine over more GPUs than a pod has",
        at("spec.training.samplers", {"tensorParallel": 4, "resources": {"limits": {"nvidia.com/gpu": "2"}}}),
        ("spec.training.samplers.tensorParallel", "got 4", "at most the number of nvidia.com/gpu"),
        at("spec.training.samplers", {"tensorParallel": 2, "resources": {"limits": {"nvidia.com/gpu": "2"}}}),
    ),
    Refused(
        39,
        "0 GPUs",
        at("spec.serving.tensorParallel", 0),
        ("spec.serving.tensorParallel", "0", "greater than or equal to 1"),
    ),
)

PATHS: Final = (
    *(
        Refused(
            41,
            f"{field} {path!r}",
            at(f"spec.{field}", path),
            (f"spec.{field}", remedy),
            on_update=field != "volume.subPath",
        )
        for field, path, remedy in (
            *(
                ("model.path", path, _A_PATH)
                for path in ("../other", "base/../x", "/base", "base//x", "base/%2e%2e/x", "base ", "", ".git")
            ),
            ("volume.subPath", "../shop", _A_PATH),
            ("data.train", "data/train\u0000.jsonl", _A_PATH),
            ("data.train", "d" * 513, "may not be more than 256"),
        )
    ),
    Refused(42, "a flag for a model", at("spec.model.path", "--help"), ("spec.model.path", '"--help"', _A_PATH)),
    Refused(
        42,
        "a URL for a model",
        at("spec.model.path", "https://models.example/tiny"),
        ("spec.model.path", '"https://models.example/tiny"', _A_PATH),
    ),
    Refused(
        52,
        "another volume",
        at("spec.volume", {"claimName": "other", "subPath": "shop"}),
        ("spec.volume", "got other/shop instead of rewriter/shop", "create a release with another name"),
        on_create=False,
    ),
)

LEARNING: Final = (
    Refused(
        47,
        "best and worst overlap",
        at("spec.training.pairs", {"topK": 8}),
        ("spec.training.pairs.topK", "got 8 of 8 samples", "at most half of spec.training.sampling.samplesPerQuery"),
        at("spec.training.pairs", {"topK": 4}),
    ),
    Refused(
        47,
        "no pairs",
        at("spec.training.pairs", {"topK": 0}),
        ("spec.training.pairs.topK", "0", "greater than or equal to 1"),
        at("spec.training.pairs", {"topK": 1}),
    ),
    Refused(
        47,
        "one sample",
        at("spec.training.sampling.samplesPerQuery", 1),
        ("spec.training.sampling.samplesPerQuery", "1", "greater than or equal to 2"),
    ),
    Refused(
        47,
        "no loss",
        at("spec.training.mpo", {"preference": 0, "quality": 0, "generation": 0}),
        ("spec.training.mpo", "must be above 0, or nothing is learnt"),
        at("spec.training.mpo", {"preference": 1, "quality": 0, "generation": 0}),
    ),
    *(
        Refused(
            48,
            f"learning rate {rate!r}",
            at("spec.training.optimizer", {"learningRate": rate}),
            ("spec.training.optimizer.learningRate", shown, remedy),
            at("spec.training.optimizer", {"learningRate": 1e-5}),
        )
        for rate, shown, remedy in (
            (0, "0", "should be greater than 0"),
            (-1e-5, "-1e-05", "should be greater than 0"),
            (10, "got 10", "must be at most 0.1"),
            ("1e-5 ", '"string"', "must be of type number"),
        )
    ),
    Refused(
        48,
        "ZeRO stage 4",
        at("spec.training.optimizer", {"zeroStage": 4}),
        ("spec.training.optimizer.zeroStage", "4", "less than or equal to 3"),
    ),
    Refused(
        48,
        "bfloat16 without a float32 copy",
        at("spec.training.optimizer", {"zeroStage": 0}),
        ("spec.training.optimizer.zeroStage", "got 0", "must be 1, 2 or 3 with spec.model.dtype bfloat16"),
        {"spec.training.optimizer": {"zeroStage": 0}, "spec.model.dtype": "float32"},
    ),
    Refused(
        49, "maxLength 0", at("spec.model.maxLength", 0), ("spec.model.maxLength", "0", "greater than or equal to 32")
    ),
    Refused(
        49,
        "an answer longer than the model",
        at("spec.serving.maxTokens", 600),
        ("spec.serving.maxTokens", "got 600 of 512", "must be below spec.model.maxLength"),
        at("spec.serving.maxTokens", 64),
    ),
    Refused(
        49,
        "a sample longer than the model",
        at("spec.training.sampling.maxTokens", 512),
        ("spec.training.sampling.maxTokens", "got 512 of 512", "must be below spec.model.maxLength"),
        at("spec.training.sampling.maxTokens", 511),
    ),
    Refused(
        49,
        "temperature -1",
        at("spec.training.sampling.temperature", -1),
        ("spec.training.sampling.temperature", "-1", "should be greater than 0"),
    ),
    Refused(
        49,
        "temperature 3",
        at("spec.training.sampling.temperature", 3),
        ("spec.training.sampling.temperature", "3", "less than or equal to 2"),
    ),
    Refused(
        49,
        "65 samples",
        at("spec.training.sampling.samplesPerQuery", 65),
        ("spec.training.sampling.samplesPerQuery", "65", "less than or equal to 64"),
    ),
    Refused(
        50,
        "history of 10,000",
        at("spec.historyLimit", 10_000),
        ("spec.historyLimit", "10000", "less than or equal to 20"),
        at("spec.historyLimit", 20),
    ),
    *(
        Refused(
            row,
            f"history of {limit}",
            at("spec.historyLimit", limit),
            ("spec.historyLimit", str(limit), "greater than or equal to 2"),
            at("spec.historyLimit", 2),
        )
        for row, limit in ((50, 0), (51, 1))
    ),
    Refused(
        51,
        "no weights to go back to",
        at("spec.retention", {"weights": 0}),
        ("spec.retention.weights", "0", "greater than or equal to 1"),
        at("spec.retention", {"weights": 1}),
    ),
    Refused(
        51,
        "samples of cycles that are gone",
        at("spec.retention", {"samples": 9, "reports": 4}),
        ("spec.retention.samples", "got 9 of 4", "must be at most reports"),
        at("spec.retention", {"samples": 4, "reports": 4}),
    ),
)

REFUSED: Final = (
    *SHAPE,
    *SCHEDULES,
    *ROLLOUT,
    *METRICS,
    *METRIC_ACCESS,
    *GATE,
    *REWARD_AND_SERVICES,
    *PODS,
    *PATHS,
    *LEARNING,
)
