"""What Argo CD said of an application at every look, beside the release's own state; and when it may disagree with Git.

After a commit, or a hand's edit of the cluster, the two differ until Argo CD has applied: nobody else may make them
differ. Pure: whoever watches tells it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

SYNCED: Final = "Synced"
NONE: Final = "-"
"""There is no release, or nothing was said of it yet."""


@dataclass(frozen=True)
class Look:
    """One pair of words, and where the release was."""

    state: str
    health: str
    sync: str
    excused: str = ""
    """By whom Git and the cluster differ; empty when nobody was allowed to."""

    @property
    def disagrees(self) -> bool:
        """Argo CD saw a difference that nobody may have made."""
        return self.sync != SYNCED and not self.excused


@dataclass
class Looks:
    """Of one story, in order."""

    story: str
    seen: list[Look] = field(default_factory=list)
    counts: Counter[Look] = field(default_factory=Counter)
    _excuse: str = ""
    _differed: bool = False

    def disturbed(self, by: str) -> None:
        """From now on Git and the cluster may differ, until they were seen to differ and to agree again."""
        self._excuse, self._differed = by, False

    def settled(self) -> None:
        """The difference was seen to be gone: the next one is nobody's."""
        self._excuse = ""

    def look(self, state: str, health: str, sync: str) -> Look:
        """Take a look."""
        if sync != SYNCED:
            self._differed = True
        elif self._differed:
            self.settled()
        found = Look(state or NONE, health or NONE, sync or NONE, self._excuse)
        self.counts[found] += 1
        if not self.seen or self.seen[-1] != found:
            self.seen.append(found)
        return found

    @property
    def disagreements(self) -> list[Look]:
        """What must be empty."""
        return [look for look in self.seen if look.disagrees]

    def healths(self) -> list[str]:
        """The words that Argo CD used for the application, each once in a row."""
        words = [look.health for look in self.seen]
        return [word for index, word in enumerate(words) if index == 0 or words[index - 1] != word]


def table(stories: Iterable[Looks]) -> str:
    """All looks of all stories, counted: story, state of the release, health, sync."""
    rows = [("story", "release", "health", "sync", "looks")]
    for looks in stories:
        for look, count in looks.counts.items():
            sync = f"{look.sync} after {look.excused}" if look.excused else look.sync
            rows.append((looks.story, look.state, look.health, sync, str(count)))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
