"""The API: pydantic models that are the one source of the CRDs, and the vocabulary of conditions."""
