"""Which serving pods a release had, looked at again and again: that there was never one more is seen in no status."""

import threading
from dataclasses import dataclass
from typing import Any, Final

from e2e.cluster import ClusterError
from e2e.demo.install import Site

EVERY_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Look:
    """The serving pods at one moment: uid -> the revision whose requests it gets, empty for none."""

    revisions: dict[str, str]
    restarts: int


class Census:
    """Runs from construction to `close`."""

    def __init__(self, site: Site, release: str) -> None:
        self._site, self._release = site, release
        self._over = threading.Event()
        self.looks: list[Look] = []
        threading.Thread(target=self._follow, name=f"census-{release}", daemon=True).start()

    def now(self) -> Look:
        """One look."""
        labels = f"rewriter.dev/release={self._release},rewriter.dev/role=serving"
        pods: list[dict[str, Any]] = self._site.get("pods", "-l", labels)["items"]
        found = {pod["metadata"]["uid"]: pod["metadata"]["labels"].get("rewriter.dev/cycle", "") for pod in pods}
        containers = [item for pod in pods for item in pod["status"].get("containerStatuses", [])]
        return Look(found, sum(item["restartCount"] for item in containers))

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def _follow(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            try:
                self.looks.append(self.now())
            except ClusterError:
                continue  # the next look is soon
