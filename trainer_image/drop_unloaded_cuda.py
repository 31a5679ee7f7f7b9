"""Deletes the CUDA libraries that torch does not load at import. For the CPU variants of the images, at build time.

PyPI's torch for Linux is the CUDA build: importing it maps about half of the NVIDIA libraries it depends on; the rest
is opened only when a GPU is used, and without a GPU that never happens. Must never run in a CUDA image.
"""

from pathlib import Path

import torch
import torch.distributed


def loaded_libraries() -> set[Path]:
    """The files that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if len(line.split(maxsplit=5)) == 6}


def main() -> None:
    nvidia = Path(torch.__file__).parents[1] / "nvidia"
    loaded = loaded_libraries()
    unloaded = [path for path in nvidia.rglob("*") if path.is_file() and ".so" in path.name and path not in loaded]
    size = sum(path.stat().st_size for path in unloaded)
    for path in unloaded:
        path.unlink()
    print(f"dropped {len(unloaded)} CUDA libraries that torch {torch.__version__} does not load, {size >> 20} MiB")


if __name__ == "__main__":
    main()
