"""The stages that a release may have."""

from enum import StrEnum


class StageName(StrEnum):
    """Consumers of rewrites, from the smallest blast radius to the largest."""

    FINERANK = "finerank"
    RAWRANK = "rawrank"
    RECALL = "recall"
