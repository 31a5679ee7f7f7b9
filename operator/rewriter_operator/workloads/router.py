"""What stands between the operator and whatever divides requests: three questions, and no decision.

A router turns the wanted shares into one object, says what a live one does, and what it would be without a candidate.
Which one a release has is said by spec.traffic and looked up in workloads/routers.py; core/ knows routes, not routers.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rewriter_operator.api.model import seconds
from rewriter_operator.api.release import RewriterReleaseSpec
from rewriter_operator.core.decision import WantedRoute
from rewriter_operator.core.world import Release, Role
from rewriter_operator.workloads import buckets, names

REWRITE_PATH: Final = "/v1/rewrite"

SLACK_SECONDS: Final = 2


@dataclass(frozen=True)
class Verified:
    """What a live object says of itself."""

    shares: dict[str, int]
    """Stage -> percent that its candidate gets, 0 included; read from the rules, so that a hand's edit shows."""
    accepted: bool | None
    """By the data plane's control, at the object's own generation; None: cannot tell."""
    message: str = ""
    """Why it is not accepted."""
    mirrors: dict[str, int] = field(default_factory=dict)
    """Stage -> percent of its requests that are copied to somebody, as the rules say it; stages without left out."""
    was_accepted: bool = False
    """Whether all that was said last, of this generation or one before, was yes: that one is in force."""


@dataclass(frozen=True)
class WithoutCandidate:
    """The rules of a live object without a candidate's share, and whose share it was."""

    revision: int
    spec: dict[str, Any]


class Router(Protocol):
    """One kind of object that divides requests."""

    @property
    def kind(self) -> str:
        """E.g. HTTPRoute."""

    @property
    def api_version(self) -> str:
        """Of the kind."""

    @property
    def tells_acceptance(self) -> bool:
        """Whether somebody says in time that such an object is in force. False: only the pods' counters can show it."""

    @property
    def has_defaults(self) -> bool:
        """Whether an API server adds fields to what was written."""

    def set_share(self, release: Release, wanted: WantedRoute) -> dict[str, Any]:
        """The object's `spec` in which each stage's requests go to its incumbent, but for the candidate's share; it
        gets the wanted copies of them, whose answers nobody sees."""

    def verify_share(self, live: dict[str, Any]) -> Verified:
        """What the live object does, and whether it is in force. Whatever was written into it, it must not raise."""

    def without_candidate(self, spec: dict[str, Any], release: str) -> WithoutCandidate | None:
        """Each candidate's weight given to the backend before it, the stage's incumbent, its copies taken away, and
        nothing else changed.

        None where no revision of the release has a share or gets copies: a backend that somebody else put there is
        none of ours.
        """


def body(router: Router, release: Release, wanted: WantedRoute) -> dict[str, Any]:
    """The whole object, with the marks that say what was meant."""
    annotations = {names.ANNOTATION_SHARES: json.dumps(dict(wanted.shares), sort_keys=True)}
    if wanted.withdrawn is not None:
        annotations[names.ANNOTATION_WITHDRAWN] = str(wanted.withdrawn)
    return {
        "apiVersion": router.api_version,
        "kind": router.kind,
        "metadata": {
            "name": names.route(release.name),
            "labels": names.labels(release.name, Role.ROUTE),
            "annotations": annotations,
        },
        "spec": router.set_share(release, wanted),
    }


def weights(release: str, incumbent: int | None, wanted: WantedRoute, share: int) -> dict[str, int]:
    """Service -> percent: the incumbent first, then the candidate if it has a share, then what is listed at 0."""
    first = -1 if incumbent is None else incumbent
    found = {first: 100 - share}
    if wanted.candidate is not None and share:
        found[wanted.candidate] = share
    for revision in wanted.idle:
        found.setdefault(revision, 0)
    return {names.serving(release, revision): weight for revision, weight in found.items()}


def by_bucket(release: Release, incumbent: int | None, wanted: WantedRoute, share: int) -> dict[str, dict[str, int]]:
    """Expression of a bucket -> Service -> percent, each with all that `weights` lists; empty where users are not told
    apart. The incumbent's first: a data plane that takes every value for a match must not give the candidate all."""
    if release.spec.traffic.assignment is None or not buckets.is_split(share):
        return {}
    return {
        buckets.beyond(share): weights(release.name, incumbent, wanted, 0),
        buckets.below(share): weights(release.name, incumbent, wanted, 100),
    }


def second_share(given: Sequence[int]) -> int:
    """Percent, rounded up, that the second of a rule's backends gets by these weights: the candidate's place."""
    return math.ceil(100 * given[1] / sum(given)) if len(given) > 1 and given[1] > 0 else 0


def mirror(release: str, wanted: WantedRoute, stage: str) -> tuple[str, int] | None:
    """The Service that gets copies of the stage's requests, and the percent of them; None: nobody does."""
    percent = dict(wanted.mirrors).get(stage, 0)
    return (names.serving(release, wanted.candidate), percent) if wanted.candidate is not None and percent else None


def mirrored(rules: Iterable[tuple[str | None, Iterable[int]]]) -> dict[str, int]:
    """Of each stage whose requests are copied, by the rule that copies most; to whomever, for a hand may add one.

    `rules`: each rule's stage, if it has one, and the percent of each of its mirrors, which count together.
    """
    found: dict[str, int] = {}
    for stage, percents in rules:
        percent = min(100, sum(percents))
        if stage is not None and percent:
            found[stage] = max(found.get(stage, 0), percent)
    return found


def taken_back(
    spec: dict[str, Any],
    key: str,
    rules: Iterable[dict[str, Any]],
    from_rule: Callable[[dict[str, Any]], tuple[dict[str, Any], int | None]],
) -> WithoutCandidate | None:
    """The spec with `from_rule` done to each of its rules, which stand below `key`; None where no candidate had any."""
    taken = [from_rule(rule) for rule in rules]
    revisions = [revision for _, revision in taken if revision is not None]
    return WithoutCandidate(max(revisions), {**spec, key: [rule for rule, _ in taken]}) if revisions else None


def timeout(spec: RewriterReleaseSpec) -> str:
    """Beyond the pods' own limit: a request that takes too long is counted by the pod that was slow."""
    return f"{seconds(spec.serving.request_timeout) + SLACK_SECONDS}s"
