"""A release that nobody can plan for must not leave its candidate up, unwatched: the route takes the candidate back.

For the two cases in which plan() has no say: the stored object cannot be read, or planning itself fails. It needs the
API server and the live route, nothing of spec or status, and it never does more than give a candidate's share back to
the incumbents that the route itself names (docs/decisions/0014).
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from rewriter_operator.api.conditions import ConditionType, Reason, set_condition
from rewriter_operator.api.status import Condition
from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.kube import Forbidden, Invalid, is_owned_by
from rewriter_operator.core.decision import Note, revision_name
from rewriter_operator.errors import Retry
from rewriter_operator.workloads import names
from rewriter_operator.workloads.render import Manifest
from rewriter_operator.workloads.routers import ROUTERS, router_of

LASTING_SECONDS: Final = 60.0
"""A failure that is over sooner, as one of an API server's bad minute may be, costs no candidate its share."""

LASTING_PASSES: Final = 3
"""And one long pause between two failures proves nothing."""

TAKEN_BACK: Final = "taken-back"
"""In place of the route's digest: the next plan that succeeds writes the route as it should be."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trouble:
    """Why a release cannot be planned, with the remedy."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Withdrawal:
    """The route as it is without the candidate, and which revision that is."""

    revision: int
    body: dict[str, Any]


@dataclass
class _Failing:
    since: float
    passes: int = 0


@dataclass
class Unwatched:
    """Releases whose last pass failed. In memory: a new leader waits anew before it touches a route."""

    hands: Hands
    clock: Callable[[], float] = time.monotonic
    _failing: dict[str, _Failing] = field(default_factory=dict)

    def forget(self, name: str) -> None:
        """A pass succeeded, or the release is gone."""
        self._failing.pop(name, None)

    async def failed(self, live: dict[str, Any], trouble: Trouble) -> None:
        """Another pass failed: once that lasts, the route first, then the conditions, then the Event."""
        name = live["metadata"]["name"]
        lasting = self._lasts(name)
        kind = router_of(live).kind
        try:
            route = await self.hands.kube.get(kind, names.route(name))
        except Forbidden:  # then nobody can help the route, and a person must be told all the more
            route = None
        route = {**route, "kind": kind} if route else None
        if route is not None and not is_owned_by(route, live["metadata"]["uid"]):
            route = None
        found = withdrawal(route, name) if route and lasting else None
        if found is not None:
            found = found if await self._taken_back(found, name) else None
        revision = found.revision if found else _withdrawn(route)
        told = trouble.message[:800] + (f"; {_told(revision)}" if revision is not None else "")
        if lasting or revision is not None or trouble.reason is Reason.INVALID_SPEC:
            await self._say(live, trouble.reason, told)
        if found is not None:
            log.warning("%s: %s", name, told)
            await self._tell(live, told)

    async def _taken_back(self, found: Withdrawal, name: str) -> bool:
        try:
            await self.hands.apply(Manifest(found.body, update=True))
        except Forbidden as error:
            log.error("%s: a candidate's share cannot be taken back: %s", name, error)
            return False
        return True

    def _lasts(self, name: str) -> bool:
        failing = self._failing.setdefault(name, _Failing(self.clock()))
        failing.passes += 1
        return failing.passes >= LASTING_PASSES and self.clock() - failing.since >= LASTING_SECONDS

    async def _say(self, live: dict[str, Any], reason: Reason, message: str) -> None:
        """The conditions and their generation, and nothing else of a status that perhaps nobody can read."""
        status = dict(live.get("status", {}))
        conditions = [item for raw in status.get("conditions", []) if (item := _condition(raw)) is not None]
        kinds = [(ConditionType.STALLED, True)]
        if reason is Reason.INVALID_SPEC:
            kinds.append((ConditionType.ACCEPTED, False))
        generation = live["metadata"]["generation"]
        for kind, truth in kinds:
            conditions = set_condition(conditions, kind, truth, reason, message, generation, time.time())
        # Without the generation, kstatus and Argo CD would take what nobody can plan for something on its way.
        changed = {**status, "observedGeneration": generation, "conditions": [item.to_api() for item in conditions]}
        if changed == status:
            return
        try:
            await self.hands.release_status(live, changed)
        except (
            Invalid,
            Forbidden,
        ) as error:  # the rest of the status is what the API server does not take: a person must mend it
            log.warning("%s: its conditions cannot be written: %s", live["metadata"]["name"], error)

    async def _tell(self, live: dict[str, Any], message: str) -> None:
        try:
            await self.hands.tell(live, Note("CandidateWithdrawn", message, warning=True))
        except Retry as error:
            log.warning("%s: event CandidateWithdrawn not written: %s", live["metadata"]["name"], error)


def withdrawal(route: dict[str, Any], release: str) -> Withdrawal | None:
    """The live route without any candidate's share; None where no revision of the release has one."""
    router = ROUTERS[route["kind"]]
    found = router.without_candidate(route["spec"], release)
    if found is None:
        return None
    metadata = route["metadata"]
    marks = {
        names.ANNOTATION_SHARES: "{}",
        names.ANNOTATION_WITHDRAWN: str(found.revision),
        names.ANNOTATION_HASH: TAKEN_BACK,
    }
    body = {
        "apiVersion": router.api_version,
        "kind": router.kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            "annotations": marks,
            "ownerReferences": metadata["ownerReferences"],
        },
        "spec": found.spec,
    }
    return Withdrawal(found.revision, body)


def _withdrawn(route: dict[str, Any] | None) -> int | None:
    """The revision that was taken back here in an earlier pass."""
    annotations = route["metadata"].get("annotations", {}) if route else {}
    text = annotations.get(names.ANNOTATION_WITHDRAWN, "")
    mine = annotations.get(names.ANNOTATION_HASH) == TAKEN_BACK
    return int(text) if mine and re.fullmatch(r"[0-9]{1,9}", text) else None


def _told(revision: int) -> str:
    return f"candidate {revision_name(revision)} is off the route, because nothing watches it; its incumbents answer"


def _condition(raw: Any) -> Condition | None:
    try:
        return Condition.model_validate(raw)
    except ValidationError:
        return None
