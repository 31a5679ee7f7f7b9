"""Are all numbers of a model's files finite? Asked once, when a base model is imported.

The canary sees what its text passes through. A NaN in the row of a token that the text does not have, of a token that
no query has today, or in a part of the model that other tokens go through, waits until somebody types that token.
"""

from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open

from rewriter_contract.agent import WorkFailed

SHOWN_ROWS: Final = 5


def refuse_what_is_not_finite(directory: Path) -> None:
    """Look at every number of every *.safetensors file, a tensor at a time.

    Raises:
        WorkFailed: naming the first file and tensor that hold a NaN or an infinity, and the rows (from 0, along the
            first axis) where.
    """
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no mapping
                tensor = file.get_tensor(name)
                if rows := rows_not_finite(tensor):
                    shown = ", ".join(map(str, rows[:SHOWN_ROWS]))
                    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
                    raise WorkFailed(
                        f"{path.name}: {name} {list(tensor.shape)} holds NaN or infinite numbers in "
                        f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
                    )


def rows_not_finite(tensor: torch.Tensor) -> list[int]:
    """Indices along the first axis that hold a number which is not finite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return []
    if tensor.element_size() == 1:  # float8, of which torch asks nothing
        tensor = tensor.float()
    if all(bound.isfinite() for bound in tensor.aminmax()):  # a NaN is its own bound; one pass that makes no copy
        return []
    rows = tensor.reshape(tensor.shape[0] if tensor.dim() else 1, -1)
    found: list[int] = (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
    return found
