"""How two texts are compared, the same in sampling, training, gate and serving.

A rewrite that differs from its query only in case, width or white space is a copy; two samples that differ only so
are one sample.
"""

import unicodedata


def normalise(text: str) -> str:
    """NFKC, lower case, single spaces, no zero-width or control characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    visible = "".join(" " if char.isspace() else char for char in folded if char.isspace() or _is_visible(char))
    return " ".join(visible.split())


def is_copy(query: str, rewrite: str) -> bool:
    """Whether the rewrite says nothing that the query did not say."""
    return normalise(query) == normalise(rewrite)


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
