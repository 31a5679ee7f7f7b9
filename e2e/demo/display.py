"""What a person sees while acts play: a live table each on a terminal, a line per change elsewhere."""

import sys
import threading
import time
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from e2e.demo.acts import Played
from e2e.demo.recorder import Recorder, Seen
from e2e.demo.traffic import Totals, Traffic
from rewriter_contract.messages import STAGES

REFRESH_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Watched:
    """An act on stage."""

    played: Played
    recorder: Recorder
    traffic: Traffic


class Display:
    """Shows the acts that are on; a context manager around all acts. Acts may call it from threads of their own."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._watched: dict[int, Watched] = {}
        self._told: dict[int, str] = {}
        self._began = time.monotonic()

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        threading.Thread(target=self._show, name="display", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._live:
            self._live.stop()

    def watch(self, played: Played, recorder: Recorder, traffic: Traffic) -> None:
        """Show this act from now on."""
        with self._lock:
            self._watched[played.number] = Watched(played, recorder, traffic)
        self.say(f"act {played.number}: {played.title}")

    def rest(self, played: Played) -> None:
        """Show this act no longer."""
        with self._lock:
            self._watched.pop(played.number, None)

    def say(self, text: str) -> None:
        """One line that stays."""
        line = f"[{time.monotonic() - self._began:5.0f} s] {text}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        sys.stdout.flush()

    def _show(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            with self._lock:
                watched = [act for _, act in sorted(self._watched.items())]
            if self._live:
                self._live.update(Group(*map(_table, watched)), refresh=True)
                continue
            for act in watched:
                self._say_change(act)

    def _say_change(self, watched: Watched) -> None:
        line, number = state_line(watched.recorder.last), watched.played.number
        if line == self._told.get(number):
            return
        self._told[number] = line
        totals = watched.traffic.totals()
        self.say(f"act {number}: {line}; {totals.sent} requests, {totals.failed} failed")


def state_line(seen: Seen) -> str:
    """State, phase and shares in one line."""
    phase = seen.cycle.get("phase")
    parts = [seen.state or "new"]
    if phase:
        parts.append(f"phase {phase['number']} {phase['step'].lower()}")
    shares = [f"{stage['name']} {stage['share']} %" for stage in seen.status.get("stages", []) if stage.get("share")]
    return ", ".join(parts + shares)


def _table(watched: Watched) -> Table:
    seen, totals = watched.recorder.last, watched.traffic.totals()
    title = f"act {watched.played.number}: {watched.played.title}"
    caption = f"{totals.sent} requests, {totals.failed} failed {totals.last_problem}"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for column in ("stage", "share set", "observed", "answers"):
        table.add_column(column)
    for name in STAGES:
        table.add_row(name, *_stage_cells(seen, totals, name))
    table.add_section()
    table.add_row("state", state_line(seen), "", str(seen.status.get("message", ""))[:80])
    if seen.cycle.get("gate"):
        table.add_row("gate", seen.cycle["gate"]["verdict"], "", seen.cycle["gate"]["summary"][:80])
    return table


def _stage_cells(seen: Seen, totals: Totals, name: str) -> tuple[str, str, str]:
    stage = seen.stage(name)
    observed = stage.get("observedShare")
    answers = ", ".join(f"{revision} {count}" for revision, count in sorted(totals.by_revision.get(name, {}).items()))
    return f"{stage.get('share', 0)} %", "" if observed is None else f"{observed:.1f} %", answers
