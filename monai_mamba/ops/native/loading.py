"""Whether the native kernel can be used, found out when a scan first needs to know."""

from __future__ import annotations

import math
import os
import threading

import torch
from torch import Tensor

from .. import torch_scan
from ..recording import are_fake
from .build import BuildError, build, find_target
from .kernel import Kernel

VARIABLE = "MONAI_MAMBA_NO_JIT"
SELF_CHECK_TOLERANCE = 1e-4  # relative to the largest value


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
            return "the native kernel cannot be tried while tensors hold no numbers"
        target = find_target()
        if not target.library.exists():
            build(target)
        kernel = Kernel(target.library)
        error = self_check(kernel)
        if not error <= SELF_CHECK_TOLERANCE:
            raise BuildError(f"{target.library} computes wrong values here (error {error:.1g})")
        self.kernel = kernel
        return ""


def self_check(kernel: Kernel) -> float:
    """Largest difference between kernel and PyTorch, relative to the largest value, over two small scans' results.

    Together they take every path through the kernel: more than one chunk, group and block, and incomplete ones; many
    groups of one block and, as a batch has them, one group of many; all options and none.
    """
    return max(
        _error(kernel, batch=1, directions=2, options=True), _error(kernel, batch=4, directions=8, options=False)
    )


def _error(kernel: Kernel, batch: int, directions: int, options: bool) -> float:
    length, channels, states = 70, 37, 13

    def wave(*shape: int) -> Tensor:
        return torch.arange(math.prod(shape), dtype=torch.float32, device="cpu").mul_(0.7).sin_().view(shape)

    volume, rows = wave(batch, directions, length, channels), wave(batch, directions, length, states)
    token = torch.arange(length, device="cpu")
    inputs = (
        (volume[:, :1] if options else volume) + 0.5,
        volume - 1,
        -(wave(directions, channels, states) + 1.5),
        rows,
        rows.flip(2),
        wave(directions, channels) if options else None,
        torch.stack([token.flip(0), token * 3 % length]) if options else None,
        True,
        options,
    )
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        results = []
        for scan in (torch_scan, kernel):
            y, last_state, saved = scan.forward(*inputs, True)
            grads = scan.backward(y, last_state if options else None, saved, *inputs)
            results.append((y, last_state, *grads[: None if options else -1]))
    return max(float((found - right).abs().max() / right.abs().max()) for right, found in zip(*results, strict=True))
