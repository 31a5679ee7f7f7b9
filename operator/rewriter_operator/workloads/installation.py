"""What the operator was installed with: images and pull settings that a release may leave out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Installation:
    """Defaults for all releases."""

    trainer_image: str
    sampler_image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
