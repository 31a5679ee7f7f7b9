"""The bucket of a user: what a consumer sends so that the same user is answered by the same revision.

The route only compares the two digits with the candidate's share; which user is in which bucket is the consumer's
business, and so is the salt. A copy of `bucket` in any language does (docs/sticky-users.md has its test vectors).
"""

import hashlib

BUCKET_HEADER = "x-rewriter-bucket"
"""Request header with the bucket, unless the release names another."""

BUCKETS = 100
"""As many as there are percents: share N is the buckets below N."""


def bucket(key: str, salt: str) -> str:
    """`00` to `99`: the first four bytes of sha256 of salt, line feed and key, as an unsigned number, modulo 100.

    The same users are the first to meet every candidate for as long as the salt stays the same.
    """
    digest = hashlib.sha256(f"{salt}\n{key}".encode()).digest()
    return f"{int.from_bytes(digest[:4], 'big') % BUCKETS:02d}"
