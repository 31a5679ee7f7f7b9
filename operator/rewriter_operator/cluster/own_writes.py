"""Which versions of objects this process wrote itself: the watch's event of such a one tells it nothing.

After each write the same release is planned again anyway, over the object as the API server answered it. Without this,
the event of that write would end a reading that knows it already, and lead to another one with its ten lists.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

REMEMBERED: Final = 2048
"""Events come within seconds of their write."""


@dataclass
class OwnWrites:
    """In memory. One that is missing costs a look."""

    _versions: "OrderedDict[tuple[str, str], None]" = field(default_factory=OrderedDict)

    def note(self, written: dict[str, Any]) -> None:
        """The object as the API server answered it after a write of ours."""
        metadata = written.get("metadata", {})
        if "uid" in metadata and "resourceVersion" in metadata:
            self._versions[metadata["uid"], metadata["resourceVersion"]] = None
            while len(self._versions) > REMEMBERED:
                self._versions.popitem(last=False)

    def has(self, uid: str, version: str) -> bool:
        """Whether this version of the object with this uid is our own."""
        return (uid, version) in self._versions
