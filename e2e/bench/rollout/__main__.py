"""How a rollout judges and moves traffic: `python -m e2e.bench.rollout` writes build/bench/rollout.json.

Three parts. `drawn`: how often an equal candidate is taken back and how soon a worse one, from a model of traffic, in
seconds. `dataplane`: promotions and rollbacks on the cluster of the demo, under load, two minutes each; every one that
is over is kept, a run that was stopped goes on, and `--anew` begins again. `peer`: aborts and approvals of 60 releases
and of as many Argo Rollouts on API servers of their own, without a data plane (e2e/bench/scale). What is not there is
null, with its reason.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from e2e.bench.results import write_result
from e2e.bench.rollout import drawn
from e2e.bench.rollout.data_plane import Kept, NotAsMeant, Orders, play_all, prepare_site, setup_of
from e2e.bench.rollout.figures import counts, report
from e2e.bench.rollout.observation import Observation
from e2e.bench.rollout.turns import Kind, wanted
from e2e.cluster import ClusterError
from e2e.cluster.paths import REPOSITORY
from e2e.demo.install import InstallError, uninstall
from e2e.demo.recorder import Overdue

RESULT: Final = REPOSITORY / "build" / "bench" / "rollout.json"
DATA: Final = REPOSITORY / "e2e" / "data" / "shop"
PARTS: Final = ("drawn", "dataplane", "peer")
PEER_RELEASES: Final = 60


@dataclass
class Result:
    """The JSON, and the files of what was measured so far beside it."""

    out: Path
    asked: dict[Kind, int]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kept(self) -> Kept:
        """The observations."""
        return Kept(self.out.with_name(f"{self.out.stem}-parts"))

    @property
    def _drawn(self) -> Path:
        return self.kept.directory / "drawn.json"

    def draw(self, runs: int) -> None:
        """The drawn part, anew."""
        write_result(self._drawn, drawn.measure(runs))
        self.write()

    @property
    def _beside(self) -> Path:
        return self.kept.directory / "beside-argo-rollouts.json"

    def compare(self) -> bool:
        """The part with the peer, anew; whether it came to its end."""
        size = ("--quick", f"--releases={PEER_RELEASES}")
        parts = ("--part=operator-200", "--part=peer-200")
        command = (sys.executable, "-m", "e2e.bench.scale", *size, *parts, f"--out={self._beside}")
        done = subprocess.run(command, cwd=REPOSITORY)
        self.write()
        return done.returncode == 0

    def keep(self, observation: Observation) -> None:
        """One more rollout; releases call this from threads of their own."""
        with self._lock:
            self.kept.add(observation)
            self.write()
        moved = [moment.seconds for moment in observation.moments if moment.seconds is not None]
        asked = f", last request after {observation.asked.to_last_request:.2f} s" if observation.asked else ""
        slowest = f", slowest decision {max(moved):.2f} s" if moved else ""
        tell(
            f"{observation.release}: {observation.kind} {observation.number} in {observation.seconds:.0f} s, "
            f"{len(observation.failures)} of {observation.requests} failed{asked}{slowest}: {observation.ended}"
        )

    def write(self) -> dict[str, Any]:
        """The JSON of what there is."""
        made = report(_read(self._drawn), self.kept.read(), self.asked, _read(self._beside))
        write_result(self.out, made)
        return made


def _read(file: Path) -> dict[str, Any] | None:
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return found


def play(result: Result, arguments: argparse.Namespace) -> None:
    """The part on the cluster: what is still missing of it."""
    if arguments.anew:
        result.kept.forget()
    site = prepare_site(arguments.data, tell)
    setup = setup_of(site)
    played = [one for one in result.kept.read() if one.setup == setup]
    orders = Orders(result.asked, counts(played), time.monotonic() + 60 * arguments.minutes)
    play_all(site, orders, result.kept, arguments.releases, result.keep)
    uninstall(site.cluster)


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> int:
    """Measure and write."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that clients are ended
    result = Result(arguments.out, wanted(arguments.promotes, arguments.rollbacks))
    parts = arguments.part or PARTS
    try:
        if "drawn" in parts:
            result.draw(arguments.runs)
        if "dataplane" in parts:
            play(result, arguments)
        if "peer" in parts and not result.compare():
            return 1
    except (ClusterError, InstallError, Overdue, NotAsMeant) as error:
        tell(str(error))
        return 1
    except (KeyboardInterrupt, SystemExit) as stop:
        tell("stopped; the same command goes on. The cluster still runs, `make cluster-down` ends it")
        os._exit(143 if isinstance(stop, SystemExit) else 130)  # releases would be waited for otherwise
    finally:
        made = result.write()
    shown = {key: value for key, value in made.items() if key == "not_measured" or not isinstance(value, dict)}
    print(json.dumps(shown, indent=2), f"all in {os.path.relpath(arguments.out)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.rollout", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; the other's figures stay")
    parser.add_argument("--runs", type=int, default=2000, help="equal rollouts of each kind; a quarter for each drop")
    parser.add_argument("--promotes", type=int, default=20)
    parser.add_argument("--rollbacks", type=int, default=20, help="half of them aborts, half rollback-to")
    parser.add_argument("--releases", type=int, default=2, help="that are played side by side")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no rollout after these")
    parser.add_argument("--anew", action="store_true", help="forget what earlier runs have played")
    parser.add_argument("--data", type=Path, default=DATA, help="a collection in BEIR layout")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
