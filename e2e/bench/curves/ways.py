"""The ways of training that are compared. They differ in one thing: how old the weights are that samples come from."""

from dataclasses import dataclass
from typing import Final

STEPS: Final = 72
"""Optimizer steps of every run."""
PHASE: Final = 24
"""Steps of a phase, as the demo's tiny model has them."""
EVERY: Final = 24
"""Steps between two measurements on the held-out queries."""
QUERIES: Final = 4
"""Drawn for each step: two pairs each make the demo's step of eight."""


@dataclass(frozen=True)
class Way:
    """One way."""

    name: str
    steps_per_sync: int
    """How many steps are taken with the samples of one set of weights."""
    follows: bool = False
    """The reference moves to the sampled weights with every sync (PhaseStart); else it stays the base (Incumbent)."""


ONLINE: Final = "online"
WAYS: Final = (
    Way("offline", STEPS),
    Way("semi-online", PHASE, follows=True),
    Way("semi-online, reference Incumbent", PHASE),
    Way(ONLINE, 1),
)
"""`semi-online` is a release with the defaults of its spec. All others keep one reference, so that they differ by their
syncs alone: one that moved with every step would equal the policy, and all rewards would be 0."""
