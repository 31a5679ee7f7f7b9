"""Parts of the container image builder (see e2e/cluster/images.py)."""
