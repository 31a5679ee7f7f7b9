"""One rollout that was played on the cluster, as it is kept in a file of its own. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from e2e.bench.rollout.moments import Decision, Moment
from e2e.bench.rollout.turns import Kind


@dataclass(frozen=True)
class Failure:
    """A request that failed, and what the release did when it was sent."""

    at: float
    stage: str
    status: int
    milliseconds: float
    problem: str
    state: str


@dataclass(frozen=True)
class Asked:
    """What a person asked for in the midst of it."""

    at: float
    """Unix seconds, just before the annotation is sent."""
    revision: str
    """Whose answers are to end."""
    shares: Mapping[str, int]
    """Percent of each stage's requests that it was to answer then."""
    to_last_request: float
    """Seconds until the client held its last answer, in any stage."""


@dataclass(frozen=True)
class Load:
    """The machine's load average of one minute."""

    before: float
    after: float


@dataclass(frozen=True)
class Observation:
    """What the client, and a watch, saw of one rollout: from when it was asked for until what it left is gone."""

    kind: Kind
    is_fulfilled: bool
    """It ended as its kind should; else only its requests and decisions count."""
    setup: Mapping[str, Any]
    """What was measured: images, profile. Only observations of one setup are put together."""
    release: str
    number: int
    """The cycle's; of a return, the number of the revision that came back."""
    ended: str
    """Outcome and message, in the operator's words."""
    began: float
    seconds: float
    """Until the operator was done; what follows until its superfluous pods are gone is in the requests only."""
    states: Mapping[str, float]
    """Seconds in each state of the release."""
    load: Load
    requests: int
    failures: Sequence[Failure]
    moments: Sequence[Moment]
    asked: Asked | None = None

    def to_json(self) -> dict[str, Any]:
        """For its file."""
        return asdict(self)


def from_json(kept: Mapping[str, Any]) -> Observation:
    """What `to_json` gave."""
    return Observation(
        **{
            **kept,
            "kind": Kind(kept["kind"]),
            "load": Load(**kept["load"]),
            "failures": [Failure(**failure) for failure in kept["failures"]],
            "moments": [Moment(Decision(**moment["decision"]), moment["seconds"]) for moment in kept["moments"]],
            "asked": Asked(**kept["asked"]) if kept["asked"] else None,
        }
    )
