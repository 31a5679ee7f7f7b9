"""Plays the demo: `python -m e2e.demo [--model smollm2|tiny] [--data DIR] [--acts 1,2,3] [--keep]`.

Brings up the cluster and the images, installs everything, plays the acts (side by side where the model is small), and
writes build/demo/report.html and build/demo/summary.json. Exit code 0 only when every claim of every act held.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster, ClusterError, ensure
from e2e.cluster.images import build, publish
from e2e.cluster.paths import REPOSITORY
from e2e.demo.acts import ACTS, ClaimFailed, Played, Stage, host_of, new_act
from e2e.demo.display import Display
from e2e.demo.install import IMAGES, InstallError, install, remove_release, uninstall
from e2e.demo.profiles import PROFILES, REHEARSAL, TINY, Profile
from e2e.demo.recorder import Overdue
from e2e.demo.report import write_report

DEFAULT_DATA = REPOSITORY / "e2e" / "data" / "shop"


def main(argv: list[str] | None = None) -> int:
    options = _arguments(argv)
    started = time.time()
    with Display() as display:
        try:
            display.say("cluster")
            cluster = ensure("demo")
            display.say("images")
            images = publish(cluster.registry, build(IMAGES), cluster.node_registry)
            acts = _play(options, cluster, images, display)
        except (ClusterError, InstallError) as error:
            display.say(str(error))
            return 1
        except KeyboardInterrupt:
            display.say("stopped; the cluster still runs, `make cluster-down` ends it")
            sys.stdout.flush()
            os._exit(130)  # the threads of the acts would be waited for otherwise, for as long as a cycle takes
        facts = _facts(options, started)
        page = write_report(acts, facts, options.out)
        for played in acts:
            display.say(f"act {played.number}: {played.failure or f'{len(played.claims)} claims hold'}")
        display.say(f"report: {page}")
        if not options.keep:
            uninstall(cluster)
    return 1 if any(played.failure for played in acts) else 0


def _play(options: argparse.Namespace, cluster: Cluster, images: dict[str, str], display: Display) -> list[Played]:
    profile = REHEARSAL if options.model == REHEARSAL.model else PROFILES[options.model]
    acts = _play_acts(options, options.acts, Theatre(cluster, images, display), profile)
    promotion = next((played for played in acts if played.number == 1), None)
    if promotion and promotion.failure and profile is not TINY:
        # An honest "no" is a result. The way through a promotion is then shown with the model that earns one.
        display.say(f"{profile.model} earned no promotion; the tiny model plays act one")
        acts += _play_acts(options, [1], Theatre(cluster, images, display), TINY)
    return acts


@dataclass(frozen=True)
class Theatre:
    """What the acts of any model need."""

    cluster: Cluster
    images: dict[str, str]
    display: Display


def _play_acts(options: argparse.Namespace, numbers: list[int], theatre: Theatre, profile: Profile) -> list[Played]:
    """Some acts, on one installation, as many at once as the profile says."""
    display = theatre.display
    site = install(theatre.cluster, theatre.images, profile, options.data, host_of("shop"), display.say)
    run = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    stage = Stage(site, profile, run, options.out, display.watch)

    def play(number: int) -> Played:
        played = new_act(number)
        try:
            ACTS[number](stage, played)
        except (ClaimFailed, Overdue, ClusterError) as error:
            played.failure = str(error)
            display.say(played.failure)
        display.rest(played)
        if not (options.keep and number == numbers[-1]):
            remove_release(site, played.release)
        return played

    stages = ThreadPoolExecutor(profile.acts_at_once)
    return list(stages.map(play, numbers))


def _facts(options: argparse.Namespace, started: float) -> dict[str, Any]:
    name = options.data.name
    return {
        "model": options.model,
        "collection": name,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 1),
    }


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.demo", description=__doc__)
    parser.add_argument("--model", choices=[*sorted(PROFILES), REHEARSAL.model], default="smollm2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="a collection in BEIR layout")
    parser.add_argument("--acts", type=_acts, default=list(ACTS), help="which acts, e.g. 1,3")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "demo")
    parser.add_argument("--keep", action="store_true", help="leave the last act's release running")
    return parser.parse_args(argv)


def _acts(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.isdigit()]
    if not numbers or any(number not in ACTS for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: must be some of {', '.join(map(str, ACTS))}")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
