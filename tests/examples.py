"""How many examples a property test tries: few in `make unit`, where somebody waits, four times more in `make test`."""

import os

from hypothesis import HealthCheck, settings

THOROUGH = "REWRITER_TEST_THOROUGH"
"""Environment variable; e2e/tiers.py sets it when more tiers than one are run."""


def examples(quick: int) -> settings:
    """`quick` examples, the same ones in every run; a slow machine is no failure."""
    count = quick * (4 if os.environ.get(THOROUGH) else 1)
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
