"""What differs between the demo's two models: prompt, size of a phase, load, acts. Data only.

A cycle of SmolLM2 keeps two cores busy for a quarter of an hour, so it plays the act that is about what it learns, and
the tiny model, afterwards, those that are about what the operator does.

The gate's settings are the defaults for both.
"""

from dataclasses import dataclass, replace
from typing import Final

from e2e.demo.tiny_prompt import TEMPLATE


@dataclass(frozen=True)
class Exploit:
    """How act two trains: longer and in larger steps, so that the model finds the planted flaw within the act."""

    flaw: str
    """KIND:STRENGTH."""
    phases: int
    learning_rate: float


EXPLOIT: Final = Exploit("length:0.15", phases=3, learning_rate=3e-4)
"""Found by the tiny model, which plays act two."""


@dataclass(frozen=True)
class Profile:
    """One model and how the demo trains and serves it."""

    model: str
    bootstrap: str
    template: str
    phases: int
    queries: int
    samples: int
    temperature: float
    max_tokens: int
    learning_rate: float
    pairs_per_step: int
    epochs: int
    rate: float
    """Requests per second and stage that the client sends while the model trains."""
    rollout_rate: float
    """The same during a rollout, when nothing else wants the machine."""
    share_requests: int
    """Requests that verify a share."""
    analysis_requests: int
    """Requests that the candidate must have answered before the limits are judged."""
    max_latency: int
    """Limit of the candidate's p95, in ms; two cores also train."""
    minutes: int
    """Longest that one cycle may take before the demo gives up."""
    training_resources: str = "{}"
    """Of trainer and sampler pods, as JSON. A request for CPU also says how many threads they start."""
    trainers: int = 1
    """spec.training.trainer.replicas."""
    acts: tuple[int, ...] = (1, 2, 3)
    """The acts that it plays; the tiny model plays the others."""
    acts_at_once: int = 1
    """Releases that train and serve side by side; memory bounds it."""
    base: str = ""
    """Model whose base is used; the profile's own where empty."""
    data: str = '{"corpus": "data/corpus.jsonl", "train": "data/train.jsonl", "gate": "data/gate.jsonl"}'
    """spec.data, as JSON."""
    checks: str = "[]"
    """spec.gate.checks, as JSON. The demo's models keep every default."""
    replicas: int = 1
    capacity: str = "Surge"
    """spec.serving.capacity.mode."""


TINY: Final = Profile(
    model="tiny",
    bootstrap="BaseModel",
    template=TEMPLATE,
    phases=2,
    queries=96,
    samples=8,
    temperature=1.0,
    max_tokens=24,
    learning_rate=1e-4,
    pairs_per_step=8,
    epochs=1,
    rate=2.0,
    rollout_rate=2.0,
    share_requests=30,
    analysis_requests=10,
    max_latency=1000,
    minutes=20,
    training_resources='{"requests": {"cpu": "100m"}}',
    acts_at_once=3,
)

SMOLLM2: Final = Profile(
    model="smollm2",
    bootstrap="BaseModel",
    template=(
        "Rewrite the search query in the words of the products that it asks for.\n"
        "query: specs for reading in bed\nrewrite: reading glasses\nquery: {query}\nrewrite:"
    ),
    phases=2,
    queries=24,
    samples=8,
    temperature=0.9,
    max_tokens=16,
    learning_rate=2e-5,
    pairs_per_step=4,
    epochs=1,
    rate=0.2,
    rollout_rate=0.4,
    share_requests=10,
    analysis_requests=5,
    max_latency=4000,
    minutes=35,
    acts=(1,),
)

REHEARSAL: Final = replace(
    TINY,
    model="rehearsal",
    base="tiny",
    phases=2,
    queries=64,
    learning_rate=2e-4,
    data=TINY.data.removesuffix("}") + ', "validation": "data/validation.jsonl"}',
    checks=(
        '[{"name": "Repetition", "max": 0.15, "margin": 0.15}, {"name": "RewardGain", "min": -0.1},'
        ' {"name": "GoldNdcg", "margin": 0.15}, {"name": "GoldRecall", "margin": 0.15},'
        ' {"name": "CopyRate", "max": 0.9, "margin": 0.3}]'
    ),
)
"""For tests of the machinery, not a demo: the tiny model with limits that it keeps whatever it learnt that day, so that
a test of traffic does not hang on its luck. The gate's self-test must still pass with them."""

SHORTEST: Final = replace(REHEARSAL, phases=1, queries=32, samples=4, learning_rate=2e-5, data=TINY.data)
"""The smallest cycle that is a whole one. What it learns hardly differs from what it started from: it is for what
begins with the gate's verdict, the way of requests."""

IN_PLACE: Final = replace(SHORTEST, model="in-place", replicas=2, capacity="InPlace", acts=(5,))
"""The candidate's weights are loaded into pods that served the incumbent."""

REHEARSALS: Final = {profile.model: profile for profile in (REHEARSAL, IN_PLACE)}

PROFILES: Final = {profile.model: profile for profile in (TINY, SMOLLM2)}
"""What the demo is played with."""
