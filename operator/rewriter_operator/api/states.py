"""The states of a release, as the word that `status.state` may hold. The transitions are core/states.py."""

from enum import StrEnum


class State(StrEnum):
    """Where a release is in its life."""

    BOOTSTRAPPING = "Bootstrapping"
    """New: what serves first is being found out and brought up."""
    IDLE = "Idle"
    """No cycle runs; incumbents serve."""
    PREPARING = "Preparing"
    """Everything that the cycle needs is being checked."""
    TRAINING = "Training"
    """Phases run."""
    GATING = "Gating"
    """Evidence about the candidate is gathered and judged."""
    HOLDING = "Holding"
    """The gate could not decide; a person may, until a deadline. No pod of the candidate exists."""
    DEPLOYING = "Deploying"
    """The candidate's serving pods come up; no request reaches them."""
    ROLLING_OUT = "RollingOut"
    """The candidate gets its share, stage by stage."""
    BAKING = "Baking"
    """All stages at full share, watched."""
    PROMOTING = "Promoting"
    """The promotion is recorded on the volume."""
    WITHDRAWING = "Withdrawing"
    """The candidate's share is taken back to zero."""
    RETURNING = "Returning"
    """An earlier revision is brought back because a person asked for it; no cycle runs."""
