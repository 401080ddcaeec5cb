"""Whether the native kernel can be used, found out when a scan first needs to know."""

from __future__ import annotations

import os
import threading

import torch

from ..recording import are_fake
from ..self_check import TOLERANCE, largest_error, waves
from .build import BuildError, build, find_target
from .kernel import Kernel

VARIABLE = "MONAI_MAMBA_NO_JIT"


class Loader:
    """Finds, compiles, loads and checks the library; once, whatever comes of it."""

    def __init__(self) -> None:
        self.kernel: Kernel | None = None
        self._failure = ""
        self._lock = threading.Lock()

    def obstacle(self) -> str:
        """Say why the kernel cannot be used; empty if it can. A library that is not there yet is compiled.

        The environment variable ``MONAI_MAMBA_NO_JIT`` forbids this: nothing is compiled, nor loaded from the cache, so
        that results do not depend on what the cache holds.
        """
        if os.environ.get(VARIABLE, "0") not in ("", "0"):
            return f"{VARIABLE} is set"
        if self.kernel is None and not self._failure:
            with self._lock:
                try:
                    return self._failure or self._find()
                except Exception as error:  # compilers, file systems and libraries fail in many ways; PyTorch goes on
                    self._failure = f"the native kernel cannot be used: {error}"
        return self._failure

    def _find(self) -> str:
        if self.kernel is not None:
            return ""
        if are_fake():
            return "the native kernel cannot be tested while tensors have no data (fake or meta tensors)"
        target = find_target()
        if not target.library.exists():
            build(target)
        kernel = Kernel(target.library)
        error = self_check(kernel)
        if not error <= TOLERANCE:
            raise BuildError(f"{target.library} computes wrong values here (error {error:.1g})")
        self.kernel = kernel
        return ""


def self_check(kernel: Kernel) -> float:
    """Error of a kernel over two small scans, as `largest_error` gives it.

    Together they take every path through the kernel: more than one chunk, group and block, and incomplete ones; several
    groups and, as a batch has them, one; all options and none.
    """
    cpu = torch.device("cpu")
    scans = [
        (waves(cpu, torch.float32, (1, 2, 70, 69, 13)), True),
        (waves(cpu, torch.float32, (4, 8, 70, 37, 5), plain=True), False),
    ]
    return largest_error(kernel.forward, kernel.backward, scans)
