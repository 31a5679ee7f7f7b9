"""RewriterRevision: the immutable result of a cycle, with the evidence it was judged by."""

from typing import Annotated, Literal

from pydantic import Field

from rewriter_operator.api.model import ApiModel, Digest, Name, ShortText
from rewriter_operator.api.status import GateResult, Metrics, Outcome, Weights


class RevisionPhase(ApiModel):
    """One phase of the cycle that made the revision."""

    number: int
    version: Annotated[str, Field(max_length=64)]
    metrics: Metrics = {}
    validation: Metrics = {}
    """What its weights do on the validation queries; the best phase gave the revision its weights."""


class RewriterRevisionSpec(ApiModel):
    """Which weights, trained how. Never changed after creation."""

    release_name: Name
    revision: Annotated[int, Field(ge=0)]
    weights: Weights
    chosen_because: ShortText = ""
    """Why these of all phases' weights, with the numbers; empty where phases were not validated."""
    parent: Annotated[str, Field(max_length=64)] = ""
    """Weights that the cycle started from."""
    spec_digest: Digest
    reward_revision: Annotated[str, Field(max_length=64)] = ""
    """Digest of the reward that trained it."""
    fusion_sha256: Annotated[str, Field(max_length=64)] = ""
    """Of the fusion's constants in that reward; empty in a revision from before it was recorded."""
    relevance_model: Annotated[str, Field(max_length=256)] = ""
    data_digests: Annotated[dict[str, str], Field(max_length=8)] = {}
    phases: Annotated[list[RevisionPhase], Field(max_length=1000)] = []
    gate: GateResult | None = None
    compared_with: Annotated[str, Field(max_length=64)] = ""
    """Revision that the gate compared it with."""


class RewriterRevisionStatus(ApiModel):
    """What became of it."""

    outcome: Outcome | None = None
    message: ShortText = ""
    serving: Annotated[list[Name], Field(max_length=3)] = []
    """Stages whose incumbent it is."""
    weights: Literal["Kept", "Removed"] | None = None
    """Whether its weight set is still on the volume (spec.retention of the release)."""
