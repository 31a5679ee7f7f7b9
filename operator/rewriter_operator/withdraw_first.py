"""What a person changed takes a candidate's share back before anything else of the release is read.

A pass reads some ten lists, and then writes; on a busy API server that is a second, and for hundreds of releases that
are aborted at once many seconds. To give a share back to the incumbents needs none of it: the release is read live, and
its children are known from the last reading (readings.py), of which nothing but the person's change was told since.
What is written is the route that the pass after it would write first, and nothing but it: status, Events and whatever
else is to be done are decided by that pass, from everything read live (docs/decisions/0030).
"""

import asyncio
import logging
import time
from dataclasses import dataclass, replace

from rewriter_operator.cluster.act import Hands
from rewriter_operator.cluster.contests import Contests
from rewriter_operator.cluster.release import read_release
from rewriter_operator.core.plan import plan
from rewriter_operator.core.world import Release, World
from rewriter_operator.readings import Readings
from rewriter_operator.workloads.installation import Installation
from rewriter_operator.workloads.render import Manifest, render

log = logging.getLogger(__name__)


@dataclass
class WithdrawFirst:
    """Of the releases of one namespace, during one term."""

    hands: Hands
    installation: Installation
    readings: Readings
    contests: Contests

    async def __call__(self, name: str) -> bool:
        """Whether a share was taken back; everything else is left to a pass."""
        known = self.readings.overtaken(name)
        route = known.world.route if known else None
        if known is None or route is None or not any((*route.shares.values(), *route.mirrors.values())):
            return False
        self.readings.begin(name)  # it is good for one look
        try:
            live = await self.hands.kube.get("RewriterRelease", name)
            if live is None or "deletionTimestamp" in live["metadata"]:
                return False
            back = await asyncio.to_thread(self._withdrawing, known.world, read_release(live), time.time())
            if back is None:
                return False
            await self.hands.apply(back)
        except Exception:  # a pass meets it too, and knows what to do about it
            return False
        self.contests.wanted_otherwise(name, back)
        log.info("%s: the candidate's share was taken back first", name)
        return True

    def _withdrawing(self, known: World, release: Release, now: float) -> Manifest | None:
        """The route without the candidate, where what the person changed is what takes it back."""
        if release.uid != known.release.uid or release.status != known.status:
            return None  # the status says what the children should be: with another one they are not known
        known = replace(known, now=now)
        if plan(known).urgent_route:
            return None  # for a reason of its own, for which the pods must be asked
        world = replace(known, release=release)
        decision = plan(world)
        if not decision.urgent_route:
            return None
        decided = replace(release, status=decision.status)
        manifests = render(decided, decision.wanted, self.installation)
        return next(manifest for manifest in manifests if manifest.is_route)
