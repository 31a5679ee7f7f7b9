"""Puts a release on the cluster as a person would, by YAML, and waits until the gateway answers for it."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Final

from e2e.demo.install import Site, lay_out_release
from e2e.demo.profiles import Profile
from e2e.demo.recorder import Overdue
from e2e.demo.rewrites import Gateway
from e2e.demo.traffic import TIMEOUT_SECONDS, read_texts
from rewriter_contract.messages import STAGES

ANSWER_SECONDS: Final = 120


def host_of(release: str) -> str:
    """The Host header of a release's route."""
    return f"{release}.example"


@dataclass(frozen=True)
class NewRelease:
    """A release that is about to be created."""

    name: str
    profile: Profile
    base: str
    """Directory of the profile's base model on the volume."""
    run: str
    """Names this run's directories on the volume."""
    relevance: str
    """Service of its relevance model."""

    @property
    def sub_path(self) -> str:
        """Its directory on the volume."""
        return f"demo/runs/{self.run}/{self.name}"

    def create(self, site: Site) -> None:
        """Lay out its directory and apply it."""
        lay_out_release(site, self.base, self.sub_path)
        site.apply(
            "release.yaml",
            **asdict(self.profile) | {"template": json.dumps(self.profile.template)},
            name=self.name,
            sub_path=self.sub_path,
            relevance=self.relevance,
            host=host_of(self.name),
        )

    def gateway(self, site: Site) -> Gateway:
        """Where its rewrites are asked for."""
        return Gateway(site.cluster.gateway, host_of(self.name), TIMEOUT_SECONDS)


def read_queries(site: Site) -> list[str]:
    """What consumers ask with: queries that nothing was trained on."""
    return read_texts(site.volume / site.collection / "data" / "validation.jsonl")


def wait_for_answers(gateway: Gateway, query: str, release: str) -> None:
    """Until every stage is answered: Envoy learns of a new route a moment after the API server.

    Raises:
        Overdue: when it never is; the client's first request would then be no failure of a rollout.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while any(gateway.rewrites(stage, query).status != 200 for stage in STAGES):
        if time.monotonic() > deadline:
            raise Overdue(f"the gateway never answered for {release}")
        time.sleep(0.5)
