"""The passthrough backend's program: answers every query with no rewrites, the first incumbent of every stage.

`python -m rewriter_sampler.passthrough`. The same API, counters and draining as a serving pod, without a model:
it must start in under a second and must never import vllm or torch.
"""

import asyncio
import logging
import os
import sys

from rewriter_contract.agent import boot_id
from rewriter_contract.messages import PASSTHROUGH, LoadState
from rewriter_sampler.rewrite_api import Condition, RewriteApi, Rewrites
from rewriter_sampler.serving_process import run_until_stopped
from rewriter_sampler.settings import BadSettings, pod_settings

log = logging.getLogger(__name__)


class Passthrough:
    """Knows no rewrites."""

    revision = PASSTHROUGH
    lives = 0

    def condition(self) -> Condition:
        """Always ready: there is nothing to load."""
        return Condition(LoadState.READY, weights=None)

    async def rewrite(self, query: str, n: int) -> Rewrites:
        """None, which is a valid answer."""
        return Rewrites(())


def main() -> int:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = pod_settings(os.environ)
    except BadSettings as error:
        log.critical("%s", error)
        return 2
    asyncio.run(run_until_stopped(RewriteApi(Passthrough(), settings.token, boot_id()), settings.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
