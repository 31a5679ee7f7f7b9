"""Keeps freed memory in the process, for one whose every step frees and takes again the same gigabyte.

glibc hands large blocks back to the kernel as soon as they are free. Taken again, each 4 KiB of a gradient costs a page
fault and a page to clear: measured on a virtual machine, a fifth to a third of a training step's processor time.
"""

import ctypes
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_MAX: Final = -4
"""Names and numbers of malloc.h."""

UNLIMITED: Final = -1


def keep_freed_memory() -> bool:
    """Take all memory from the heap and never shrink it; False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, UNLIMITED) == 1


def give_freed_memory_back() -> None:
    """Hand what is free now to the kernel, for work that needs other memory; where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
