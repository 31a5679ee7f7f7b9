"""The type of embeddings and of scores over documents."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Rows of numbers: embeddings of length 1, or one row of scores per text."""
