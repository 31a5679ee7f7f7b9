"""Releases with which something is wrong all the time, beside others that must not be held up by them."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Poison:
    """By the release's name; empty for none of its kind."""

    hanging: str = ""
    """Its trainers, samplers and serving pods take every call and never answer."""
    erring: str = ""
    """Every call about it or a child of it is answered with 500."""
    unreadable: str = ""
    """Its spec is read without spec.model: what an operator that asks for more than the API server did finds."""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.hanging or self.erring or self.unreadable)

    def holds_up(self, release: dict[str, Any]) -> bool:
        """Whether this release cannot come to an end: an unreadable one can, which says that it is."""
        return release["metadata"]["name"] in (self.hanging, self.erring)

    def hangs(self, pod: str) -> bool:
        """Whether this pod is one that hangs."""
        return bool(self.hanging) and pod.startswith(f"{self.hanging}-")

    def errs(self, path_and_query: str, body: bytes) -> bool:
        """Whether a call is answered with an error: it names the release, a child of it, or asks for its children."""
        if not self.erring:
            return False
        place, asked = unquote(path_and_query) + "/", body.decode(errors="replace").replace(" ", "")
        named = any(name in place for name in (f"/{self.erring}/", f"/{self.erring}-", f"/{self.erring}?"))
        return named or f"rewriter.dev/release={self.erring}" in place or f'"name":"{self.erring}-' in asked

    def told(self, path: str, body: bytes) -> bytes:
        """An answer, as the operator is to read it."""
        if not (self.unreadable and path.endswith(f"/rewriterreleases/{self.unreadable}")):
            return body
        found: dict[str, Any] = json.loads(body)
        found.get("spec", {}).pop("model", None)
        return json.dumps(found).encode()


NO_POISON = Poison()
