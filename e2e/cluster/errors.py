"""The one error that a person who starts a cluster sees: a sentence that names what is missing and what to do."""


class ClusterError(Exception):
    """Something the caller can act on; printed without a traceback. Everything else is a defect and keeps its own."""
