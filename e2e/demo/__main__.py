"""Plays the demo: `python -m e2e.demo [--model smollm2|tiny] [--data DIR] [--acts 1,2,3] [--keep]`.

Brings up the cluster and the images, installs everything, plays the acts (side by side where the model is small), and
writes build/demo/report.html and build/demo/summary.json. Exit code 0 only when every claim of every act held;
an act that its model did not earn counts when the tiny model then plays it.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import ClusterError
from e2e.cluster.disk import require_disk_space
from e2e.cluster.paths import REPOSITORY, ClusterPaths
from e2e.demo.acts import ACTS, USUAL, ClaimFailed, NotEarned, Played, Stage, new_act
from e2e.demo.display import Display
from e2e.demo.ground import CLUSTER_NAME, Ground, prepare_ground
from e2e.demo.install import InstallError, Site, begin_base, install, prepare_base, remove_release, uninstall
from e2e.demo.new_release import host_of
from e2e.demo.profiles import PROFILES, REHEARSALS, SMOLLM2, TINY, Profile
from e2e.demo.recorder import Overdue
from e2e.demo.report import write_report

FIRST_RUN_BYTES = 33 * 1024**3
"""Modules and compiler cache; images in the builder's store, the registry and the node; the volume: 35 GB measured."""
DEFAULT_DATA = REPOSITORY / "e2e" / "data" / "shop"


def main(argv: list[str] | None = None) -> int:
    options = _arguments(argv)
    try:
        return _demo(options)
    except KeyboardInterrupt:
        print("stopped; the cluster still runs, `make cluster-down` ends it", flush=True)
        os._exit(130)  # the threads of the acts would be waited for otherwise, for as long as a cycle takes


def _demo(options: argparse.Namespace) -> int:
    started = time.time()
    with Display() as display:
        try:
            _require_room()
            display.say("cluster and images")
            ground = prepare_ground()
            acts = _play(options, ground, display)
        except (ClusterError, InstallError) as error:
            display.say(str(error))
            return 1
        facts = _facts(options, started)
        page = write_report(acts, facts, options.out)
        for played in acts:
            display.say(f"act {played.number}: {played.failure or f'{len(played.claims)} claims hold'}")
        display.say(f"report: {page}")
        if not options.keep:
            uninstall(ground.cluster)
    return 0 if all(_held(played, acts) for played in acts) else 1


def _require_room() -> None:
    local = os.environ.get("CLUSTER", "local") == "local"
    if local and not ClusterPaths.of(CLUSTER_NAME).containerd.exists():
        require_disk_space(FIRST_RUN_BYTES, "the first run of the demo")


def _play(options: argparse.Namespace, ground: Ground, display: Display) -> list[Played]:
    profile = (PROFILES | REHEARSALS)[options.model]
    site = install(ground.cluster, ground.images, profile, options.data, host_of("shop"), display.say)
    theatre = Theatre(site, display, options.out, kept=options.acts[-1] if options.keep else 0)
    own = [number for number in options.acts if number in profile.acts]
    left = [number for number in options.acts if number not in profile.acts]
    if own and left:
        begin_base(site, TINY)  # while the first model's pods start and the machine has a moment
    acts = _play_acts(theatre, profile, own)
    if any(played.not_earned for played in acts) and profile is SMOLLM2:
        # An honest "no" is a result. The way through a promotion is then shown with the model that earns one.
        display.say(f"{profile.model} earned no promotion; the tiny model plays act one")
        left.insert(0, 1)
    return acts + _play_acts(theatre, TINY, left)


@dataclass(frozen=True)
class Theatre:
    """What the acts of any model need."""

    site: Site
    display: Display
    out: Path
    kept: int
    """Act whose release is left running; 0 for none."""


def _play_acts(theatre: Theatre, profile: Profile, numbers: list[int]) -> list[Played]:
    """Some acts of one model, as many at once as the profile says."""
    if not numbers:
        return []
    display, site = theatre.display, theatre.site
    run = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    stage = Stage(site, profile, prepare_base(site, profile), f"{run}-{profile.model}", theatre.out, display.watch)

    def play(number: int) -> Played:
        played = new_act(number, profile.model)
        try:
            ACTS[number](stage, played)
        except (ClaimFailed, Overdue, ClusterError) as error:
            played.failure, played.not_earned = str(error), isinstance(error, NotEarned)
            display.say(played.failure)
        display.rest(played)
        if number != theatre.kept:
            remove_release(site, played.release)
        return played

    with ThreadPoolExecutor(profile.acts_at_once) as stages:
        return list(stages.map(play, numbers))


def _held(played: Played, acts: list[Played]) -> bool:
    """Every claim held; or the model earned no promotion, and another one showed the act in its place."""
    again = [other for other in acts if other.number == played.number and other is not played]
    return not played.failure or (played.not_earned and any(not other.failure for other in again))


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
    parser.add_argument("--model", choices=[*sorted(PROFILES), *REHEARSALS], default="smollm2")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="a collection in BEIR layout")
    parser.add_argument("--acts", type=_acts, default=list(USUAL), help="which acts, e.g. 1,3")
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
