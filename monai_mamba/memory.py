"""Memory that tensors have left, back to the system."""

from __future__ import annotations

import ctypes
import os


def give_back_freed_memory() -> None:
    """Have the C library give the system back what has been freed; of no effect but with glibc.

    It keeps blocks of up to 32 MiB, which activations are, for itself. Between blocks in use they break into pieces
    that the next activations do not fit into: 0.3 GiB in the course of a head.
    """
    if os.name == "posix":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)
