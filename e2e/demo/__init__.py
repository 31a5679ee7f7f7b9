"""The demo: three acts on a real cluster, with a real search engine, a real relevance model and a real language model.

Modules that run inside the demo image (`collection`, `encoder`, `relevance`, `flaw`, `search`, `base_model`) import
nothing of the host's side (`play`, `report`, ...), and the other way round.
"""
